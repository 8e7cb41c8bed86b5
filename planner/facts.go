package planner

import (
	"cmp"
	"slices"
)

// fleetFacts are the facts of a service in a fleet, from the records.
type fleetFacts struct {
	v *View
	s *Service // as the manifest has it
}

func (f *fleetFacts) inForce(l Lease) bool { return f.v.InForce(l) }

func (f *fleetFacts) available(l Lease) bool { return f.v.Available(f.s, l) }

func (f *fleetFacts) failing(l Lease) (string, bool) {
	return f.v.Failing(SlotID{f.s.ID, l.Slot}, l)
}

func (f *fleetFacts) lapsed(l Lease) (string, bool) {
	i, ok := f.v.Nodes[l.Node].Instance(SlotID{f.s.ID, l.Slot}, l.Token)
	return i.Reason, ok && i.Lapsed
}

func (f *fleetFacts) steady(l Lease) bool {
	i, ok := f.v.Nodes[l.Node].Instance(SlotID{f.s.ID, l.Slot}, l.Token)
	return ok && i.Steady
}

func (f *fleetFacts) template(rev Revision) (Template, bool) {
	return templateOf(f.s, f.v.Specs, rev)
}

// ended is what the node says of a hook, or, where the node is lost, that
// nobody can say it any more.
func (f *fleetFacts) ended(l Lease) (failed string, is bool) {
	i, ok := f.v.Nodes[l.Node].Instance(SlotID{f.s.ID, l.Slot}, l.Token)
	switch {
	case ok && i.Phase == PhaseSucceeded:
		return "", true
	case ok && (i.Phase == PhaseFailed || i.Failing):
		return cmp.Or(i.Reason, "it failed on "+string(l.Node)), true
	case f.v.InForce(l):
		return "", false
	}
	return "nobody knows whether it succeeded, for " + string(l.Node) + " was lost while it ran", true
}

// aloneFacts are the facts of a service on a node that grants leases to itself.
type aloneFacts struct {
	v *Alone
	s *Service // as the manifest has it
}

func (f *aloneFacts) key(l Lease) LeaseKey { return LeaseKey{f.s.ID, l.Token} }

func (f *aloneFacts) inForce(Lease) bool { return true }

func (f *aloneFacts) available(l Lease) bool {
	if f.s.MinReady == 0 {
		return f.v.Ready[f.key(l)]
	}
	return f.v.Available[f.key(l)]
}

// runs reports whether the instance of a lease runs, ready or not.
func (f *aloneFacts) runs(l Lease) bool {
	return slices.ContainsFunc(f.v.Running, func(i Instance) bool {
		return i.Slot == (SlotID{f.s.ID, l.Slot}) && i.Revision == l.Revision && i.State == StateRunning
	})
}

func (f *aloneFacts) failing(l Lease) (string, bool) {
	why, is := f.v.Failing[f.key(l)]
	return why, is
}

func (f *aloneFacts) lapsed(l Lease) (string, bool) {
	why, is := f.v.Lapsed[f.key(l)]
	return why, is
}

// steady: a node alone gives nothing up to another, and counts nothing for it.
func (f *aloneFacts) steady(Lease) bool { return false }

func (f *aloneFacts) template(rev Revision) (Template, bool) {
	return templateOf(f.s, f.v.Specs, rev)
}

func (f *aloneFacts) ended(l Lease) (failed string, is bool) {
	if failed, is = f.v.Ended[f.key(l)]; is {
		return failed, true
	}
	if why, failing := f.v.Failing[f.key(l)]; failing {
		return cmp.Or(why, "it did not end in time"), true
	}
	return "", false
}

// templateOf is the template of a revision of a service, if it is known: the
// manifest's, or one of before.
func templateOf(s *Service, specs map[Revision]Template, rev Revision) (Template, bool) {
	if t, ok := s.TemplateOf(rev); ok {
		return t, true
	}
	t, ok := specs[rev]
	return t, ok
}
