package planner

import "slices"

// tally counts slots, and what they ask for.
type tally struct {
	asked ResourceList
	slots int
}

// count counts a slot in (1) or out (-1).
func (t *tally) count(asked ResourceList, by int) {
	if by < 0 {
		t.asked = t.asked.minus(asked)
	} else {
		t.asked = t.asked.plus(asked)
	}
	t.slots += by
}

// settled counts the slots of a service where they are to be once all that has
// begun is done. By that nodes are compared: which of them suits a slot best must
// not hang on how far others are with something that passes.
//
// Nor must it hang on which of several services is quicker, or whose coordinator
// hears of a commit first. So there is a second count, for what a commit asks for:
// in it a service whose document was decided on the commit already has its slots
// where they were before, until in the order of services it has its turn.
func (sv *survey) settled(id ServiceID, ss *serviceState) {
	dv := sv.v.Docs[id]
	if ss == nil {
		if _, gone := sv.f.Gone[id]; gone {
			return
		}
		for _, l := range slotLeases(dv.Doc.Leases) {
			sv.byName[l.Node].settle(sv.v.Specs[l.Revision].Asked(), 1)
		}
		return
	}
	before := map[string]*host{}
	carried := dv.Earlier != nil && dv.Doc.Commit == sv.f.Commit.Hash
	if carried {
		for _, l := range slotLeases(dv.Earlier.Leases) {
			before[l.Slot] = sv.byName[l.Node]
		}
	}
	asked := ss.s.Template.Asked()
	for _, st := range ss.slots {
		now := sv.settlesOn(st)
		was := before[st.id.Name]
		if now == nil || !carried || was == now {
			now.settle(asked, 1)
			continue
		}
		now.settled.count(asked, 1)
		turn := turnOf{id: id, asked: asked, from: was, to: now}
		if was != nil {
			was.planned.count(asked, 1)
			sv.changed = append(sv.changed, turn)
		} else {
			sv.filled = append(sv.filled, turn)
		}
	}
}

// turnOf is a slot that a commit has moved, or brought (from nil), already.
type turnOf struct {
	id       ServiceID
	asked    ResourceList
	from, to *host
}

// reach has the turn of a service come, and with it that of all before it; nil = of
// all. turns are in order of services.
func reach(turns *[]turnOf, ss *serviceState) {
	for len(*turns) > 0 && (ss == nil || (*turns)[0].id.Compare(ss.id) <= 0) {
		t := (*turns)[0]
		if t.from != nil {
			t.from.planned.count(t.asked, -1)
		}
		t.to.planned.count(t.asked, 1)
		*turns = (*turns)[1:]
	}
}

// planned reports whether a slot needs a place because the commit asks for it, and
// not because something was lost, or fails.
func (sv *survey) planned(ss *serviceState, st *slotState) bool {
	if st.kind == slotRecovers || st.givesUp {
		return false
	}
	_, refused := sv.refused(ss, st.at(), ss.s.Revision)
	return !refused
}

// settles has a slot be on a node in the end.
func (sv *survey) settles(ss *serviceState, st *slotState, h *host) {
	asked := ss.s.Template.Asked()
	sv.settlesOn(st).settle(asked, -1)
	h.settle(asked, 1)
	near := sv.neighbours(ss)
	if st.kind == slotChanges {
		near.move(sv.byName[st.old.Node], -1)
	}
	near.move(h, 1)
}

// settlesOn is the node of the newest lease of a slot that is in force; nil = none
// is.
func (sv *survey) settlesOn(st *slotState) *host {
	for _, l := range slices.Backward(st.leases) {
		if sv.v.InForce(l) {
			return sv.byName[l.Node]
		}
	}
	return nil
}

// settle counts a slot in (1) or out (-1) of a node; nil = it is nowhere.
func (h *host) settle(asked ResourceList, by int) {
	if h != nil {
		h.settled.count(asked, by)
		h.planned.count(asked, by)
	}
}
