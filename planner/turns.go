package planner

import (
	"cmp"
	"slices"
)

// turns says which slots of a service are to have the wanted revision; nil =
// all. It notes what the others wait for.
func (sv *survey) turns(ss *serviceState) map[string]bool {
	r := ss.roll
	if r.blocked != "" {
		ss.waits = r.whyBlocked()
	}
	if r.stays {
		return map[string]bool{}
	}
	r.found = slices.ContainsFunc(ss.names, func(name string) bool { return sv.found(ss, name) == r.s.Revision })
	if hold := r.holds(len(ss.names), func() string { return sv.unmet(ss) }); hold != "" {
		ss.waits = hold
		return sv.haveTurn(ss, ss.names)
	}
	return sv.takeTurns(ss, ss.names)
}

// takeTurns says which slots are to have the wanted revision as far as its steps
// go; nil = all. names are those that count.
func (sv *survey) takeTurns(ss *serviceState, names []string) map[string]bool {
	available := 0
	if ss.roll.stepwise() {
		available = sv.availableAt(ss, ss.s.Revision)
	}
	ss.stepping = ss.roll.steps(len(names), available, sv.v.Docs[ss.id].StepSince, sv.now)
	if ss.stepping.why != "" {
		ss.waits = ss.stepping.why
	}
	if ss.stepping.most >= len(names) {
		return nil
	}
	// A slot whose new instance has not begun, for it waits for the end of the old
	// one, gives way to those that have nothing to lose: the budget may never let
	// that end while they are down.
	turns, waiting := sv.haveTurn(ss, names), []string{}
	for _, name := range names {
		if turns[name] && sv.notBegun(ss, name) {
			delete(turns, name)
			waiting = append(waiting, name)
		}
	}
	loses := func(name string) bool { return sv.loses(ss, name) }
	addTurns(turns, slices.Concat(waiting, names), ss.stepping.most, loses)
	return turns
}

// passTurns gives the turns of slots that no node takes, or whose node is gone,
// to others, and leaves those slots out of the count: a step must not wait for
// what is lost. One that gets its first lease by that may have no place either.
func (sv *survey) passTurns(ss *serviceState) {
	if ss.roll == nil || !ss.roll.rolling {
		return
	}
	for again := true; again && !ss.stepping.through && ss.stepping.most > 0; {
		there, before := []string{}, ss.turns
		for _, st := range ss.slots {
			if st.fixed || st.held || st.cur != nil || st.old != nil || st.node != "" {
				there = append(there, st.id.Name)
			}
		}
		if len(there) == len(ss.names) {
			return
		}
		ss.turns = sv.takeTurns(ss, there)
		again = sv.gain(ss, before)
	}
}

// gain describes those slots anew that have their turn now, and did not before.
// It reports whether one of them has no place.
func (sv *survey) gain(ss *serviceState, before map[string]bool) (without bool) {
	for i, st := range ss.slots {
		name := st.id.Name
		gains := before != nil && !before[name] && (ss.turns == nil || ss.turns[name])
		if !gains || !st.held && st.cur == nil && st.old == nil {
			continue
		}
		next := sv.slot(ss, name, ss.leased[name])
		ss.slots[i] = next
		if !st.held {
			sv.underWay(ss, next)
			continue
		}
		sv.fill(ss, next)
		without = without || next.node == ""
	}
	return without
}

// notBegun reports whether the instance of a slot at the wanted revision waits
// for the end of one that is ready.
func (sv *survey) notBegun(ss *serviceState, name string) bool {
	waits := func(l Lease) bool {
		return slices.ContainsFunc(ss.leased[name], func(o Lease) bool {
			return o.Token < l.Token && sv.v.InForce(o) && sv.v.Ready(SlotID{ss.id, name}, o) && (l.StopFirst || sv.single(ss, o, l.Revision))
		})
	}
	return !slices.ContainsFunc(ss.leased[name], func(l Lease) bool {
		return l.Revision == ss.s.Revision && (sv.v.Ready(SlotID{ss.id, name}, l) || !waits(l))
	})
}

// haveTurn are those of the slots that have a lease at the wanted revision.
func (sv *survey) haveTurn(ss *serviceState, names []string) map[string]bool {
	return having(names, ss.leased, func(l Lease) bool { return l.Revision == ss.s.Revision })
}

// having are those of the slots that have such a lease.
func having(names []string, leased map[string][]Lease, such func(Lease) bool) map[string]bool {
	slots := map[string]bool{}
	for _, name := range names {
		if slices.ContainsFunc(leased[name], such) {
			slots[name] = true
		}
	}
	return slots
}

// addTurns lets more slots have the wanted revision, most in all: those first
// that have no ready instance to lose.
func addTurns(turns map[string]bool, names []string, most int, loses func(slot string) bool) {
	for _, losing := range []bool{false, true} {
		for _, name := range names {
			if len(turns) >= most {
				return
			}
			if !turns[name] && loses(name) == losing {
				turns[name] = true
			}
		}
	}
}

// loses reports whether a slot has an instance that is, or may be, ready.
func (sv *survey) loses(ss *serviceState, name string) bool {
	return slices.ContainsFunc(ss.leased[name], func(l Lease) bool {
		return sv.serves(SlotID{ss.id, name}, l)
	})
}

// availableAt counts the slots that are available at a revision; "" = at any.
func (sv *survey) availableAt(ss *serviceState, rev Revision) int {
	n := 0
	for _, name := range ss.names {
		if slices.ContainsFunc(ss.leased[name], func(l Lease) bool {
			return (rev == "" || l.Revision == rev) && sv.v.InForce(l) && sv.v.Available(ss.s, l)
		}) {
			n++
		}
	}
	return n
}

// own is the revision that a slot stays at whose turn has not come: that of its
// readiest lease in force, of these the oldest, or that of the void one that is
// to be given again. One that has none gets the one at which it is found, or the
// last good one, beside others. "" = it gets none.
func (sv *survey) own(ss *serviceState, st *slotState) Revision {
	var best *Lease
	for i := range st.leases {
		l := &st.leases[i]
		if sv.v.InForce(*l) && (best == nil || sv.standing(ss, st, *l) > sv.standing(ss, st, *best)) {
			best = l
		}
	}
	switch newest := len(st.leases) - 1; {
	case best != nil:
		return best.Revision
	case newest >= 0:
		return st.leases[newest].Revision
	}
	return cmp.Or(sv.found(ss, st.id.Name), ss.roll.beside(ss.stepping))
}
