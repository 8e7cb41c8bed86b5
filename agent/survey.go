package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// survey lists the instances of this node that connections may be led to, by
// service, ordered by id. The ports of the node that lead to them are given on
// the way; an error means that those of before are not known yet.
func (a *Agent) survey(ctx context.Context) (map[planner.ServiceID][]local, error) {
	now := a.cfg.Clock()
	all, _ := a.instances()
	out := map[planner.ServiceID][]local{}
	listed := map[string]bool{}
	var refused error
	for _, i := range all {
		listed[i.ID] = true
		s, followed := a.state.followed.Services[i.Slot.Service]
		if !followed || len(s.Ports) == 0 && !s.HasImagePorts() || a.runsOnce(i) {
			continue
		}
		l := a.placeLocal(i, s)
		if l.address == (addresses{}) {
			continue
		}
		ending := a.isEnding(i.ID)
		l.takes = !ending && a.ready(i, now)
		l.runs = !ending && i.State == planner.StateRunning && !a.state.specs[i.Revision].Gated()
		if !l.takes {
			l.reason = a.whyNot(i, ending)
		}
		if err := a.giveHostPorts(ctx, &l, s); err != nil {
			if b := &a.balance; b.at == 0 && (b.fails == 0 || now.Boot-b.fails <= balancePatience) {
				return nil, err // those of before are to stay
			}
			refused = errors.Join(refused, err)
		}
		out[i.Slot.Service] = append(out[i.Slot.Service], l)
	}
	a.problem("host ports", refused)
	for id := range a.hostPorts {
		if !listed[id] && a.flights[id] == nil {
			delete(a.hostPorts, id)
		}
	}
	for _, here := range out {
		slices.SortFunc(here, func(a, b local) int { return strings.Compare(a.id, b.id) })
	}
	return out, nil
}

// isEnding reports whether the end of an instance is decided or under way.
func (a *Agent) isEnding(id string) bool {
	_, busy := a.flights[id]
	return (busy || a.balance.ending[id]) && !a.justStarted(id)
}

// whyNot says why an instance takes no new connections.
func (a *Agent) whyNot(i planner.Instance, ending bool) string {
	if f := a.flights[i.ID]; f != nil {
		return f.action.Reason
	}
	if ending {
		return "it is to end"
	}
	phase, reason := a.phaseOf(i)
	if reason == "" {
		return string(phase)
	}
	return reason
}

// placeLocal is where an instance listens, of which a service's ports are known.
func (a *Agent) placeLocal(i planner.Instance, s planner.Service) local {
	spec := a.state.specs[i.Revision]
	l := local{id: i.ID, slot: i.Slot.Name, revision: i.Revision, hostPorts: make([]int, len(s.Ports))}
	for _, p := range s.Ports {
		l.ports = append(l.ports, containerPort(spec, p))
	}
	if d := a.drivers[i.Driver]; d == nil || !d.info.Capabilities.NetNS || spec.HostNetwork {
		// By IPv4 alone: many programs listen on nothing else.
		l.address = addresses{a.ownAddress()}
		return l
	}
	at := a.attached[i.ID]
	l.address, l.own = addresses{at.Address, at.Address6}, true
	if s.HasImagePorts() {
		l.image = imagePortsOf(i)
	}
	return l
}

// giveHostPorts notes the ports of the node that lead to an instance. They are
// asked for once: they stay the same.
func (a *Agent) giveHostPorts(ctx context.Context, l *local, s planner.Service) error {
	if a.fleet == nil || a.cfg.HostPorts == nil || !l.own {
		if !l.own {
			copy(l.hostPorts, l.ports)
		}
		return nil
	}
	has := a.hostPorts[l.id]
	var wants []runtime.ContainerPort
	want := func(at runtime.ContainerPort) {
		if has[at] == 0 && !slices.Contains(wants, at) {
			wants = append(wants, at)
		}
	}
	for k, p := range s.Ports {
		want(runtime.ContainerPort{Port: l.ports[k], Protocol: p.Protocol})
	}
	for _, p := range l.image {
		want(runtime.ContainerPort(p.ImagePort))
	}
	if len(wants) > 0 {
		ctx, cancel := context.WithTimeout(ctx, balanceTimeout)
		defer cancel()
		given, err := a.cfg.HostPorts.HostPorts(ctx, l.id, wants)
		switch {
		case errors.Is(err, runtime.ErrNotFound):
			return nil // it is being taken away
		case err != nil:
			return fmt.Errorf("ports of the node for %s: %w", l.id, err)
		}
		if has == nil {
			has = map[runtime.ContainerPort]int{}
			a.hostPorts[l.id] = has
		}
		for at, port := range given {
			has[at] = port
		}
	}
	for k, p := range s.Ports {
		l.hostPorts[k] = has[runtime.ContainerPort{Port: l.ports[k], Protocol: p.Protocol}]
	}
	for k, p := range l.image {
		l.image[k].host = has[runtime.ContainerPort(p.ImagePort)]
	}
	return nil
}
