package planner

import "slices"

// Standing is what a node must run, and what it must leave alone.
type Standing struct {
	// Docs holds, by service, the documents reduced to the leases of the node
	// that are in force.
	Docs map[ServiceID]LeaseDoc
	// Keep holds leases of the node that are void: what runs under them goes
	// on, but is neither started nor restarted (design L9).
	Keep map[ServiceID][]Lease
	// Behind holds leases in Docs whose instance must not start yet, with the
	// reason: another node still holds an older lease of the slot, and two
	// instances may not, or are not to, run at once.
	Behind map[LeaseKey]string
	// Unsure lists services of which nothing may be stopped, and why. The zero
	// ServiceID stands for all services.
	Unsure map[ServiceID]string
}

// StandingOf works out what a node must do. mine says that the record of the
// node shows this agent's own life, since is the epoch at which the life in the
// record took the name: an agent that reads another life has nothing in force
// and keeps only what is older (design L12).
//
// A document of a later format may ask for what this version does not know of:
// nothing is started for it, nothing stopped. Only a lease that still stands in
// it as it did in the last value that could be read goes on being in force: what
// it asks for is known, for a token is given once.
func StandingOf(self NodeName, mine bool, since uint64, v View) Standing {
	s := Standing{
		Docs: map[ServiceID]LeaseDoc{}, Keep: map[ServiceID][]Lease{},
		Behind: map[LeaseKey]string{}, Unsure: map[ServiceID]string{},
	}
	if v.Alarm != "" {
		s.Unsure[ServiceID{}] = v.Alarm
	}
	for _, id := range v.documents() {
		dv := v.Docs[id]
		switch {
		case dv.TooNew:
			s.Unsure[id] = "its document is of a later version"
		case dv.lost():
			s.Unsure[id] = "its document is garbled: " + dv.Broken
		}
		var inForce []Lease
		for _, l := range dv.Doc.Leases {
			if l.Node != self {
				continue
			}
			switch standing, torn := standingOf(id, l, dv.Doc, mine, since, v); {
			case torn:
				s.Unsure[id] = "what was read is of two instants"
				s.Keep[id] = append(s.Keep[id], l)
			case standing == leaseInForce && !dv.understood(l):
				s.Keep[id] = append(s.Keep[id], l)
			case standing == leaseInForce:
				inForce = append(inForce, l)
			case standing == leaseKept:
				s.Keep[id] = append(s.Keep[id], l)
			}
		}
		if len(inForce) == 0 {
			continue
		}
		for _, l := range inForce {
			if o, why := predecessor(l, dv.Doc, v); why != "" {
				s.Behind[LeaseKey{id, l.Token}] = "waits until the older lease of " + string(o.Node) + " is taken back: " + why
			}
		}
		doc := dv.Doc
		doc.Service, doc.Leases = id, inForce
		s.Docs[id] = doc
	}
	return s
}

// understood reports whether all that a lease asks for is known.
func (dv DocView) understood(l Lease) bool {
	return !dv.TooNew || slices.ContainsFunc(dv.Before.Leases, func(o Lease) bool { return sameLease(o, l) })
}

// leaseStanding says what a lease means to its node.
type leaseStanding int

const (
	leaseOver    leaseStanding = iota // what runs under it ends
	leaseKept                         // what runs under it goes on
	leaseInForce                      // it must run
)

// standingOf judges one lease of the node. torn: it is newer than the node's
// record, so that nothing can be concluded.
func standingOf(id ServiceID, l Lease, doc LeaseDoc, mine bool, since uint64, v View) (s leaseStanding, torn bool) {
	switch {
	case v.Torn(l):
		return leaseKept, true
	case mine && v.InForce(l):
		return leaseInForce, false
	case l.Ending || l.Exclusive != nil:
		return leaseOver, false
	case !mine && l.Epoch >= since:
		return leaseOver, false // of the other life
	}
	slot := SlotID{id, l.Slot}
	replaced := slices.ContainsFunc(doc.Leases, func(o Lease) bool {
		return o.Slot == l.Slot && o.Token != l.Token && v.InForce(o) && v.Ready(slot, o)
	})
	if replaced {
		return leaseOver, false
	}
	return leaseKept, false
}

// predecessor is the older lease in force of another node that a lease has to
// wait for, and why; "" = there is none.
func predecessor(l Lease, doc LeaseDoc, v View) (o Lease, why string) {
	for _, o := range doc.Leases {
		if o.Slot != l.Slot || o.Node == l.Node || o.Token >= l.Token || !v.InForce(o) {
			continue
		}
		if v.Specs[l.Revision].SingleWriter() || v.Specs[o.Revision].SingleWriter() {
			return o, "only one instance may run"
		}
		if l.StopFirst {
			return o, stopsFirst
		}
	}
	return Lease{}, ""
}
