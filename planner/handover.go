package planner

import "slices"

// handOver works out which slots have an instance to lose, and which old leases
// go before the new instance is available.
func (sv *survey) handOver(ss *serviceState) {
	for _, st := range ss.slots {
		ready := st.oldReady && !sv.untold(*st.old)
		if st.available || ready {
			ss.pace.up++
		}
		switch {
		case st.available || ready && sv.v.Available(ss.s, *st.old):
			ss.pace.has++
		case !sv.absent(ss, st):
			ss.pace.down++
		}
	}
	for _, st := range ss.slots {
		if st.cur != nil && st.old != nil && !st.available {
			st.yields = sv.handsOver(ss, st)
		}
	}
}

// serves reports whether the instance under a lease in force is ready, or may be
// (see untold). Also one that is not ready for long enough to be available is not
// to be lost.
func (sv *survey) serves(slot SlotID, l Lease) bool {
	return sv.v.InForce(l) && sv.v.Ready(slot, l) || sv.untold(l)
}

// untold reports whether nobody knows how the instance under a lease in force
// fares: its agent has started again and not told yet. It counts as one that is
// not available, and as one that is not to be lost.
func (sv *survey) untold(l Lease) bool { return sv.v.InForce(l) && !sv.v.Nodes[l.Node].Current() }

// absent reports whether a slot is not there whatever is done here: its own node
// is gone, or it never was anywhere and no node takes it (Decisions.Unplaced).
// Else a service with one slot too many for its fleet could never be updated.
// One that was lost counts: of five members of which two are lost none is ended.
func (sv *survey) absent(ss *serviceState, st *slotState) bool {
	if ss.ofNode(st.id.Name) && !sv.v.Nodes[NodeName(st.id.Name)].Live() {
		return true
	}
	return len(st.leases) == 0 && st.node == ""
}

// handsOver reports whether the old lease of a slot that is in transition goes
// before the new instance is available: where both may not or are not to run at
// once, as soon as the images are there and the budget allows it; and where the
// old one is refused and does not run.
func (sv *survey) handsOver(ss *serviceState, st *slotState) bool {
	if _, refused := sv.refused(ss, st.old.Node, st.old.Revision); refused && !sv.v.Ready(st.id, *st.old) {
		return true
	}
	if !sv.stopsFirst(ss, st) {
		return false
	}
	i, ok := sv.v.Nodes[st.cur.Node].Instance(st.id, st.cur.Token)
	if !ok || !i.Prepared {
		return false
	}
	if sv.untold(*st.old) {
		if ss.waits == "" {
			ss.waits = "the agent of " + string(st.old.Node) + " has just started, and not told yet how " + st.id.String() + " fares"
		}
		return false
	}
	available, down := sv.v.Available(ss.s, *st.old), ss.pace.down
	ends := ss.pace.ends(st.oldReady, available, sv.single(ss, *st.old, st.cur.Revision))
	if !available {
		down-- // its own slot
	}
	if !ends && ss.waits == "" {
		ss.waits = st.id.String() + " on " + string(st.old.Node) + " is not ended for its successor: " +
			plural(down, "other slot") + " not available (spec.update.maxUnavailable)"
	}
	return ends
}

// stopsFirst reports whether the old instance of a slot in transition has to
// end before the new one starts.
func (sv *survey) stopsFirst(ss *serviceState, st *slotState) bool {
	return st.cur.StopFirst || sv.single(ss, *st.old, st.cur.Revision)
}

// single reports whether an instance under an old lease may not run beside one
// of a revision.
func (sv *survey) single(ss *serviceState, old Lease, rev Revision) bool {
	return stopFirst(sv.v.Specs, old, sv.templateOr(ss, rev))
}

// overtaken reports whether a lease waits for the end of an older one that the
// budget, as it is by now, never allows: another replaces it that does not wait.
func (sv *survey) overtaken(ss *serviceState, st *slotState, l Lease) bool {
	if !l.StopFirst || ss.kept || ss.pace.unavailable > 0 || sv.v.Ready(st.id, l) {
		return false
	}
	for _, o := range st.leases {
		if o.Token < l.Token && sv.v.InForce(o) && !sv.single(ss, o, l.Revision) {
			return true
		}
	}
	return false
}

// onlyExtra reports whether no slot that the service has is available, but one is
// on its way: fewer slots are no reason to have none meanwhile.
func (sv *survey) onlyExtra(ss *serviceState) bool {
	comes := func(st *slotState) bool { return st.cur != nil || st.old != nil || st.grant }
	return slices.ContainsFunc(ss.slots, comes) && sv.availableAt(ss, "") == 0
}

// lasts reports whether a lease of a slot that the service does not have any
// more stands for now: its instance is ready, only such are, and it is in
// nobody's way.
func (sv *survey) lasts(ss *serviceState, l Lease) bool {
	t, known := sv.template(ss, l.Revision)
	if !known || t.SingleWriter() || !sv.v.InForce(l) || !sv.v.Ready(SlotID{ss.id, l.Slot}, l) {
		return false
	}
	if ss.waits == "" {
		ss.waits = SlotID{ss.id, l.Slot}.String() + " on " + string(l.Node) + " is not ended before another slot is available"
	}
	return true
}
