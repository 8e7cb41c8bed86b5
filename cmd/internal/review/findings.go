package review

import (
	"fmt"
	"maps"
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
		if before.Revision == after.Revision && before.Fingerprint() == after.Fingerprint() {
			continue
		}
		had := asks(before)
		for _, what := range asks(after) {
			if !slices.Contains(had, what) {
				b.find(after, what)
			}
		}
		if len(b.in.Before.Services) == 0 {
			continue // all are new
		}
		for _, r := range registriesOf(after) {
			if !registries[r] {
				registries[r] = true
				b.find(after, "takes images from "+r+", which no service here did before")
			}
		}
	}
}

func (b *builder) find(s planner.Service, what string) {
	b.out.Findings = append(b.out.Findings, Finding{s.ID.String(), what, s.File, s.Line})
}

// asks lists what a service may do beyond its container, in order.
func asks(s planner.Service) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	templates := []planner.Template{s.Template}
	for _, kind := range planner.HookKinds {
		if h, has := s.Hooks[kind]; has {
			templates = append(templates, h.Template)
		}
	}
	for _, t := range templates {
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
