package compose

import (
	"fmt"
	"path"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// configs mounts the project's configs that the service uses.
func (s *service) configs() {
	for i, use := range s.Configs {
		config, at := s.p.Types.Configs[use.Source], s.indexed("configs", i)
		top := "configs." + use.Source
		target := use.Target
		if target == "" {
			target = "/" + use.Source
		}
		s.checkOwner(at, types.FileReferenceConfig(use))
		if s.nodeFile("config-"+use.Source, types.FileObjectConfig(config), target, top) {
			continue
		}
		full := s.objectFile(top, types.FileObjectConfig(config), "commit the file, and write file: PATH")
		if full == "" {
			continue
		}
		s.mount(s.freshName("config-"+use.Source), object{member("file", full, top)}, target, false, at)
	}
}

// secrets mounts the project's secrets that the service uses, as far as the
// repository has them.
func (s *service) secrets() {
	for i, use := range s.Secrets {
		secret, at := s.p.Types.Secrets[use.Source], s.indexed("secrets", i)
		top := "secrets." + use.Source
		target := use.Target
		switch {
		case target == "":
			target = "/run/secrets/" + use.Source
		case !path.IsAbs(target):
			target = "/run/secrets/" + target
		}
		s.checkOwner(at, types.FileReferenceConfig(use))
		if secret.Environment != "" {
			s.fault(top+".environment", "is not possible: nothing is read from the environment of a process", "write file: /etc/NAME for a file that the node has, or file: PATH for one of the repository")
			continue
		}
		if s.nodeFile("secret-"+use.Source, types.FileObjectConfig(secret), target, top) {
			continue
		}
		full := s.objectFile(top, types.FileObjectConfig(secret), "write file: /etc/NAME for a file that the node has")
		if full == "" {
			continue
		}
		s.warn(top+".file", "is no secret: the repository holds it in plain text, for all who read it", "write file: /etc/NAME for a file that the node has")
		s.mount(s.freshName("secret-"+use.Source), object{member("file", full, top)}, target, false, at)
	}
}

// nodeFile mounts a file that the node has: what stands at file is an absolute
// path. It reports whether that is so.
func (s *service) nodeFile(name string, o types.FileObjectConfig, target, top string) bool {
	if !path.IsAbs(o.File) || bool(o.External) || o.Driver != "" || o.TemplateDriver != "" {
		return false
	}
	s.mount(s.freshName(name), object{member("hostPath", object{member("path", path.Clean(o.File), "")}, "")}, target, true, top+".file")
	return true
}

// objectFile is the file that holds a config or a secret, "" if none does; then
// that is said.
func (s *service) objectFile(top string, o types.FileObjectConfig, instead string) string {
	switch {
	case bool(o.External):
		s.fault(top+".external", "is not possible: a fleet has what its repository has", instead)
		return ""
	case o.Driver != "" || o.TemplateDriver != "":
		return "" // said already
	case o.File != "":
		return s.committed(top+".file", o.File)
	case o.Content != "" || o.Environment == "" && s.hasContent(top):
		full := path.Join(s.p.Folder, ".compose", s.p.Name, top)
		s.contents[full] = []byte(o.Content)
		return full
	case o.Environment != "":
		s.fault(top+".environment", "names "+quote(o.Environment)+", and no variable of the fleet of that name has a value", "define it in spec.variables of fleet.yaml, or write content:")
	default:
		s.fault(top, "has neither file nor content", "write file: PATH")
	}
	return ""
}

// hasContent reports whether a config gives its content, be it empty.
func (s *service) hasContent(top string) bool {
	kind, name, _ := strings.Cut(top, ".")
	own, _ := inside(s.p.Tree, kind, name).(map[string]any)
	_, has := own["content"]
	return has
}

// committed finds a file of the repository, "" if there is none; then that is
// said.
func (s *service) committed(at, name string) string {
	full, reason := s.repositoryPath(name)
	if reason == "" {
		info, why := s.look(full)
		switch reason = why; {
		case reason == "" && !info.Mode().IsRegular():
			reason = "is no regular file"
		case reason == "":
			return full
		}
	}
	s.fault(at, quote(name)+" "+reason, "commit it, and write its path relative to the Compose file")
	return ""
}

// checkOwner looks at owner and mode of a file: those of the repository belong to
// root and can be read by all in the container, and run by none.
func (s *service) checkOwner(at string, use types.FileReferenceConfig) {
	for _, id := range []struct{ key, value string }{{"uid", use.UID}, {"gid", use.GID}} {
		if id.value != "" && id.value != "0" {
			s.warn(at+"."+id.key, "is not kept: the file belongs to root, and all users of the container may read it", "remove it")
		}
	}
	if use.Mode == nil {
		return
	}
	switch mode := int64(*use.Mode); {
	case mode&0o111 != 0:
		s.fault(at+".mode", fmt.Sprintf("%#o is not possible: files of the repository cannot be run", mode), `run it with ["/bin/sh", FILE], and remove it`)
	case mode&0o444 != 0o444:
		s.warn(at+".mode", fmt.Sprintf("%#o is not kept: all users of the container may read the file, as with 0444", mode), "remove it; a program that insists on fewer needs a copy")
	}
}
