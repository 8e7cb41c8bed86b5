package compose

import (
	"strconv"
	"strings"
)

// secured says as whom the program runs and what it may do.
func (s *service) secured() {
	s.runAs()
	if s.ReadOnly {
		s.security.Put("readOnlyRootFilesystem", true, s.field("read_only"))
	}
	if s.Privileged {
		s.security.Put("privileged", true, s.field("privileged"))
	}
	var capabilities object
	for _, c := range []struct {
		name, key string
		list      []string
	}{{"add", "cap_add", s.CapAdd}, {"drop", "cap_drop", s.CapDrop}} {
		if len(c.list) == 0 {
			continue
		}
		var names list
		for i, name := range c.list {
			names = append(names, item(name, s.indexed(c.key, i)))
		}
		capabilities.Put(c.name, names, s.field(c.key))
	}
	if len(capabilities) > 0 {
		s.security.Put("capabilities", capabilities, "")
	}
	s.groups()
	s.options()
	s.devices()
	s.namespaces()
	if len(s.security) > 0 {
		s.spec.Put("securityContext", s.security, s.at)
	}
}

// runAs reads user: a number or a name, and the same of a group behind a colon.
func (s *service) runAs() {
	if s.User == "" {
		return
	}
	at := s.field("user")
	user, group, grouped := strings.Cut(s.User, ":")
	uid, isNumber := number(user)
	gid, groupIsNumber := number(group)
	switch {
	case user == "" || grouped && group == "":
		s.fault(at, quote(s.User)+" is no user", "write one such as 1000:1000 or node")
	case isNumber && grouped && !groupIsNumber:
		s.fault(at, quote(s.User)+" has a number and a name", "write both as numbers, or both as names")
	case isNumber:
		s.security.Put("runAsUser", uid, at)
		if grouped {
			s.security.Put("runAsGroup", gid, at)
		}
	case groupIsNumber:
		s.security.Put("runAsUserName", user, at)
		s.security.Put("runAsGroup", gid, at)
	default:
		s.security.Put("runAsUserName", s.User, at)
	}
}

func number(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int64(n), err == nil
}

func (s *service) groups() {
	var groups list
	for i, g := range s.GroupAdd {
		at := s.indexed("group_add", i)
		n, ok := number(g)
		if !ok {
			s.fault(at, quote(g)+" is a name: what its number is only the image knows", "write the number of the group")
			continue
		}
		groups = append(groups, item(n, at))
	}
	if len(groups) > 0 {
		s.security.Put("supplementalGroups", groups, s.field("group_add"))
	}
}

// options reads security_opt.
func (s *service) options() {
	for i, option := range s.SecurityOpt {
		at := s.indexed("security_opt", i)
		name, value, has := strings.Cut(option, "=")
		if colon, after, ok := strings.Cut(option, ":"); ok && (!has || len(colon) < len(name)) {
			name, value, has = colon, after, true
		}
		switch {
		case name == "no-new-privileges" && (!has || value == "true"): // it is so anyway
		case name == "no-new-privileges" && value == "false":
			s.security.Put("allowPrivilegeEscalation", true, at)
		case name == "label" && value == "disable", name == "apparmor" && value == "unconfined": // there are none
		case name == "seccomp" && value == "unconfined":
			s.fault(at, "is not possible: the default profile is in force, and allows what the capabilities of the container need", "remove it, and name the capability that it is for in cap_add, such as SYS_PTRACE")
		case name == "apparmor":
			s.fault(at, "is not possible: containers have no AppArmor profile", "remove it")
		default:
			s.fault(at, quote(option)+" is not possible", "remove it; known are no-new-privileges:true and no-new-privileges:false")
		}
	}
}

// devices are those of the node, under their own names.
func (s *service) devices() {
	var devices list
	for i, d := range s.Devices {
		at := s.indexed("devices", i)
		switch {
		case !strings.HasPrefix(d.Source, "/dev/"):
			s.fault(at, quote(d.Source)+" is no device of a node", "write a path below /dev")
			continue
		case d.Target != "" && d.Target != d.Source:
			s.fault(at, "device "+quote(d.Source)+" cannot have another name in the container", "write "+d.Source+", and use that name")
			continue
		}
		if p := d.Permissions; p != "" && (len(p) != 3 || strings.Trim(p, "rwm") != "" || !strings.Contains(p, "r") || !strings.Contains(p, "w") || !strings.Contains(p, "m")) {
			s.warn(at, "permissions "+quote(p)+" are not kept: a device is given with rwm", "remove them")
		}
		devices = append(devices, item(d.Source, at))
	}
	if len(devices) > 0 {
		s.spec.Put("devices", devices, s.field("devices"))
	}
}

// namespaces allows what every instance has: namespaces of its own.
func (s *service) namespaces() {
	for _, n := range []struct {
		key, value string
		fine       []string
		remedy     string
	}{
		{"ipc", s.Ipc, []string{"private", "shareable"}, "remove it: containers that share memory are one service of several containers, in a manifest of kind Service"},
		{"pid", s.Pid, []string{"private"}, "remove it"},
		{"uts", s.Uts, []string{"private"}, "remove it"},
		{"cgroup", s.Cgroup, []string{"private"}, "remove it"},
		{"userns_mode", s.UserNSMode, []string{"host"}, "remove it: users of a container are those of the node"},
		{"isolation", s.Isolation, []string{"default"}, "remove it"},
		{"runtime", s.Runtime, []string{"runc", "io.containerd.runc.v2"}, "remove it: what runs containers is for the nodes to say"},
	} {
		fine := n.value == ""
		for _, v := range n.fine {
			fine = fine || n.value == v
		}
		if !fine {
			s.fault(s.field(n.key), quote(n.value)+" is not possible: an instance has its own", n.remedy)
		}
	}
}
