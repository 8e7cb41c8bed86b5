package planner

import (
	"cmp"
	"slices"
)

// givenUp says why a slot is to leave the node of a lease that suits it
// otherwise: its instance keeps failing there; "" = it is not. Where its rollout
// would be blocked for that it is not moved as well.
func (sv *survey) givenUp(ss *serviceState, st *slotState, l Lease) string {
	h := sv.byName[l.Node]
	if h == nil || !h.failing && len(ss.doc.Failed) == 0 {
		return ""
	}
	if ss.kept || ss.roll.stays || ss.s.Reschedule.Never || st.bound != "" || ss.ofNode(st.id.Name) || sv.v.Available(ss.s, l) {
		return ""
	}
	if why, is := sv.v.Failing(st.id, l); is {
		return "fails on " + string(l.Node) + ": " + cmp.Or(why, "it does not become available")
	}
	newer := func(o Lease) bool { return o.Token > l.Token && sv.v.InForce(o) }
	if ss.doc.failedOn(st.id.Name, l.Node, l.Revision) && slices.ContainsFunc(st.leases, newer) {
		return "kept failing on " + string(l.Node)
	}
	return ""
}

// concerns reports whether a lease is of the slot and revision that failed.
func (on FailedOn) concerns(l Lease) bool { return l.Slot == on.Slot && l.Revision == on.Revision }

// forgive forgets where slots failed that hold where they are now. That is worth
// a write of its own: it would keep them there if they ever failed there.
func (r *rollout) forgive() {
	steady := func(on FailedOn) bool {
		return slices.ContainsFunc(r.leases, func(l Lease) bool { return on.concerns(l) && r.facts.inForce(l) && r.facts.steady(l) })
	}
	before := len(r.doc.Failed)
	var who string
	r.doc.Failed = slices.DeleteFunc(r.doc.Failed, func(on FailedOn) bool {
		if !steady(on) {
			return false
		}
		who = SlotID{r.manifest.ID, on.Slot}.String()
		return true
	})
	if n := before - len(r.doc.Failed); n > 0 {
		r.changed = true
		r.say(who + " runs well by now: that it failed elsewhere is forgotten")
	}
}

// failedOn reports whether a slot was given up on a node at a revision.
func (d LeaseDoc) failedOn(slot string, node NodeName, rev Revision) bool {
	return slices.ContainsFunc(d.Failed, func(f FailedOn) bool {
		return f.Slot == slot && f.Node == node && f.Revision == rev
	})
}

// GivenUpOn is the number of nodes on which a slot was given up at a revision
// that are not forgotten yet.
func (d LeaseDoc) GivenUpOn(slot string, rev Revision) int {
	n := 0
	for _, f := range d.Failed {
		if f.Slot == slot && f.Revision == rev {
			n++
		}
	}
	return n
}

// shuns reports whether a slot does not go to a node on which it kept failing.
func (sv *survey) shuns(ss *serviceState, st *slotState, node NodeName) bool {
	fails := func(l Lease) bool { return l.Node == node && sv.fails(st, l) }
	return st.givesUp && (st.old.Node == node || slices.ContainsFunc(st.leases, fails)) ||
		len(ss.doc.Failed) > 0 && ss.doc.failedOn(st.id.Name, node, st.want)
}

// failsOn is the lease at the wanted revision under which a slot keeps failing on
// a node; nil = it has none there.
func (sv *survey) failsOn(st *slotState, node NodeName) *Lease {
	for i, l := range st.leases {
		if l.Node == node && l.Revision == st.want && sv.fails(st, l) {
			return &st.leases[i]
		}
	}
	return nil
}

// fails reports whether a lease in force is of an instance that keeps failing.
func (sv *survey) fails(st *slotState, l Lease) bool {
	_, is := sv.v.Failing(st.id, l)
	return is && sv.v.InForce(l)
}

// gaveUp notes the nodes on which a slot keeps failing under leases that go, or
// that another is to replace.
func (e *docEdit) gaveUp(ss *serviceState, st *slotState, kept []Lease) {
	sv := e.c.sv
	if ss.roll == nil {
		return
	}
	for _, l := range st.leases {
		stays := slices.ContainsFunc(kept, func(k Lease) bool { return k.Token == l.Token })
		leaves := !stays || st.grant && st.givesUp && l.Token == st.old.Token
		if !leaves || e.doc.failedOn(l.Slot, l.Node, l.Revision) || !sv.v.InForce(l) || sv.misfit(ss, st, l) != "" || sv.givenUp(ss, st, l) == "" {
			continue
		}
		if slices.ContainsFunc(kept, ss.roll.facts.steady) {
			return
		}
		e.doc.Failed = append(e.doc.Failed, FailedOn{Slot: l.Slot, Node: l.Node, Revision: l.Revision})
	}
}

// stay leaves a slot where it keeps failing: no other node takes it.
func (st *slotState) stay() {
	st.cur, st.old, st.kind = st.old, nil, slotKeeps
}
