package review

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/orpheus-cd/orpheus/planner"
)

// findings lists what services ask for anew that a reviewer should look at. The
// nodes' own policies, which are not in the repository, decide whether they get
// it.
func (b *builder) findings() {
	registries := map[string]bool{}
	for _, s := range b.in.Before.Services {
		for _, r := range registriesOf(s) {
			registries[r] = true
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(b.in.After.Services), planner.ServiceID.Compare) {
		before, after := b.in.Before.Services[id], b.in.After.Services[id]
		if !b.differs(id) {
			continue
		}
		had := asks(before)
		for _, what := range asks(after) {
			if !slices.Contains(had, what) {
				b.find(after, what, true)
			}
		}
		had = plainSecrets(before)
		for _, what := range plainSecrets(after) {
			if !slices.Contains(had, what) {
				b.find(after, what, false)
			}
		}
		if len(b.in.Before.Services) == 0 {
			continue // all are new
		}
		for _, r := range registriesOf(after) {
			if !registries[r] {
				registries[r] = true
				b.find(after, "takes images from "+r+", which no service here did before", true)
			}
		}
	}
}

func (b *builder) find(s planner.Service, what string, policy bool) {
	b.out.Findings = append(b.out.Findings, Finding{s.ID.String(), what, s.File, s.Line, policy})
}

// asks lists what a service may do beyond its container, in order.
func asks(s planner.Service) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, t := range templatesOf(s) {
		if t.HostNetwork {
			add("uses the host's network (network: host)")
		}
		if t.DriverName() != planner.DriverContainerd {
			add("runs outside of containers (driver: %s)", t.DriverName())
		}
		for _, v := range t.Volumes {
			if v.HostPath != nil {
				add("mounts %s of the node (hostPath)", v.HostPath.Path)
			}
		}
		for _, c := range t.AllContainers() {
			sec := c.Security
			if sec.Privileged {
				add("container %s is privileged", c.Name)
			}
			if sec.AllowPrivilegeEscalation != nil && *sec.AllowPrivilegeEscalation {
				add("container %s may gain privileges (allowPrivilegeEscalation)", c.Name)
			}
			for _, name := range sec.AddCapabilities {
				add("container %s has the capability %s", c.Name, name)
			}
			for _, d := range c.Devices {
				add("container %s uses the device %s", c.Name, d)
			}
		}
	}
	for _, p := range s.Ports {
		if p.Publish != nil {
			where := "every node"
			if p.Publish.Mode == "node" {
				where = "its nodes"
			}
			if p.Publish.Address != "" {
				where += " at " + p.Publish.Address
			}
			add("opens port %d/%s of %s to the world", p.Publish.Port, strings.ToLower(p.Protocol), where)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// templatesOf are those of a service and its hooks.
func templatesOf(s planner.Service) []planner.Template {
	out := []planner.Template{s.Template}
	for _, kind := range planner.HookKinds {
		if h, has := s.Hooks[kind]; has {
			out = append(out, h.Template)
		}
	}
	return out
}

var (
	// secretName is how variables end that hold a secret, not where one is.
	secretName = regexp.MustCompile(`(?i)(password|passwd|passphrase|_pass|_pwd|secret|token|(api|secret|private|access|encryption)_?key)$`)
	// noSecret is a value that only switches something.
	noSecret = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|none|null|[0-9]?)$`)
	// userInfo is a URL with a password.
	userInfo = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@`)
)

// plainSecrets lists the variables of a service that look like passwords, which
// everybody reads who reads the repository. It never has the values.
func plainSecrets(s planner.Service) []string {
	var out []string
	for _, t := range templatesOf(s) {
		for _, c := range t.AllContainers() {
			for _, e := range c.Env {
				if e.ValueFrom == nil && (secretName.MatchString(e.Name) && !noSecret.MatchString(e.Value) || userInfo.MatchString(e.Value)) {
					out = append(out, "has what looks like a password in plain text: env "+e.Name)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// PolicyDecides reports whether there is something on which nodes' policies decide.
func (r *Report) PolicyDecides() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Policy })
}

// registriesOf lists where the images of a service come from.
func registriesOf(s planner.Service) []string {
	var out []string
	for _, image := range s.Template.Images() {
		if named, err := reference.ParseNormalizedNamed(image); err == nil {
			out = append(out, reference.Domain(named))
		}
	}
	return out
}
