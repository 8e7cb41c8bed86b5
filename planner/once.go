package planner

// What runs once: the instances of hooks.

// once reports whether a lease is for something that runs once.
func (r *reconciler) once(l Lease) bool { return l.Hook != "" || r.st.Specs[l.Revision].Once }

// over says why nothing is started under a lease for something that runs once:
// it was, whatever is left of it. "" = it was not, or it is none.
func (r *reconciler) over(slot SlotID, l Lease, have Instance, there bool) string {
	begun := r.st.Started[LeaseKey{slot.Service, l.Token}]
	switch {
	case !r.once(l):
		return ""
	case there && have.State == StatePartial && !begun:
		return "" // left by a start that did not begin
	case there && have.State != StatePartial && have.Alive():
		return "it runs once: " + r.whyRestart(have) + "; the rest of it runs on"
	case there:
		return "it runs once: " + r.whyRestart(have)
	case r.st.Unlisted[r.st.Specs[l.Revision].DriverName()]:
		return "" // what is left of it cannot be known; nothing is started either
	case begun:
		return "it runs once, and was started before: nothing is left that tells how it ended"
	}
	return ""
}

// begun reports whether something that runs once is here, or was started.
func (t *taker) begun(at slotRevision, token uint64) bool {
	spec, known := t.spec(RevisionKey{at.slot.Service, at.revision})
	return known && spec.Once && (t.here[at] || t.st.Started[LeaseKey{at.slot.Service, token}])
}

// sticks is the refusal of something that runs once: it stands as long as its
// lease does. Another node may be running it by now.
func (t *taker) sticks(key RevisionKey, reason string) string {
	spec, known := t.spec(key)
	if !known || !spec.Once {
		return ""
	}
	for _, l := range t.st.Docs[key.Service].Leases {
		if l.Node == t.st.Node && l.Revision == key.Revision && !t.begun(slotRevision{SlotID{key.Service, l.Slot}, l.Revision}, l.Token) {
			return reason
		}
	}
	return ""
}
