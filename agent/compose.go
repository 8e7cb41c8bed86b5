package agent

import (
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// compose brings what is wanted of the balancer up to date with what runs here
// and elsewhere, and reports whether it changed. Of services of which nothing
// changed what was made of them before is used again.
func (a *Agent) compose(here map[planner.ServiceID][]local) bool {
	b := &a.balance
	all := a.gatherElsewhere() // something that may concern every service
	anew := all && b.gather.followed != b.composedOf
	before := b.led
	moved := a.lookAtOwnPorts(here, anew)
	next := make(map[planner.ServiceID]*composed, len(before))
	news := before == nil || all // for who is told how connections are led
	changed := before == nil     // for the kernel
	for id, s := range a.ledServices(all) {
		l := a.ledService(s, here[id], before[id], all, anew)
		if old := before[id]; old != nil && !all {
			l.addImagePorts(old.led)
		} else {
			l.addImagePorts(nil)
		}
		if old := before[id]; old != nil && !anew && !moved && slices.Equal(l.service.Ports, old.service.Ports) {
			l.closed = old.closed
		} else {
			l.closed = a.closedPorts(l)
		}
		if old := before[id]; old != nil && !anew && l.same(old.led) {
			next[id] = old
			continue
		}
		next[id] = &composed{led: l, fronts: l.fronts()}
		news = true
		changed = changed || before[id] == nil || !slices.EqualFunc(before[id].fronts, next[id].fronts, sameFront)
	}
	changed = changed || len(next) != len(before)
	b.composedOf = b.gather.followed
	if !changed && !news {
		return false
	}
	b.led = next
	a.showOwnPorts()
	a.net.unsaved, a.names.stale = true, true
	a.watchReach()
	defer a.showLed(true)
	if !changed && !all {
		return false
	}
	wanted := runtime.Balancing{Fleet: b.gather.nodes}
	for _, id := range sortedServices(next) {
		wanted.Fronts = append(wanted.Fronts, next[id].fronts...)
	}
	// Where no service has an address, no range of them is taken from the host.
	if slices.ContainsFunc(wanted.Fronts, func(f runtime.Front) bool { return f.Kind == runtime.FrontService }) {
		for _, r := range []string{b.gather.v4, b.gather.v6} {
			if r != "" {
				wanted.Services = append(wanted.Services, r)
			}
		}
	}
	wanted.Fronts = a.opened(wanted.Fronts)
	changed = changed || !slices.Equal(wanted.Fleet, b.wanted.Fleet) || !slices.Equal(wanted.Services, b.wanted.Services)
	b.wanted = wanted
	return changed
}

func sameFront(a, b runtime.Front) bool {
	return a.Kind == b.Kind && a.Service == b.Service && a.Address == b.Address && a.Port == b.Port && a.Protocol == b.Protocol &&
		a.Affinity == b.Affinity && slices.Equal(a.Targets, b.Targets)
}

// ledServices are the services of which connections are led on this node: all
// of the fleet or, of a node alone, those that run here. With anew they are
// looked up again.
func (a *Agent) ledServices(anew bool) map[planner.ServiceID]planner.Service {
	b := &a.balance
	if a.fleet != nil && !anew && b.services != nil {
		return b.services
	}
	leads := func(s planner.Service) bool {
		return !s.Orphan && (len(s.Ports) > 0 || s.Headless || s.HasImagePorts())
	}
	b.services = map[planner.ServiceID]planner.Service{}
	if a.fleet != nil {
		for id, s := range a.state.followed.Services {
			if leads(s) {
				b.services[id] = s
			}
		}
		return b.services
	}
	all, _ := a.instances()
	for _, id := range a.concerned(all) {
		if s, followed := a.state.followed.Services[id]; followed && leads(s) {
			b.services[id] = s
		}
	}
	return b.services
}

// ledService is one service as it is now. Without all only what runs here may
// have changed since before, without anew neither manifests nor ranges.
func (a *Agent) ledService(s planner.Service, here []local, before *composed, all, anew bool) *led {
	l := &led{service: s, here: here}
	if !all && before != nil {
		l.place, l.address, l.slots, l.there = before.place, before.address, before.slots, before.there
		return l
	}
	l.there = a.remotes(s)
	l.place, _ = a.balance.gather.given.Of(s.ID)
	if !anew && before != nil && before.place.At == l.place.At && maps.Equal(before.place.Slots, l.place.Slots) {
		l.address, l.slots = before.address, before.slots
		return l
	}
	if l.place.At != 0 {
		l.address = a.addressesAt(l.place.At)
	}
	if a.balance.own.listening != nil {
		return l
	}
	l.slots = make(map[string]addresses, len(l.place.Slots))
	for slot, at := range maps.All(l.place.Slots) {
		if address := a.addressesAt(at); address != (addresses{}) {
			l.slots[slot] = address
		}
	}
	return l
}

// addressesAt are the addresses of a place: those of families that the node has.
func (a *Agent) addressesAt(at uint32) addresses {
	v4, v6 := a.state.followed.Fleet.Network.Place(at)
	var out addresses
	if v4.IsValid() {
		out[0] = v4.String()
	}
	if v6.IsValid() && a.balance.gather.v6 != "" {
		out[1] = v6.String()
	}
	return out
}
