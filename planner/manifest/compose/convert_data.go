package compose

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// dataFolder is a folder that a service mounts for what it writes: Compose makes
// it beside the file, and the repository does not have it.
type dataFolder struct {
	service string
	index   int // in volumes
	full    string
	name    string      // as a Compose file has it: ./data
	within  *dataFolder // another one that is mounted, too
}

// dataMounts takes mounts of data folders for mounts of volumes, by the name of
// the folder. Two services cannot have one folder, nor one within another.
func (s *service) dataMounts() {
	cloned := false
	for _, d := range s.dataFolders()[s.Name] {
		at, v := s.indexed("volumes", d.index), s.Volumes[d.index]
		if o := d.within; o != nil {
			s.fault(at, quote(d.name)+" is not in the repository, and within "+quote(o.name)+", which service "+quote(o.service)+" mounts: what is taken for data is a volume, which belongs to one slot and is mounted as a whole", "mount folders that are not within each other; let one service keep the data that two need, and serve it to the other")
		} else {
			s.warn(at, quote(d.name)+" is not in the repository: it is taken for data, and is a volume on the disk of the slot's node, which begins empty", "commit the folder if its files are meant; write a named volume, "+labelOf(d.name, 63)+":"+v.Target+", to say the same without this warning")
		}
		if !cloned {
			s.Volumes, cloned = slices.Clone(s.Volumes), true
		}
		// It hides what the image has there, as with Docker.
		s.Volumes[d.index] = types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: d.name, Target: v.Target, Volume: &types.ServiceVolumeVolume{NoCopy: true}}
	}
}

// dataFolders are those of all services, by service.
func (c *converter) dataFolders() map[string][]*dataFolder {
	if c.data != nil {
		return c.data
	}
	c.data = map[string][]*dataFolder{}
	var all []*dataFolder
	for _, name := range c.enabled {
		for i, v := range c.p.Types.Services[name].Volumes {
			if full, ok := c.dataFolder(name, i, v); ok {
				d := &dataFolder{service: name, index: i, full: full, name: folderName(v.Source)}
				all = append(all, d)
				c.data[name] = append(c.data[name], d)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *dataFolder) int { return strings.Compare(a.full+"/", b.full+"/") })
	var top *dataFolder
	for _, d := range all {
		switch {
		case top == nil || !strings.HasPrefix(d.full+"/", top.full+"/"):
			top = d
		case d.full != top.full:
			d.within = top
		}
	}
	return c.data
}

// dataFolder reports whether a mount is one of a folder for data: one that is
// written to, of which the repository has nothing but what keeps it in Git.
func (c *converter) dataFolder(service string, index int, v types.ServiceVolumeConfig) (full string, ok bool) {
	if v.Type != types.VolumeTypeBind || v.ReadOnly || path.IsAbs(v.Source) || c.p.Files == nil || drive.MatchString(v.Source) || drive.MatchString(v.Target) {
		return "", false
	}
	full, reason := c.repositoryPath(v.Source)
	if reason != "" || labelOf(folderName(v.Source), 63) == "" || looksLikeFile(v.Source) || looksLikeFile(v.Target) || !c.madeByCompose(service, index, v.Bind) {
		return "", false
	}
	info, reason := c.look(full)
	switch {
	case reason != "":
		return full, c.canBeMade(full)
	case !info.IsDir():
		return "", false
	}
	return full, c.onlyKept(full)
}

// madeByCompose reports whether Compose makes the folder of a mount, and mounts it
// in no special way.
func (c *converter) madeByCompose(service string, index int, b *types.ServiceVolumeBind) bool {
	if b != nil && (b.Recursive != "" && b.Recursive != "enabled" || b.Propagation != "" && b.Propagation != types.PropagationPrivate && b.Propagation != types.PropagationRPrivate) {
		return false
	}
	services, _ := c.p.Tree["services"].(map[string]any)
	own, _ := services[service].(map[string]any)
	all, _ := own["volumes"].([]any)
	if index >= len(all) {
		return true
	}
	long, _ := all[index].(map[string]any)
	bind, _ := long["bind"].(map[string]any)
	made, given := bind["create_host_path"].(bool)
	return made || !given
}

// canBeMade reports whether nothing is at a path, and nothing but folders on the
// way to it.
func (c *converter) canBeMade(full string) bool {
	for i := range len(full) + 1 {
		if i < len(full) && full[i] != '/' {
			continue
		}
		switch info, err := fs.Lstat(c.p.Files, full[:i]); {
		case err != nil:
			return errors.Is(err, fs.ErrNotExist)
		case !info.IsDir():
			return false
		}
	}
	return false
}

// onlyKept reports whether a folder holds nothing but what keeps it in Git.
func (c *converter) onlyKept(dir string) bool {
	found := c.filesBelow(dir)
	return found.reason == "" && !slices.ContainsFunc(found.files, func(f repositoryFile) bool {
		return f.below != ".gitkeep" && f.below != ".keep" && f.below != ".gitignore"
	})
}

// writes is a service that mounts a folder, or one above or below it, for data, ""
// if none does.
func (c *converter) writes(full string) string {
	for _, name := range c.enabled {
		for _, d := range c.dataFolders()[name] {
			if strings.HasPrefix(full+"/", d.full+"/") || strings.HasPrefix(d.full+"/", full+"/") {
				return name
			}
		}
	}
	return ""
}

// wellKnownFiles have no extension.
var wellKnownFiles = []string{"authorized_keys", "crontab", "group", "hostname", "hosts", "htpasswd", "id_ecdsa", "id_ed25519", "id_rsa", "known_hosts", "localtime", "machine-id", "passwd", "shadow", "timezone"}

// looksLikeFile reports whether the last element of a path looks like the name of
// a file: it has an extension that is neither that of a folder nor a number of a
// version, or is well known.
func looksLikeFile(p string) bool {
	base := path.Base(path.Clean(p))
	lower := strings.ToLower(strings.TrimPrefix(base, "."))
	if strings.HasSuffix(lower, "file") || slices.Contains(wellKnownFiles, lower) {
		return true // Caddyfile
	}
	if strings.HasPrefix(base, ".") && slices.Contains([]string{"env", "gitconfig", "netrc", "npmrc", "pgpass"}, lower) {
		return true
	}
	ext := strings.TrimPrefix(path.Ext(lower), ".")
	return ext != "" && ext != "d" && strings.Trim(ext, "0123456789") != ""
}

// folderName is a path as people write it in a Compose file. No volume can have
// such a name.
func folderName(source string) string {
	clean := path.Clean(source)
	if strings.HasPrefix(clean, "../") {
		return clean
	}
	return "./" + clean
}
