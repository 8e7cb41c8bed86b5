package gitsync

// URL names the repository, without credentials.
func (r *Repository) URL() string { return r.settings.remote.String() }

// LocalPath is the repository's path if it is on this machine.
func (r *Repository) LocalPath() (path string, local bool) {
	return r.settings.remote.path, r.settings.remote.scheme == "file"
}

// Following names what is followed, for people: "branch main", or once it was
// seen "tag v1.4.2 of range >=1.2 <2".
func (r *Repository) Following() string {
	if name := r.following.Load(); name != nil {
		return *name
	}
	return r.settings.by.String()
}
