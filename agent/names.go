package agent

import (
	"context"
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/runtime/network/resolver"
)

// Names answers for the names of services on this node, in a process that
// outlives the agent.
type Names interface {
	// Write replaces what is answered. The zone holds services and the ranges of
	// their addresses; where to listen, who may ask and whom to ask for other
	// names is added.
	Write(zone resolver.Zone) error
	// Run has names answered until ctx ends, and by the last that was written
	// from then on. It tells what keeps it from it, nil when it works again.
	Run(ctx context.Context, tell func(error))
}

// names is what the name server was told.
type names struct {
	stale   bool // what it was told is not what it should know
	writing bool
}

// followNames has names answered.
func (a *Agent) followNames(ctx context.Context) {
	a.work(func() {
		a.cfg.Names.Run(ctx, func(err error) { a.post(func() { a.problem("names", err) }) })
	})
}

// tellNames writes down the names of what connections are led to, beside the
// loop. They are told only where an address is one that stands.
func (a *Agent) tellNames() {
	if a.cfg.Names == nil || !a.names.stale || a.names.writing {
		return // its end is news to the loop
	}
	zone := a.zone()
	a.names.stale, a.names.writing = false, true
	a.work(func() {
		err := a.cfg.Names.Write(zone)
		a.post(func() {
			a.names.writing = false
			a.names.stale = a.names.stale || err != nil
			a.problem("names of services", err)
		})
	})
}

// zone is what the name server is to know.
func (a *Agent) zone() resolver.Zone {
	var z resolver.Zone
	for _, r := range []string{a.balance.gather.v4, a.balance.gather.v6} {
		if r != "" {
			z.Reverse = append(z.Reverse, r)
		}
	}
	for _, id := range sortedServices(a.balance.led) {
		z.Services = append(z.Services, a.balance.led[id].names())
	}
	return z
}

// names are those of one service: of its address and of its slots or, where it
// is headless, of the slots that take connections.
func (l *led) names() resolver.Service {
	out := resolver.Service{Namespace: l.service.ID.Namespace, Name: l.service.ID.Name, Aliases: l.service.Aliases, Headless: l.service.Headless}
	var slotPorts []resolver.Port
	for _, p := range l.service.Ports {
		if p.Name == "" {
			continue
		}
		if p.Port != 0 && !l.service.Headless {
			out.Ports = append(out.Ports, resolver.Port{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
		}
		at := resolver.Port{Name: p.Name, Protocol: p.Protocol, Port: p.Container}
		if !slices.Contains(slotPorts, at) { // it may be published several times
			slotPorts = append(slotPorts, at)
		}
	}
	if !l.service.Headless {
		out.Addresses = l.answered(l.address, scope{}, scope{})
	}
	for _, name := range slices.SortedFunc(maps.Keys(l.slots), compareSlots) {
		slot := resolver.Slot{Name: name, Addresses: l.answered(l.slots[name], scope{slot: name}, scope{slot: name}), Ports: slotPorts}
		if l.service.Headless && l.slotTakes(name) {
			slot.Ready = true
			out.Addresses = append(out.Addresses, l.answered(l.slots[name], scope{slot: name}, scope{})...)
		}
		out.Slots = append(out.Slots, slot)
	}
	return out
}

// slotTakes reports whether an instance of the slot takes connections.
func (l *led) slotTakes(slot string) bool {
	return slices.ContainsFunc(l.here, func(i local) bool { return i.slot == slot && (i.takes || i.runs && !l.taken("")) }) ||
		slices.ContainsFunc(l.there, func(r remote) bool { return r.slot == slot })
}

// answered are the addresses that a name resolves to: of the families in which
// as many instances are reached as in any, also within the service that
// clients choose from. A family that leads to half of them would be preferred
// by half of the clients.
func (l *led) answered(address addresses, of, within scope) []string {
	var out []string
	own, all := l.reached(of), l.reached(within)
	for family, a := range address {
		if a != "" && own[family] == max(own[0], own[1]) && all[family] == max(all[0], all[1]) {
			out = append(out, a)
		}
	}
	return out
}

// reached counts the targets of all ports by family.
func (l *led) reached(of scope) (n [2]int) {
	for k := range l.service.Ports {
		targets := l.targets(k, of)
		for family := range n {
			n[family] += len(ofFamily(targets, family))
		}
	}
	return n
}
