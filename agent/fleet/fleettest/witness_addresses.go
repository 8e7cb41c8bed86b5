package fleettest

import (
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// network has few places, so that names that ask for the same one meet.
var network = planner.FleetNetwork{Services: "10.232.0.0/24"}

// addressed: no place is given twice, and what lives keeps its own.
func (wit *witness) addressed(p *process, now planner.Addresses) {
	holders := map[uint32]string{}
	places := uint32(1<<16 - 1)
	if wit.w.wanted.fleet.Network == network {
		places = 1<<8 - 1
	}
	hold := func(at uint32, who string) {
		switch other, taken := holders[at]; {
		case at < 1 || at >= places:
			wit.w.fail("N1: %s gave %s place %d, which there is not", p.m.called, who, at)
		case taken:
			wit.w.fail("N1: %s gave place %d to %s and %s", p.m.called, at, other, who)
		}
		holders[at] = who
	}
	for _, key := range slices.Sorted(maps.Keys(now)) {
		hold(now[key].At, key)
		for _, slot := range slices.Sorted(maps.Keys(now[key].Slots)) {
			hold(now[key].Slots[slot], key+"-"+slot)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(wit.addresses)) {
		was := wit.addresses[key]
		namespace, name, _ := strings.Cut(key, "/")
		id := planner.ServiceID{Namespace: namespace, Name: name}
		doc, lives := wit.docs[id]
		if s, followed := p.m.disk.followed.Services[id]; !lives || followed && !s.NeedsAddress() || !followed && len(doc.Leases) == 0 {
			continue
		}
		if at := now[key].At; at != was.At {
			wit.w.fail("N2: %s moved %s from place %d to %d", p.m.called, key, was.At, at)
		}
		for _, l := range doc.Leases {
			if at := now[key].Slots[l.Slot]; was.Slots[l.Slot] != 0 && at != was.Slots[l.Slot] {
				wit.w.fail("N2: %s moved %s-%s from place %d to %d", p.m.called, key, l.Slot, was.Slots[l.Slot], at)
			}
		}
	}
	wit.addresses = now
}

// checkAddresses holds that everything that needs an address has one, and that
// all agents know the same.
func (c *chaos) checkAddresses() {
	now := c.witness.fleet.Addresses
	for _, id := range c.services() {
		s := c.wanted.services[id]
		if !s.NeedsAddress() {
			continue
		}
		a, ok := now.Of(id)
		if !ok || a.At == 0 {
			c.fail("N3: %s has no address at rest", id)
			return
		}
		for _, slot := range c.slots(s) {
			if a.Slots[slot] == 0 {
				c.fail("N3: %s-%s has no address at rest", id, slot)
				return
			}
		}
		for _, m := range c.machines {
			if m.proc == nil {
				continue
			}
			if known, _ := m.proc.member.View().Fleet.Addresses.Of(id); known.At != a.At {
				c.fail("N3: %s has place %d at rest, %s knows %d", id, a.At, m.called, known.At)
			}
		}
	}
}
