package compose

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
)

// drive is how a path of Windows begins.
var drive = regexp.MustCompile(`^[A-Za-z]:|^\\\\`)

// stored says what the service mounts.
func (s *service) stored() {
	s.dataMounts()
	for i, v := range s.Volumes {
		at := s.indexed("volumes", i)
		s.checkMountText(at, i)
		if v.Type != types.VolumeTypeImage && drive.MatchString(v.Source) || drive.MatchString(v.Target) {
			s.fault(at, "is read as a path of Windows: a letter before the colon is a drive", "write ./NAME for a folder, and more than one letter for a volume")
			continue
		}
		switch v.Type {
		case types.VolumeTypeBind:
			s.bind(at, v)
		case types.VolumeTypeVolume, "":
			s.named(at, v)
		case types.VolumeTypeTmpfs:
			s.memory(at, v)
		default:
			s.fault(at, "type "+quote(v.Type)+" is not possible", "write volume, bind or tmpfs")
		}
	}
	for i, text := range s.Tmpfs {
		s.tmpfs(s.indexed("tmpfs", i), text)
	}
	if s.ShmSize > 0 {
		at := s.field("shm_size")
		s.mount(s.freshName("shm"), object{member("emptyDir", object{member("medium", "Memory", ""), member("sizeLimit", amount(int64(s.ShmSize)), "")}, "")}, "/dev/shm", false, at)
	}
	s.configs()
	s.secrets()
}

// mount adds a volume, unless there is one of that name, and mounts it.
func (s *service) mount(name string, source object, target string, readOnly bool, at string) {
	volume := append(object{member("name", name, "")}, source...)
	known := false
	for _, v := range s.volumes {
		known = known || v.Value.(object).Get("name") == name
	}
	if !known {
		s.volumes = append(s.volumes, item(volume, at))
	}
	m := object{member("name", name, ""), member("mountPath", target, "")}
	if readOnly {
		m.Put("readOnly", true, "")
	}
	s.mounts = append(s.mounts, item(m, at))
}

// freshName is a name that no volume of the service has yet.
func (s *service) freshName(wish string) string {
	base := cmp.Or(labelOf(wish, 58), "volume")
	name := base
	for n := 2; ; n++ {
		taken := false
		for _, v := range s.volumes {
			taken = taken || v.Value.(object).Get("name") == name
		}
		for _, v := range s.Volumes {
			taken = taken || v.Type == types.VolumeTypeVolume && labelOf(v.Source, 63) == name
		}
		if !taken {
			return name
		}
		name = base + "-" + strconv.Itoa(n)
	}
}

// mountOptions are those of the short form of a mount; what is not among them
// is left out by who reads it.
var mountOptions = map[string]bool{
	"ro": true, "rw": true, "nocopy": true, "z": true, "Z": true, "cached": true, "delegated": true, "consistent": true,
	"rprivate": true, "private": true, "rshared": true, "shared": true, "rslave": true, "slave": true,
}

// checkMountText refuses options of the short form that are not known.
func (s *service) checkMountText(at string, i int) {
	all, _ := s.raw("volumes").([]any)
	if i >= len(all) {
		return
	}
	text, isText := all[i].(string)
	parts := strings.Split(text, ":")
	if !isText || len(parts) < 3 {
		return
	}
	for option := range strings.SplitSeq(parts[len(parts)-1], ",") {
		if !mountOptions[option] {
			s.fault(at, "option "+quote(option)+" is not known here", "remove it, or write ro")
		}
	}
}

// named is a volume of the slot.
func (s *service) named(at string, v types.ServiceVolumeConfig) {
	if v.Source == "" {
		s.unnamed(at, v)
		return
	}
	if v.Volume != nil && v.Volume.Subpath != "" {
		s.fault(at+"."+"volume.subpath", "is not possible: a volume is mounted as a whole", "give the service a volume of its own")
	}
	if v.Bind != nil && v.Bind.Propagation != "" {
		s.fault(at, "propagation "+quote(v.Bind.Propagation)+" means nothing for a named volume", "remove it")
	}
	if other := s.shared[v.Source]; other != "" && other != s.Name {
		s.fault(at, "volume "+quote(v.Source)+" is mounted by service "+quote(other)+" too: a volume is on the disk of one node and belongs to one slot", "let one service keep the data and serve it to the other, or use storage that both reach over the network")
		return
	}
	s.shared[v.Source] = s.Name
	name := cmp.Or(labelOf(v.Source, 63), "volume")
	for _, other := range s.Volumes {
		if other.Type == types.VolumeTypeVolume && other.Source != v.Source && labelOf(other.Source, 63) == name {
			s.fault(at, "volumes "+quote(v.Source)+" and "+quote(other.Source)+" would have one name, "+name, "give one of them another name")
			return
		}
	}
	if copied := v.Volume == nil || !v.Volume.NoCopy; copied && holdsProgram(v.Target) {
		s.warn(at, "begins empty: what the image has at "+quote(v.Target)+" is not copied into it", "where the program needs it, have the program put it there at its start, or mount a folder below")
	}
	s.mount(name, object{member("local", object{}, "")}, v.Target, v.ReadOnly, at)
}

// unnamed is a volume that lives as long as its container. Where images have
// their program, it keeps in sight what they have there, which is so without it;
// elsewhere it may hold data, which nothing would keep.
func (s *service) unnamed(at string, v types.ServiceVolumeConfig) {
	below := slices.ContainsFunc(s.Volumes, func(o types.ServiceVolumeConfig) bool {
		return o.Target != v.Target && strings.HasPrefix(path.Clean(v.Target)+"/", strings.TrimSuffix(path.Clean(o.Target), "/")+"/")
	})
	if holdsProgram(v.Target) && !below && !s.ReadOnly {
		s.warn(at, "has no name, and is left out: the program sees what the image has at "+quote(v.Target)+", and what it writes there goes with the instance", "remove it, or give it a name to keep what is written")
		return
	}
	s.fault(at, "has no name: what is in it would be lost, or found again, by chance", "name it: NAME:"+v.Target+", and list NAME below volumes; or write tmpfs: ["+v.Target+"] for what may be lost")
}

// holdsProgram reports whether images usually have something at a path.
func holdsProgram(target string) bool {
	for _, top := range []string{"/app", "/bin", "/code", "/etc", "/lib", "/opt", "/sbin", "/src", "/srv", "/usr", "/var/www", "/workspace"} {
		if target == top || strings.HasPrefix(target, top+"/") {
			return true
		}
	}
	return false
}

// bind is a file or a folder of the repository, or a path of the node.
func (s *service) bind(at string, v types.ServiceVolumeConfig) {
	if b := v.Bind; b != nil {
		if b.Propagation != "" && b.Propagation != types.PropagationPrivate && b.Propagation != types.PropagationRPrivate {
			s.fault(at, "propagation "+quote(b.Propagation)+" is not possible", "remove it: mounts stay private to the container")
		}
		if b.Recursive != "" && b.Recursive != "enabled" {
			s.fault(at, "recursive: "+quote(b.Recursive)+" is not possible", "remove it")
		}
	}
	if path.IsAbs(v.Source) {
		s.hostPath(at, v)
		return
	}
	full, reason := s.repositoryPath(v.Source)
	if reason != "" {
		s.fault(at, quote(v.Source)+" "+reason, "write a path relative to the Compose file, or an absolute one for a path of the node")
		return
	}
	info, reason := s.look(full)
	switch {
	case reason != "":
		s.fault(at, quote(v.Source)+" "+reason, "commit it; for data that the service writes use a named volume: NAME:"+v.Target)
	case info.IsDir():
		s.folder(at, full, v)
	case !info.Mode().IsRegular():
		s.fault(at, quote(v.Source)+" is no regular file", "commit the file itself")
	default:
		s.notWritten(at, v)
		s.file(at, full, v.Target, info.Mode()&0o111 != 0)
	}
}

// notWritten warns that what comes from the repository cannot be written to.
func (s *service) notWritten(at string, v types.ServiceVolumeConfig) {
	if !v.ReadOnly {
		s.warn(at, quote(v.Source)+" comes from the repository and is read-only", "write it with :ro; for data that the service writes use a named volume")
	}
}

// file mounts a file of the repository.
func (s *service) file(at, full, target string, executable bool) {
	if executable {
		s.checkExecuted(at, target)
	}
	s.mount(s.freshName(path.Base(target)), object{member("file", full, "")}, target, false, at)
}

// checkExecuted finds out whether a file is run as a program: files of the
// repository are mounted without their executable bit.
func (s *service) checkExecuted(at, target string) {
	run := []string{}
	for _, args := range [][]string{s.Entrypoint, s.Command} {
		if len(args) > 0 {
			run = append(run, args[0])
			break // what comes after an entrypoint are its arguments
		}
	}
	if h := s.HealthCheck; h != nil && len(h.Test) > 1 && h.Test[0] == "CMD" {
		run = append(run, h.Test[1])
	}
	for _, program := range run {
		if path.Clean(program) == path.Clean(target) {
			s.fault(at, quote(target)+" is run as a program, and files of the repository are mounted without their executable bit", `write ["/bin/sh", "`+target+`"] where it is run, or put it into the image`)
			return
		}
	}
	s.warn(at, quote(target)+" is mounted without its executable bit", "run it with sh "+target+", or put it into the image")
}

// folder mounts the files of a folder of the repository, each for itself, in an
// empty folder that hides what the image has there.
func (s *service) folder(at, full string, v types.ServiceVolumeConfig) {
	found := s.filesBelow(full)
	switch {
	case found.reason != "":
		s.fault(at, quote(v.Source)+" "+found.reason, "put it into the image, or name single files; for data that the service writes use a named volume: NAME:"+v.Target)
		return
	case len(found.files) == 0:
		s.fault(at, quote(v.Source)+" holds no files", "commit them, or use a named volume: NAME:"+v.Target)
		return
	}
	if by := s.writes(full); by != "" && s.onlyKept(full) {
		s.fault(at, quote(v.Source)+" holds no files, and service "+quote(by)+" writes its data there: a volume belongs to one slot, and nothing else sees it", "let one service keep the data and serve it to the other")
		return
	}
	s.notWritten(at, v)
	s.mount(s.freshName(path.Base(v.Target)), object{member("emptyDir", object{}, "")}, v.Target, false, at)
	for _, f := range found.files {
		s.file(at, f.path, path.Join(v.Target, f.below), f.executable)
	}
}

// hostPath is a path of the node.
func (s *service) hostPath(at string, v types.ServiceVolumeConfig) {
	source := path.Clean(v.Source)
	if source == "/var/run/docker.sock" || source == "/run/docker.sock" {
		s.warn(at, "is Docker's: what Orpheus runs is not seen there, and a node need not have it", "remove it, and what needs it")
	}
	if source == "/" {
		s.warn(at, "is the whole disk of the node: no node gives it away, since the agent's own folders are there", "mount the folders that are meant")
	}
	s.mount(s.freshName(path.Base(source)), object{member("hostPath", object{member("path", source, "")}, "")}, v.Target, v.ReadOnly, at)
}

// memory is a tmpfs in its long form.
func (s *service) memory(at string, v types.ServiceVolumeConfig) {
	dir := object{member("medium", "Memory", "")}
	if t := v.Tmpfs; t != nil {
		if t.Size > 0 {
			dir.Put("sizeLimit", amount(int64(t.Size)), "")
		}
		if t.Mode != 0 && t.Mode != 0o1777 {
			s.warn(at+"."+"tmpfs.mode", fmt.Sprintf("%#o is not kept: all users of the container may write there, as with 1777", t.Mode), "remove it")
		}
	}
	s.mount(s.freshName(path.Base(v.Target)), object{member("emptyDir", dir, "")}, v.Target, v.ReadOnly, at)
}

// tmpfs is one in its short form: /run:size=64m,mode=1777.
func (s *service) tmpfs(at, text string) {
	target, options, _ := strings.Cut(text, ":")
	dir := object{member("medium", "Memory", "")}
	readOnly := false
	for option := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "", "rw", "noexec", "nosuid", "nodev":
		case "ro":
			readOnly = true
		case "size":
			n, err := units.RAMInBytes(value)
			if err != nil || n <= 0 {
				s.fault(at, "size "+quote(value)+" is no amount", "write one such as size=64m")
				continue
			}
			dir.Put("sizeLimit", amount(n), "")
		case "mode":
			if value != "1777" && value != "01777" {
				s.warn(at, "mode "+quote(value)+" is not kept: all users of the container may write there, as with 1777", "remove it")
			}
		case "uid", "gid":
			s.warn(at, quote(option)+" is not kept: the folder belongs to root, and all users of the container may write there", "remove it")
		default:
			s.fault(at, "option "+quote(option)+" is not possible: such a folder is noexec, nosuid and nodev", "remove it")
		}
	}
	s.mount(s.freshName(path.Base(target)), object{member("emptyDir", dir, "")}, path.Clean(target), readOnly, at)
}

// amount writes a number of bytes as people do.
func amount(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "Ti"}, {1 << 30, "Gi"}, {1 << 20, "Mi"}, {1 << 10, "Ki"}} {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
