package planner

import (
	"maps"
	"slices"
)

// checkWrite checks one document that was pushed, by what its writer knew.
func (w *fleetWorld) checkWrite(v View, f Followed, d Decision) {
	id := d.Doc.Service
	if d.Doc.Tokens < d.Old.Tokens || d.Doc.Tokens < v.Fleet.Tokens {
		w.t.Fatalf("tokens of %s fall: %+v", id, d)
	}
	if d.Old.Commit > d.Doc.Commit {
		w.t.Fatalf("%s: decided on commit %s after %s (L6)", id, d.Doc.Commit, d.Old.Commit)
	}
	if d.Why == "" || d.Doc.By != v.Self || d.Doc.Format != FormatLeases {
		w.t.Fatalf("not signed: %+v", d)
	}
	for _, l := range d.Doc.Leases {
		key := LeaseKey{id, l.Token}
		if before, ok := w.given[key]; ok {
			if before != l {
				w.t.Fatalf("token %d of %s was given before: %+v, %+v", l.Token, id, before, l)
			}
			continue
		}
		if l.Token <= d.Old.Tokens {
			w.t.Fatalf("token %d of %s is not above %d", l.Token, id, d.Old.Tokens)
		}
		w.given[key] = l
	}
	w.checkBudget(v, f, d)
}

// checkLeases checks what is in force of each slot, by the truth.
func (w *fleetWorld) checkLeases() {
	seen := w.look()
	v := View{Nodes: seen.nodes, Docs: seen.docs}
	for id, doc := range w.docs {
		for slot, leases := range inForce(v, doc) {
			if len(leases) > 2 || len(leases) == 2 && leases[0].Node == leases[1].Node && leases[0].Revision == leases[1].Revision {
				w.t.Fatalf("%s-%s has the leases %+v", id, slot, leases)
			}
		}
	}
}

// inForce sorts the leases in force by slot.
func inForce(v View, doc LeaseDoc) map[string][]Lease {
	slots := map[string][]Lease{}
	for _, l := range doc.Leases {
		if v.InForce(l) {
			slots[l.Slot] = append(slots[l.Slot], l)
		}
	}
	return slots
}

// checkRoom: no decision asks more of a node than it has, by what its writer
// knew. Of two leases on a node of which the later is stop-first, or for a single
// writer, only one runs.
func (w *fleetWorld) checkRoom(v View, decided []Decision) {
	before := w.asked(v)
	v.Docs = maps.Clone(v.Docs)
	for _, d := range decided {
		v.Docs[d.Doc.Service] = DocView{Doc: d.Doc}
	}
	after := w.asked(v)
	for name, n := range v.Nodes {
		if room := n.Record.Capacity.MemoryBytes; room > 0 && after[name] > max(room, before[name]) {
			w.t.Fatalf("%s has %d and is asked for %d: %s", name, room, after[name], show(decided))
		}
	}
}

func (w *fleetWorld) asked(v View) map[NodeName]int64 {
	asked := map[NodeName]int64{}
	for id, dv := range v.Docs {
		for _, leases := range inForce(v, dv.Doc) {
			for i, l := range leases {
				if i == 0 || (id.Name == "web" || id.Name == "each") && !l.StopFirst || leases[0].Node != l.Node {
					asked[l.Node] += w.images[l.Revision].Asked().MemoryBytes
				}
			}
		}
	}
	return asked
}

// checkSettled: every slot that has a place is ready under one lease at the
// wanted revision, and nothing else is in force or runs.
func (w *fleetWorld) checkSettled() {
	first := w.names()[0]
	n := w.nodes[first]
	v := w.view(first)
	now := Time{Boot: w.now}
	sv, placing := newSurvey(n.followed, v, now), newSurvey(n.followed, v, now)
	placing.place()
	unplaced := map[SlotID]bool{}
	for _, u := range placing.unplaced() {
		unplaced[u.Slot] = true
	}
	for _, ss := range sv.services {
		lost := slices.ContainsFunc(ss.slots, func(st *slotState) bool { return unplaced[st.id] && len(st.leases) > 0 })
		for _, st := range ss.slots {
			if unplaced[st.id] || lost && st.old != nil {
				continue // no node takes it, or what is lost uses up the budget
			}
			if ss.kept {
				w.checkKept(st)
				continue
			}
			if ss.roll.stays {
				w.checkStays(ss, st)
				continue
			}
			if unplaced[SlotID{ss.id, string(HookPreRollout)}] && len(st.leases) <= 1 {
				continue // it waits for a node that takes its hook
			}
			if lost && st.want != ss.s.Revision && len(st.leases) <= 1 {
				continue // its turn comes after that of a slot that no node takes beside what runs
			}
			if len(st.leases) != 1 || st.cur == nil || !v.Ready(st.id, *st.cur) {
				w.t.Fatalf("%s has the leases %+v: %+v\nwaiting %v", st.id, st.leases, st, Coordinate(n.followed, v, now).Waiting)
			}
		}
		if len(ss.extra) > 0 {
			w.t.Fatalf("%s has leases too many: %+v", ss.id, ss.extra)
		}
	}
	for id, doc := range w.docs {
		if w.gone(id) && len(doc.Leases) > 0 {
			w.t.Fatalf("%s is deleted and has the leases %+v", id, doc.Leases)
		}
	}
	for _, name := range w.names() {
		for _, i := range w.nodes[name].have {
			doc := w.docs[i.Slot.Service]
			if !slices.ContainsFunc(doc.Leases, func(l Lease) bool {
				return l.Node == name && l.Slot == i.Slot.Name && l.Revision == i.Revision
			}) {
				w.t.Fatalf("%s runs %+v without a lease", name, i)
			}
		}
	}
}

// checkKept: a slot of a service that the commit does not speak for has one
// lease in force, whatever its revision.
func (w *fleetWorld) checkKept(st *slotState) {
	if st.cur == nil || len(st.leases)-len(st.void) != 1 {
		w.t.Fatalf("%s is kept and has the leases %+v", st.id, st.leases)
	}
}

// checkStays: where the revision is blocked and nothing is gone back to, a slot
// that is available has one lease. (One that never can be may be on its way.)
func (w *fleetWorld) checkStays(ss *serviceState, st *slotState) {
	if st.available && len(st.leases) > 1 {
		w.t.Fatalf("%s has the leases %+v: %s", st.id, st.leases, ss.waits)
	}
}

// gone reports whether any node saw a service being deleted.
func (w *fleetWorld) gone(id ServiceID) bool {
	for _, n := range w.nodes {
		if _, gone := n.followed.Gone[id]; gone {
			return true
		}
	}
	return false
}
