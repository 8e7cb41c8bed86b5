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
	if ss.doc.failedOn(st.id.Name, l.Node, l.Revision) {
		return "kept failing on " + string(l.Node)
	}
	return ""
}

// failedOn reports whether a slot was given up on a node at a revision.
func (d LeaseDoc) failedOn(slot string, node NodeName, rev Revision) bool {
	return slices.ContainsFunc(d.Failed, func(f FailedOn) bool {
		return f.Slot == slot && f.Node == node && f.Revision == rev
	})
}

// shuns reports whether a slot does not go to a node on which it kept failing.
func (sv *survey) shuns(ss *serviceState, st *slotState, node NodeName) bool {
	return st.givesUp && st.old.Node == node || len(ss.doc.Failed) > 0 && ss.doc.failedOn(st.id.Name, node, st.want)
}

// stay leaves a slot where it keeps failing: no other node takes it.
func (st *slotState) stay() {
	st.cur, st.old, st.kind = st.old, nil, slotKeeps
}
