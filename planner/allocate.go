package planner

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Allocate gives a place to every service that needs an address, and to its
// slots. What stands, stays; what cannot be (see Sound) is given anew. A
// service that is neither in services nor kept loses its place, as does a slot
// that is not in slots, unless keep says that nothing may be concluded of its
// service; nil keeps none.
//
// The place that a name is given first follows from the name, so that most are
// the same again where the record was lost.
//
// Where the record would become too large slots of services that are not
// headless go without, then those of others, then services. What is returned
// beside an error holds all that could be given. It is the receiver where
// nothing changes.
func (a Addresses) Allocate(n FleetNetwork, services map[ServiceID]Service, slots map[ServiceID][]string, keep func(ServiceID) bool) (Addresses, error) {
	v4, v6, err := n.Ranges()
	if err != nil {
		return a, err
	}
	al := newAllocation(a, placesOf(v4, v6))
	for _, p := range al.sorted() {
		s, wanted := services[p.id]
		switch kept := keep != nil && keep(p.id); {
		case !wanted && !kept || p.at == 0 && !s.NeedsAddress():
			al.drop(p)
		case !kept:
			al.dropSlots(p, slots[p.id])
		}
	}
	al.services(services)
	var plain, first []*placing
	for _, p := range al.sorted() {
		if s, ok := services[p.id]; ok && !s.Headless {
			plain = append(plain, p)
		} else {
			first = append(first, p)
		}
	}
	al.slots(first, services, slots)
	al.slots(plain, services, slots)
	return al.result(), al.lacks(v4, v6)
}

// NeedsAddress reports whether a service has an address of its own: it has a
// port with port, may have some of its images, or is headless.
func (s Service) NeedsAddress() bool {
	return s.Headless || s.HasImagePorts() || slices.ContainsFunc(s.Ports, func(p Port) bool { return p.Port != 0 })
}

// Sound are the addresses without those that cannot be: of names that are none,
// outside of the range, or given twice (the service that comes first in order
// keeps it, any service before any slot). Where all can be it is the receiver.
func (a Addresses) Sound(n FleetNetwork) Addresses {
	v4, v6, err := n.Ranges()
	if err != nil {
		return nil
	}
	return newAllocation(a, placesOf(v4, v6)).result()
}

// allocation is the work of one Allocate.
type allocation struct {
	before Addresses
	places uint32
	digits int // of a place
	taken  map[uint32]bool
	of     map[ServiceID]*placing
	bytes  int // of the record
	listed int // services that fit into it
	// noPlace and noRoom say what went without: the range is full, or the record
	// is.
	noPlace, noRoom lacking
}

// placing is the place of one service as it is to be; at 0 = none (yet).
type placing struct {
	id      ServiceID
	at      uint32
	slots   map[string]uint32
	unknown Unknown
}

// newAllocation begins with those of the addresses that can be.
func newAllocation(a Addresses, places uint32) *allocation {
	al := &allocation{before: a, places: places, digits: len(strconv.FormatUint(uint64(places), 10)), taken: map[uint32]bool{}, of: map[ServiceID]*placing{}}
	for key, given := range a {
		if id, ok := parseAddressKey(key); ok {
			al.of[id] = &placing{id: id, at: given.At, slots: maps.Clone(given.Slots), unknown: given.Unknown}
		}
	}
	all := al.sorted()
	for _, p := range all {
		if !al.take(p.at) {
			p.at = 0
		}
	}
	for _, p := range all {
		for _, slot := range p.names() {
			if at := p.slots[slot]; !dnsLabel(slot) || !al.take(at) {
				delete(p.slots, slot)
			}
		}
	}
	return al
}

// sorted lists the services in order.
func (al *allocation) sorted() []*placing {
	return slices.SortedFunc(maps.Values(al.of), func(a, b *placing) int { return a.id.Compare(b.id) })
}

// names lists the slots that have a place, in order.
func (p *placing) names() []string { return slices.SortedFunc(maps.Keys(p.slots), compareSlotNames) }

// take takes a place that may be given and is free.
func (al *allocation) take(at uint32) bool {
	if !givable(at, al.places) || al.taken[at] {
		return false
	}
	al.taken[at] = true
	return true
}

// find takes a free place: the first from that of the name, which is in the
// first half of the range for services and in the second for slots, so that
// neither is in the way of the other.
func (al *allocation) find(name string, slot bool) (uint32, bool) {
	all := al.places - 2
	if len(al.taken) >= int(all) {
		return 0, false
	}
	first, width := uint32(0), all/2
	if slot {
		first, width = width, all-width
	}
	for at := first + uint32(tie(hashOf(name), 0)%uint64(width)); ; at++ {
		if at = at % all; al.take(1 + at) {
			return 1 + at, true
		}
	}
}

// drop takes the places of a service away.
func (al *allocation) drop(p *placing) {
	delete(al.taken, p.at)
	al.dropSlots(p, nil)
	delete(al.of, p.id)
}

// dropSlots takes the places of all slots away but of those that are listed.
func (al *allocation) dropSlots(p *placing, but []string) {
	stays := map[string]bool{}
	for _, slot := range but {
		stays[slot] = true
	}
	for _, slot := range p.names() {
		if !stays[slot] {
			delete(al.taken, p.slots[slot])
			delete(p.slots, slot)
		}
	}
}

// services gives places to services, and leaves out those that the record has
// no room for. What stands comes before what is new.
func (al *allocation) services(services map[ServiceID]Service) {
	for _, p := range al.sorted() {
		if p.at != 0 && !al.fitsService(p) {
			al.noRoom.service(p.id)
			al.drop(p)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(services), ServiceID.Compare) {
		p := al.of[id]
		if !services[id].NeedsAddress() || p != nil && p.at != 0 {
			continue
		}
		if p == nil {
			p = &placing{id: id}
			al.of[id] = p
		}
		ok := false
		if p.at, ok = al.find(id.addressKey(), false); !ok {
			al.noPlace.service(id)
			al.drop(p)
		} else if !al.fitsService(p) {
			al.noRoom.service(id)
			al.drop(p)
		}
	}
}

// slots does the same for slots of some of the services.
func (al *allocation) slots(of []*placing, services map[ServiceID]Service, slots map[ServiceID][]string) {
	for _, p := range of {
		for _, slot := range p.names() {
			if !al.fits(al.slotSize(slot)) {
				al.noRoom.slot(p.id, slot)
				delete(al.taken, p.slots[slot])
				delete(p.slots, slot)
			}
		}
	}
	for _, p := range of {
		if !services[p.id].NeedsAddress() {
			continue
		}
		names := slices.DeleteFunc(slices.Clone(slots[p.id]), func(slot string) bool { return p.slots[slot] != 0 || !dnsLabel(slot) })
		slices.SortFunc(names, compareSlotNames)
		for _, slot := range slices.Compact(names) {
			al.slot(p, slot)
		}
	}
}

func (al *allocation) slot(p *placing, slot string) {
	if len(p.slots) == maxItems || !al.fits(al.slotSize(slot)) {
		al.noRoom.slot(p.id, slot)
		return
	}
	at, ok := al.find(p.id.addressKey()+"/"+slot, true)
	if !ok {
		al.noPlace.slot(p.id, slot)
		return
	}
	if p.slots == nil {
		p.slots = map[string]uint32{}
	}
	p.slots[slot] = at
}

// maxAddressBytes bounds what addresses take of a fleet record; the rest is for
// its other fields.
const maxAddressBytes = maxBody - 12<<10

// fits counts bytes of the record, if they fit.
func (al *allocation) fits(n int) bool {
	if al.bytes+n > maxAddressBytes {
		return false
	}
	al.bytes += n
	return true
}

// fitsService does the same for a service without its slots.
func (al *allocation) fitsService(p *placing) bool {
	n := len("\n    \"\": {\"at\": , \"slots\": {}},") + len(p.id.addressKey()) + al.digits
	if p.unknown != "" {
		n += 2 * len(escapeUnprintable(string(p.unknown)))
	}
	if al.listed == maxItems || !al.fits(n) {
		return false
	}
	al.listed++
	return true
}

// slotSize is what a slot takes of a record at most.
func (al *allocation) slotSize(name string) int { return len("\"\":,") + len(name) + al.digits }

// result is the addresses as they are to be.
func (al *allocation) result() Addresses {
	after, same := Addresses{}, true
	for _, p := range al.sorted() {
		if p.at == 0 {
			continue
		}
		if len(p.slots) == 0 {
			p.slots = nil
		}
		now := ServiceAddress{At: p.at, Slots: p.slots, Unknown: p.unknown}
		was, ok := al.before[p.id.addressKey()]
		same = same && ok && was.At == now.At && maps.Equal(was.Slots, now.Slots)
		after[p.id.addressKey()] = now
	}
	switch {
	case same && len(after) == len(al.before):
		return al.before
	case len(after) == 0:
		return nil
	}
	return after
}

// lacking counts what has no place.
type lacking struct {
	services, slots int
	such            string // one of them
}

func (l *lacking) service(id ServiceID) {
	if l.services++; l.services == 1 {
		l.such = "service " + id.String()
	}
}

func (l *lacking) slot(id ServiceID, name string) {
	if l.slots++; l.services == 0 && l.slots == 1 {
		l.such = SlotID{id, name}.String()
	}
}

// String is "2 services and 10 slots have no address, such as service web".
func (l lacking) String() string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{l.services, "service"}, {l.slots, "slot"}} {
		switch {
		case c.n == 1:
			parts = append(parts, "1 "+c.what)
		case c.n > 1:
			parts = append(parts, strconv.Itoa(c.n)+" "+c.what+"s")
		}
	}
	verb := "have"
	if l.services+l.slots == 1 {
		verb = "has"
	}
	return strings.Join(parts, " and ") + " " + verb + " no address, such as " + l.such
}

// lacks says what has no place, and what there is to do.
func (al *allocation) lacks(v4, v6 netip.Prefix) error {
	var errs []error
	if l := al.noPlace; l.services+l.slots > 0 {
		tight, field := v4, "network.services"
		if 128-v6.Bits() < 32-v4.Bits() {
			tight, field = v6, "network.services6"
		}
		errs = append(errs, fmt.Errorf("the range of service addresses %s is full: %s; give %s in fleet.yaml a larger one", tight, l, field))
	}
	if l := al.noRoom; l.services+l.slots > 0 {
		errs = append(errs, fmt.Errorf("the fleet's record is full: %s; leave port away where no instance of the fleet connects by service address, or make two fleets", l))
	}
	return errors.Join(errs...)
}
