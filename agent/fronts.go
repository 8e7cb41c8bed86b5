package agent

import (
	"fmt"
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// fronts lists where connections to a service come to on this node, and where
// they are led, in order.
func (l *led) fronts() []runtime.Front {
	var out []runtime.Front
	for k, p := range l.service.Ports {
		targets := l.targets(k, scope{})
		if p.Port != 0 && !l.service.Headless && !l.isClosed(k) {
			out = append(out, l.at(l.address, p.Port, p.Protocol, targets)...)
		}
		if p.Publish != nil {
			out = append(out, l.published(k, targets)...)
		}
	}
	for _, slot := range slices.Sorted(maps.Keys(l.slots)) {
		var seen []runtime.ContainerPort
		for k, p := range l.service.Ports {
			if at := (runtime.ContainerPort{Port: p.Container, Protocol: p.Protocol}); !slices.Contains(seen, at) {
				seen = append(seen, at)
				targets := l.targets(k, scope{slot: slot})
				if k >= l.declared && len(targets) == 0 {
					continue // no port of this slot: connections are refused without a front
				}
				out = append(out, l.at(l.slots[slot], p.Container, p.Protocol, targets)...)
			}
		}
	}
	for _, i := range l.here {
		out = append(out, l.behind(i)...)
	}
	return out
}

// at are the fronts of one port of an address of the service.
func (l *led) at(address addresses, port int, protocol string, targets []runtime.Target) []runtime.Front {
	var out []runtime.Front
	for family, a := range address {
		if a != "" {
			out = append(out, runtime.Front{
				Kind: runtime.FrontService, Service: l.service.ID, Address: a, Port: port, Protocol: protocol,
				Affinity: l.service.ClientAffinity, Targets: ofFamily(targets, family),
			})
		}
	}
	return out
}

// published is the front of a port that is open to the world: on every node,
// or where there is an instance. Where an instance has the host's network and
// listens on that very port, it is reached without one.
func (l *led) published(k int, targets []runtime.Target) []runtime.Front {
	p := l.service.Ports[k]
	if !p.Publish.OnEveryNode() {
		if len(l.here) == 0 {
			return nil
		}
		targets = l.targets(k, scope{here: true})
	}
	if slices.ContainsFunc(l.here, func(i local) bool { return !i.own && i.ports[k] == p.Publish.Port }) {
		return nil
	}
	return []runtime.Front{{
		Kind: runtime.FrontPublished, Service: l.service.ID, Address: p.Publish.Address, Port: p.Publish.Port, Protocol: p.Protocol,
		Affinity: l.service.ClientAffinity, Targets: targets,
	}}
}

// behind are the fronts for other nodes that lead to an instance of this one.
func (l *led) behind(i local) []runtime.Front {
	if !i.own {
		return nil // others reach it without
	}
	var out []runtime.Front
	var seen []runtime.ContainerPort
	for k, p := range l.service.Ports {
		port, listens := i.hostPorts[k], runtime.ContainerPort{Port: i.ports[k], Protocol: p.Protocol}
		if port == 0 || slices.Contains(seen, listens) {
			continue
		}
		seen = append(seen, listens)
		targets := i.targets(k)
		if !i.takes && !(i.runs && !l.taken(i.id)) {
			targets = l.relief(k, i.id)
		}
		out = append(out, runtime.Front{Kind: runtime.FrontHost, Service: l.service.ID, Port: port, Protocol: p.Protocol, Targets: ordered(targets)})
	}
	return out
}

// open is a port of the node that is open to the world.
type open struct {
	address, protocol string
	port              int
}

func openOf(f runtime.Front) open { return open{f.Address, f.Protocol, f.Port} }

// withoutClashes drops published ports that two services claim, which one
// commit cannot contain but a service kept from an earlier one can bring about:
// who has a port keeps it, and nobody else's ports suffer. before is what
// stands.
func withoutClashes(fronts, before []runtime.Front) (kept []runtime.Front, clashes []runtime.LeftOut) {
	type claim struct {
		open
		service planner.ServiceID
	}
	wanted := map[claim]bool{}
	owner := map[open]planner.ServiceID{}
	for _, f := range fronts {
		if f.Kind != runtime.FrontPublished {
			continue
		}
		wanted[claim{openOf(f), f.Service}] = true
		if _, taken := owner[openOf(f)]; !taken {
			owner[openOf(f)] = f.Service
		}
	}
	for _, f := range before {
		if f.Kind == runtime.FrontPublished && wanted[claim{openOf(f), f.Service}] {
			owner[openOf(f)] = f.Service
		}
	}
	kept = make([]runtime.Front, 0, len(fronts))
	for _, f := range fronts {
		if has := owner[openOf(f)]; f.Kind == runtime.FrontPublished && has != f.Service {
			clashes = append(clashes, runtime.LeftOut{Front: f, Reason: "service " + has.String() + " has it; publish another port in one of the two"})
			continue
		}
		kept = append(kept, f)
	}
	return kept, clashes
}

// containerPort is where an instance listens: an earlier revision may have
// another number under the same name.
func containerPort(spec planner.Template, p planner.Port) int {
	for _, c := range spec.Containers {
		for _, own := range c.Ports {
			if p.Name != "" && own.Name == p.Name {
				return own.ContainerPort
			}
		}
	}
	return p.Container
}

// describePort is the form people read: "0.0.0.0:80/tcp → 8080".
func describePort(p planner.Port) string {
	address := p.Publish.Address
	if address == "" {
		address = "*"
	}
	return fmt.Sprintf("%s:%d/%s→%d", address, p.Publish.Port, p.Protocol, p.Container)
}
