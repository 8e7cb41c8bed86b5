package planner

// hook finds a node for the hook that is to begin, as for a slot of its own. One
// whose node refuses it never began there, and goes to another.
func (sv *survey) hook(ss *serviceState) {
	r := ss.roll
	if r.hook != nil {
		if !r.withdraw(sv.refused(ss, r.hook.Node, r.hook.Revision)) {
			return
		}
	}
	h, asked := r.hookAsked()
	if !asked {
		return
	}
	if ss.pins == pinsAsked {
		return // it runs the images that the slots will: see docEdit.hooks
	}
	st := &slotState{id: SlotID{ss.id, string(r.starts)}, kind: slotFirst, hook: true, want: h.Revision}
	ss.hook = st
	host, reasons := sv.choose(ss, st)
	if host == nil {
		st.reasons = reasons
		ss.waits = "no node takes its " + r.starts.Field() + " hook"
		return
	}
	st.node, st.grant = host.name, true
	ss.waits = "its " + r.starts.Field() + " hook begins on " + string(host.name)
	host.occupy(ss.id, sv.needs(ss, st.want), 1)
}

// withdraw takes back the lease of a hook that its node refuses, and has the
// hook begin elsewhere if it is still wanted.
func (r *rollout) withdraw(why string, refused bool) bool {
	if !refused {
		return false
	}
	l := *r.hook
	r.doc.Leases = withoutHook(r.doc.Leases, l)
	r.hook, r.changed = nil, true
	r.say("its " + l.Hook.Field() + " hook did not begin on " + string(l.Node) + ", which refuses it: " + why)
	if own, has := r.manifest.Hooks[l.Hook]; has && own.Revision == l.Revision && r.blocked == "" {
		r.starts = l.Hook
	}
	return true
}
