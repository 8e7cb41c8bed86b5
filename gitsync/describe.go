package gitsync

// URL names the repository, without credentials.
func (r *Repository) URL() string { return r.settings.remote.String() }

// LocalPath is the repository's path if it is on this machine.
func (r *Repository) LocalPath() (path string, local bool) {
	return r.settings.remote.path, r.settings.remote.scheme == "file"
}
