package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

var sysctlSchema = newSchema(
	text("name", sysctlName, func(s *planner.Sysctl) *string { return &s.Name }).must(),
	text("value", sysctlValue, func(s *planner.Sysctl) *string { return &s.Value }).must(),
).like(`{name: net.core.somaxconn, value: "1024"}`)

// sysctlName allows the parameters that each instance has for itself.
var sysctlName = rule{checkSysctlName, form{
	pattern: `(net|fs\.mqueue)(\.[A-Za-z0-9_-]+)+|kernel\.(sem|msg(max|mnb|mni)|shm(_rmid_forced|all|max|mni))`,
	says:    "a kernel parameter that an instance has for itself, such as net.core.somaxconn",
}}

func checkSysctlName(s string) (string, string) {
	switch {
	case len(s) > maxSysctlBytes:
		return fmt.Sprintf("is longer than %d bytes", maxSysctlBytes), ""
	case planner.Sysctl{Name: s}.Namespaced():
		return "", ""
	case strings.Contains(s, "/"):
		return "is not written with dots", "write " + quote(strings.ReplaceAll(s, "/", "."))
	}
	return "is not a parameter that an instance has for itself",
		"set it on the node; those of instances are net.*, fs.mqueue.*, kernel.sem, kernel.msg* and kernel.shm*"
}

var sysctlValue = rule{checkSysctlValue, form{pattern: ".+", says: "the value, in quotes where it is a number"}}

func checkSysctlValue(s string) (string, string) {
	switch {
	case s == "":
		return "must not be empty", "write a value, or remove it"
	case len(s) > maxSysctlBytes:
		return fmt.Sprintf("is longer than %d bytes", maxSysctlBytes), ""
	}
	return noControl(s, "\t")
}

// checkSysctls looks at the parameters as a whole. Their order means nothing.
func (w *writtenService) checkSysctls() {
	d, seen := w.d, map[string]bool{}
	if d.has("spec.sysctls") && w.isProcess() {
		d.fault("spec.sysctls", "a process runs with the kernel parameters of its node", "remove it, and set them on the node")
	}
	for i, s := range w.spec.sysctls {
		at := fmt.Sprintf("spec.sysctls[%d].name", i)
		if s.Name != "" && seen[s.Name] {
			d.fault(at, quote(s.Name)+" is set already", "remove one of them")
		}
		seen[s.Name] = true
		if s.OfNetwork() && w.spec.network == "host" && !w.isProcess() {
			d.fault(at, quote(s.Name)+" is the node's where network is host", "remove it and set it on the node, or remove network: host")
		}
	}
}

func normalSysctls(list []planner.Sysctl) []planner.Sysctl {
	return slices.SortedFunc(slices.Values(list), func(a, b planner.Sysctl) int { return cmp.Compare(a.Name, b.Name) })
}

var ulimitSchema = newSchema(
	text("name", oneOf(planner.UlimitNames()...), func(u *planner.Ulimit) *string { return &u.Name }).must(),
	number("soft", planner.Unlimited, maxUlimit, func(u *planner.Ulimit) *int64 { return &u.Soft }).must(),
	number("hard", planner.Unlimited, maxUlimit, func(u *planner.Ulimit) *int64 { return &u.Hard }),
).like("{name: nofile, soft: 1024, hard: 2048}")

// checkUlimits compares the limits of a container, and gives each its hard
// value: without one it is the soft one. Their order means nothing.
func (w *writtenService) checkUlimits(c placed) {
	d, seen := w.d, map[string]bool{}
	for i := range c.Ulimits {
		u := &c.Ulimits[i]
		at := fmt.Sprintf("%s.ulimits[%d]", c.at, i)
		if !d.has(at + ".hard") {
			u.Hard = u.Soft
		}
		if u.Name != "" && seen[u.Name] {
			d.fault(at+".name", quote(u.Name)+" is set already", "remove one of them")
		}
		seen[u.Name] = true
		if !u.Within() {
			d.fault(at+".soft", "is more than hard", "raise hard or lower soft (-1 is no limit)")
		}
		if least := initNeeds[u.Name]; c.Init && u.Soft >= 0 && u.Soft < least {
			d.fault(at+".soft", fmt.Sprintf("is less than the init of a container needs, which is %d", least), "raise it, or remove init")
		}
	}
}

// initNeeds are the limits below which a container's init does not start: it is
// a program in Go, which reserves more than it uses.
var initNeeds = map[string]int64{"as": 2 << 30, "data": 256 << 20, "nproc": 32}

func normalUlimits(list []planner.Ulimit) []planner.Ulimit {
	return slices.SortedFunc(slices.Values(list), func(a, b planner.Ulimit) int { return cmp.Compare(a.Name, b.Name) })
}
