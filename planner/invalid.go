package planner

// invalid says why a document must not stay as it is: a slot has nothing in
// force, a lease is where it may not be or at a revision that is not wanted
// any more, or the service is gone. It is the only ground on which a node that
// does not coordinate a service writes its document; one that is valid but not
// as the node would have planned it is none of its business (design L7).
// "" = it is valid.
func (sv *survey) invalid(id ServiceID, now Time) (why string) {
	dv, known := sv.v.Docs[id]
	ss := sv.byID[id]
	switch commit, gone := sv.f.Gone[id]; {
	case known && dv.Broken != "":
		return "its document is garbled: " + dv.Broken
	case ss == nil && gone && len(dv.Doc.Leases) > 0:
		return "the service was deleted by commit " + Commit{Hash: commit}.Short()
	case ss == nil:
		return ""
	case !known && (len(ss.slots) == 0 || sv.v.Settled == Never || now.Boot < sv.v.Settled):
		return ""
	}
	for _, st := range ss.slots {
		switch {
		case st.fixed:
		case st.kind == slotKeeps && st.old == nil && len(st.leases)-len(st.void) > 1:
			return st.id.String() + " has two leases in force, and needs one"
		case st.kind == slotKeeps && st.old == nil:
		case st.kind == slotFirst:
			return st.id.String() + " has no lease"
		default:
			return st.id.String() + ": " + st.why
		}
	}
	if ss.owes() {
		return "its rollout could go on"
	}
	for _, l := range ss.extra {
		if !l.Ending && l.Exclusive == nil {
			return SlotID{id, l.Slot}.String() + " is no slot of the service"
		}
	}
	return ""
}

// owes reports whether something of a rollout is to be noted or begun that is no
// change of a slot: a step is done, a hook has ended or is to begin, a revision
// has failed. Whoever notes it writes the same.
func (ss *serviceState) owes() bool {
	r := ss.roll
	if r == nil {
		return false
	}
	_, hook := r.hookAsked()
	begins := hook && (ss.pins == pinsAsked || ss.hook != nil && ss.hook.grant)
	return begins || r.changed || ss.stepping.step > r.step
}
