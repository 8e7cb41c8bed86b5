package fleet

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// addressRest is how long a service that is gone for good keeps its address
	// after its document: a revert brings the same one back.
	addressRest = 10 * time.Minute
	// addressWait lets changes of addresses come together, and those of new
	// services ride with their documents; one without a document for
	// addressPatience is not waited for.
	addressWait     = time.Second
	addressPatience = 10 * time.Second
)

// addressState is what the member knows of addresses beside the view.
type addressState struct {
	recorded planner.Addresses // as the fleet record has them
	// sound are those of them that count with the ranges soundOf; nil = that is
	// not known yet.
	sound   planner.Addresses
	soundOf *planner.FleetNetwork
	// wanted is what the record is to have: what lacks in recorded, it says.
	wanted planner.Addresses
	lacks  []planner.ServiceID // with something in wanted that recorded has not, in order
	since  time.Duration       // when lacks last became more than nothing
	// gone is since when there is neither a service nor a document, or a service
	// that needs none, of those that have an address.
	gone map[planner.ServiceID]time.Duration
	full string // why not all have one that need one; "" = they do
}

// recordedAddresses takes in those of an accepted fleet record. What it lacks
// and this member remembers holds until the record has it again: a server that
// was restored from a backup takes nobody's address away.
func (m *Member) recordedAddresses(a planner.Addresses) {
	m.addresses.recorded, m.addresses.soundOf = a, nil
	m.layAddresses()
}

// layAddresses lays the addresses that hold into the view.
func (m *Member) layAddresses() {
	s, network := &m.addresses, m.followed.Fleet.Network
	if s.soundOf == nil || *s.soundOf != network {
		s.sound, s.soundOf = s.recorded, &network
		if _, _, err := network.Ranges(); err == nil {
			s.sound = s.recorded.Sound(network)
		}
	}
	m.view.Fleet.Addresses = m.recalled(s.sound)
}

// address brings the addresses that are wanted up to date with what is
// followed. New services ride with their documents (see addNew), all else is
// for one node to write (see addAddresses). Nothing is written only to take an
// address away.
func (m *Member) address() {
	s := &m.addresses
	m.layAddresses()
	m.noteGone()
	slots := map[planner.ServiceID][]string{}
	services := map[planner.ServiceID]planner.Service{}
	for id, service := range m.followed.Services {
		if !service.Orphan && service.NeedsAddress() {
			services[id], slots[id] = service, m.slotsOf(service)
		}
	}
	var err error
	s.wanted, err = m.view.Fleet.Addresses.Allocate(m.followed.Fleet.Network, services, slots, m.keepsAddress)
	full := ""
	if err != nil {
		full = err.Error()
	}
	if full != s.full && full != "" {
		m.log.Error("not every service has an address", "err", err)
	}
	s.full = full
	before := len(s.lacks)
	s.lacks = nil
	for _, id := range sortedIDs(services) {
		if has, _ := s.recorded.Of(id); lacksAny(has, s.wanted, id) {
			s.lacks = append(s.lacks, id)
		}
	}
	if before == 0 {
		s.since = m.now.Boot
	}
	m.rememberAddresses()
}

// lacksAny reports whether a service has no place, or another than is wanted,
// for itself or for a slot.
func lacksAny(has planner.ServiceAddress, wanted planner.Addresses, id planner.ServiceID) bool {
	want, ok := wanted.Of(id)
	if !ok {
		return false // there is no room for it
	}
	for slot, at := range want.Slots {
		if has.Slots[slot] != at {
			return true
		}
	}
	return has.At != want.At
}

// slotsOf lists the slots of a service that there are or ought to be.
func (m *Member) slotsOf(s planner.Service) []string {
	var slots []string
	if !s.EveryNode {
		for k := range s.Replicas {
			slots = append(slots, strconv.Itoa(k))
		}
	}
	for _, l := range m.view.Docs[s.ID].Doc.Leases {
		slots = append(slots, l.Slot)
	}
	for _, d := range m.decided.Docs { // about to be
		for _, l := range d.Doc.Leases {
			if d.Doc.Service == s.ID && isNew(d) {
				slots = append(slots, l.Slot)
			}
		}
	}
	slices.Sort(slots)
	return slices.Compact(slots)
}

// keepsAddress reports whether nothing may be concluded of a service that needs
// no address by what is followed: it keeps its own.
func (m *Member) keepsAddress(id planner.ServiceID) bool {
	if s, followed := m.followed.Services[id]; followed && (s.Orphan || s.NeedsAddress()) {
		return s.Orphan
	}
	since, gone := m.addresses.gone[id]
	return !gone || m.now.Boot-since < addressRest
}

// noteGone notes since when services with an address have been gone for good,
// or have needed none.
func (m *Member) noteGone() {
	gone := map[planner.ServiceID]time.Duration{}
	for key := range m.view.Fleet.Addresses {
		id := serviceOf(key)
		s, followed := m.followed.Services[id]
		_, documented := m.view.Docs[id]
		if followed && (s.Orphan || s.NeedsAddress()) || !followed && documented || m.followed.Commit.Hash == "" {
			continue
		}
		if since, known := m.addresses.gone[id]; known {
			gone[id] = since
		} else {
			gone[id] = m.now.Boot
		}
	}
	m.addresses.gone = gone
}

// serviceOf is the service that a key of Addresses names.
func serviceOf(key string) planner.ServiceID {
	namespace, name, _ := strings.Cut(key, "/")
	return planner.ServiceID{Namespace: namespace, Name: name}
}

// recalled is a record's addresses with those that it lacks and this member
// remembers, where their places are free. Only of services that there still
// are: others were taken away on purpose.
func (m *Member) recalled(recorded planner.Addresses) planner.Addresses {
	var out planner.Addresses
	var taken map[uint32]bool
	free := func(at uint32) bool {
		if taken == nil {
			taken = map[uint32]bool{}
			for _, a := range recorded {
				taken[a.At] = true
				for _, slot := range a.Slots {
					taken[slot] = true
				}
			}
		}
		if at == 0 || taken[at] {
			return false
		}
		taken[at] = true
		return true
	}
	for _, key := range slices.Sorted(maps.Keys(m.memory.Addresses)) {
		was, has := m.memory.Addresses[key], recorded[key]
		if !m.lives(serviceOf(key)) {
			continue
		}
		back := has
		if has.At == 0 && free(was.At) {
			back.At = was.At
		}
		for _, slot := range slices.Sorted(maps.Keys(was.Slots)) {
			if has.Slots[slot] == 0 && m.livesSlot(serviceOf(key), slot) && free(was.Slots[slot]) {
				if len(back.Slots) == len(has.Slots) {
					back.Slots = maps.Clone(has.Slots)
				}
				if back.Slots == nil {
					back.Slots = map[string]uint32{}
				}
				back.Slots[slot] = was.Slots[slot]
			}
		}
		if back.At == has.At && len(back.Slots) == len(has.Slots) {
			continue
		}
		if out == nil {
			if out = maps.Clone(recorded); out == nil {
				out = planner.Addresses{}
			}
		}
		out[key] = back
	}
	if out == nil {
		return recorded
	}
	return out
}

// lives reports whether a service is followed or has a document.
func (m *Member) lives(id planner.ServiceID) bool {
	_, followed := m.followed.Services[id]
	_, documented := m.view.Docs[id]
	return followed || documented || !m.whole
}

func (m *Member) livesSlot(id planner.ServiceID, slot string) bool {
	s, followed := m.followed.Services[id]
	return !m.whole || !followed || slices.Contains(m.slotsOf(s), slot)
}

// rememberAddresses keeps the addresses that stand, for a start without Git and
// for records that went back.
func (m *Member) rememberAddresses() {
	e := m.entries[planner.FleetRef]
	if !m.whole || len(m.alarm) > 0 || e == nil || e.bad != "" || e.hash == "" {
		return
	}
	now, before := m.view.Fleet.Addresses, m.memory.Addresses
	m.unsaved = m.unsaved || !reflect.DeepEqual(now, before) && len(now)+len(before) > 0
	m.memory.Addresses = now // one and the same map is soon compared
}

// fleetRecord is the fleet record as this member would write it now, with
// everything in it as it stands but the addresses, which are as wanted.
func (m *Member) fleetRecord() planner.FleetRecord {
	rec := m.view.Fleet
	rec.Format, rec.By = planner.FormatFleet, m.self
	if m.addresses.wanted != nil {
		rec.Addresses = m.addresses.wanted
	}
	return rec
}

// addressesDue reports whether this member is to write addresses: the node that
// ranks first for the fleet record does, the next where it does not. Those of
// services without a document are for who makes that.
func (m *Member) addressesDue() bool {
	s := &m.addresses
	due := s.lacks
	if m.pusher.atomic && m.now.Boot < max(m.view.Settled, m.view.FollowedSince)+addressPatience {
		due = slices.DeleteFunc(slices.Clone(due), func(id planner.ServiceID) bool { _, known := m.view.Docs[id]; return !known })
	}
	if len(s.lacks) == 0 || !m.fleetStands() || m.view.Settled > m.now.Boot {
		return false
	}
	place := slices.Index(m.view.Coordinators(fleetPurpose), m.self)
	at := s.since + addressWait + time.Duration(place)*fleetStandIn
	if len(due) == 0 {
		at = max(m.view.Settled, m.view.FollowedSince) + addressPatience
	}
	if place < 0 || at > m.now.Boot {
		if place >= 0 {
			m.ledger.wait = soonest(m.ledger.wait, at, m.now.Boot)
		}
		return false
	}
	return m.spend(leases)
}

// addAddresses writes the addresses as they are wanted.
func (m *Member) addAddresses(out *outgoing) {
	m.addSigned(out, planner.FleetRef, addressSubject(m.addresses.lacks), m.fleetRecord().Body(), "", piece{pokes: m.everybody()})
}

// addressSubject says whose addresses are given, for the log that people read.
func addressSubject(ids []planner.ServiceID) string {
	const named = 5
	var names []string
	for _, id := range ids[:min(len(ids), named)] {
		names = append(names, id.String())
	}
	more := ""
	if n := len(ids) - named; n > 0 {
		more = " and " + strconv.Itoa(n) + " more"
	}
	return cmp.Or(strings.Join(names, ", "), "services") + more + ": addresses"
}

// Unaddressed says why not every service that needs an address has one; "" =
// all have.
func (m *Member) Unaddressed() string { return m.addresses.full }
