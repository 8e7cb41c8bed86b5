package planner

import "slices"

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
	if hold := r.holds(len(ss.names), func() string { return sv.unmet(ss) }); hold != "" {
		ss.waits = hold
		return sv.haveTurn(ss)
	}
	ss.stepping = r.steps(len(ss.names), sv.availableAt(ss, r.s.Revision), sv.v.Docs[ss.id].StepSince, sv.now)
	if ss.stepping.why != "" {
		ss.waits = ss.stepping.why
	}
	if ss.stepping.most >= len(ss.names) {
		return nil
	}
	// A slot whose new instance has not begun, for it waits for the end of the old
	// one, gives way to those that have nothing to lose: the budget may never let
	// that end while they are down.
	turns, waiting := sv.haveTurn(ss), []string{}
	for _, name := range ss.names {
		if turns[name] && sv.notBegun(ss, name) {
			delete(turns, name)
			waiting = append(waiting, name)
		}
	}
	loses := func(name string) bool { return sv.loses(ss, name) }
	addTurns(turns, slices.Concat(waiting, ss.names), ss.stepping.most, loses)
	return turns
}

// notBegun reports whether the instance of a slot at the wanted revision waits
// for the end of an available one.
func (sv *survey) notBegun(ss *serviceState, name string) bool {
	waits := func(l Lease) bool {
		return slices.ContainsFunc(ss.leased[name], func(o Lease) bool {
			return o.Token < l.Token && sv.v.InForce(o) && sv.v.Available(ss.s, o) && (l.StopFirst || sv.single(ss, o, l.Revision))
		})
	}
	return !slices.ContainsFunc(ss.leased[name], func(l Lease) bool {
		return l.Revision == ss.s.Revision && (sv.v.Ready(SlotID{ss.id, name}, l) || !waits(l))
	})
}

// haveTurn are the slots that have a lease at the wanted revision.
func (sv *survey) haveTurn(ss *serviceState) map[string]bool {
	turns := map[string]bool{}
	for _, name := range ss.names {
		if slices.ContainsFunc(ss.leased[name], func(l Lease) bool { return l.Revision == ss.s.Revision }) {
			turns[name] = true
		}
	}
	return turns
}

// addTurns lets more slots have the wanted revision, most in all: those first
// that have no available instance to lose.
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

// loses reports whether a slot has an available instance.
func (sv *survey) loses(ss *serviceState, name string) bool {
	return slices.ContainsFunc(ss.leased[name], func(l Lease) bool { return sv.v.InForce(l) && sv.v.Available(ss.s, l) })
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
// to be given again. One that has none gets the last good one, beside others.
// "" = it gets none.
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
	return ss.roll.beside(ss.stepping)
}
