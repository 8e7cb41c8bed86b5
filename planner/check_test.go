package planner

import (
	"fmt"
	"maps"
	"slices"
)

// checkDoc holds what may never happen between two states of a document,
// given what was seen in between.
func (w *world) checkDoc(v Alone, before, after LeaseDoc) {
	id := after.Service
	s, wanted := w.followed.Services[id]
	if after.Tokens < before.Tokens {
		w.t.Fatalf("%s: tokens fell from %d to %d", id, before.Tokens, after.Tokens)
	}
	if len(after.History) > MaxHistory {
		w.t.Fatalf("%s: %d revisions in the history", id, len(after.History))
	}
	w.checkTokens(v, before, after)
	if !wanted || s.Orphan {
		return
	}
	updating, begun := false, 0
	for _, slot := range Slots(v.Node, w.followed.Fleet, s) {
		had, has := leasesOf(before, slot), leasesOf(after, slot)
		w.checkSlot(v, s, slot, had, has)
		target := func(l Lease) bool { return l.Revision == s.Revision }
		for _, l := range had {
			updating = updating || target(l) && !v.Ready[LeaseKey{id, l.Token}]
		}
		if len(had) > 0 && !slices.ContainsFunc(had, target) && slices.ContainsFunc(has, target) {
			begun++
		}
	}
	if begun > 1 || updating && begun > 0 {
		w.t.Fatalf("%s: %d slots begin an update at once (one under way: %v)\nbefore %+v\nafter  %+v", id, begun, updating, before, after)
	}
}

// checkTokens holds that a token is given once and only upwards, and only for
// a revision that is prepared.
func (w *world) checkTokens(v Alone, before, after LeaseDoc) {
	for _, l := range after.Leases {
		key := LeaseKey{after.Service, l.Token}
		adopted := slices.ContainsFunc(v.Running, func(i Instance) bool {
			return i.Slot == SlotID{after.Service, l.Slot} && i.Token == l.Token && i.Revision == l.Revision && i.State == StateRunning
		})
		if first, ok := w.given[key]; ok {
			if first != l {
				w.t.Fatalf("token %d of %s was given twice: %+v, %+v", l.Token, after.Service, first, l)
			}
			continue
		}
		w.given[key] = l
		if l.Token <= before.Tokens || l.Token > after.Tokens {
			w.t.Fatalf("%s: new token %d, but the counter went from %d to %d", after.Service, l.Token, before.Tokens, after.Tokens)
		}
		if !adopted && !v.Prepared[RevisionKey{after.Service, l.Revision}] {
			w.t.Fatalf("%s: lease %+v of a revision that is not prepared", after.Service, l)
		}
		for _, i := range v.Running {
			if !adopted && i.Slot.Service == after.Service && i.Token >= l.Token {
				w.t.Fatalf("%s: new token %d although an instance carries %d", after.Service, l.Token, i.Token)
			}
		}
	}
}

// checkSlot holds that a slot that is still wanted is never left with less
// than it had, but for a single writer's turn.
func (w *world) checkSlot(v Alone, s Service, slot string, had, has []Lease) {
	ready := func(l Lease) bool { return v.Ready[LeaseKey{s.ID, l.Token}] }
	if len(has) > 2 || len(had) > 0 && len(has) == 0 {
		w.t.Fatalf("%s-%s: leases went from %+v to %+v", s.ID, slot, had, has)
	}
	if !slices.ContainsFunc(had, ready) || slices.ContainsFunc(has, ready) {
		return
	}
	stopFirst := s.Template.SingleWriter()
	for _, l := range had {
		spec, known := v.Specs[l.Revision]
		stopFirst = stopFirst || !known || spec.SingleWriter()
	}
	if !stopFirst || !slices.ContainsFunc(has, func(l Lease) bool { return l.Revision == s.Revision }) {
		w.t.Fatalf("%s-%s: the ready lease went before its successor was ready: %+v to %+v", s.ID, slot, had, has)
	}
}

func leasesOf(d LeaseDoc, slot string) []Lease {
	var all []Lease
	for _, l := range d.Leases {
		if l.Slot == slot {
			all = append(all, l)
		}
	}
	return all
}

// checkPlan holds that nothing a lease covers is stopped, nothing busy or
// unlisted touched, and that the order is total.
func (w *world) checkPlan(p Plan) {
	for n, a := range p.Actions {
		if n > 0 && compareActions(p.Actions[n-1], a) >= 0 {
			w.t.Fatalf("actions out of order: %v, %v", p.Actions[n-1], a)
		}
		if _, busy := w.underWay[a.Instance]; busy || w.unlisted[a.Driver] {
			w.t.Fatalf("%v, but it is busy or its driver does not answer", a)
		}
		if a.Reason == "" || a.Driver == "" {
			w.t.Fatalf("%v has no reason or driver", a)
		}
		i := w.instances[a.Instance]
		if a.Kind != ActionStop || i.State != StateRunning {
			continue
		}
		for _, l := range leasesOf(w.docs[a.Slot.Service], a.Slot.Name) {
			if l.Revision == i.Revision && !w.runsBeside(i) {
				w.t.Fatalf("%v, but lease %+v covers it", a, l)
			}
		}
	}
}

// runsBeside reports whether another instance of the same slot and revision
// runs.
func (w *world) runsBeside(i Instance) bool {
	for id, o := range w.instances {
		if id != i.ID && o.Slot == i.Slot && o.Revision == i.Revision && o.State == StateRunning {
			return true
		}
	}
	return false
}

// checkSingleWriters holds that of a slot with a single writer nothing else
// exists: neither in a driver, whether it answers or not, nor about to.
func (w *world) checkSingleWriters() {
	live := map[SlotID][]string{}
	single := map[SlotID]bool{}
	add := func(id string, slot SlotID, r Revision) {
		live[slot] = append(live[slot], fmt.Sprintf("%s (%s)", id, r.Short()))
		single[slot] = single[slot] || worldSpec(r).SingleWriter()
	}
	for id, i := range w.instances {
		if i.State != StateExited {
			add(id, i.Slot, i.Revision)
		}
	}
	for id, a := range w.underWay {
		i, exists := w.instances[id]
		if (a.Kind == ActionStart || a.Kind == ActionRestart) && (!exists || i.State == StateExited) {
			add(id, a.Slot, a.Lease.Revision)
		}
	}
	for slot, ids := range live {
		if single[slot] && len(ids) > 1 {
			w.t.Fatalf("single-writer slot %s has %v", slot, ids)
		}
	}
}

func worldSpec(r Revision) Template {
	for _, templates := range worldTemplates {
		for _, t := range templates {
			if RevisionOf(t) == r {
				return t
			}
		}
	}
	return Template{}
}

// checkConverged holds that exactly what the repository asks for runs.
func (w *world) checkConverged() {
	want := map[SlotID]Revision{}
	for id, s := range w.repo {
		for _, slot := range Slots(w.node, Fleet{}, s) {
			want[SlotID{id, slot}] = s.Revision
		}
	}
	have := map[SlotID]Revision{}
	for _, i := range w.instances {
		if _, twice := have[i.Slot]; twice || i.State != StateRunning {
			w.t.Fatalf("%s has more than one instance, or one that does not run: %+v", i.Slot, w.instances)
		}
		have[i.Slot] = i.Revision
	}
	if !maps.Equal(want, have) {
		w.t.Fatalf("wanted %v\nhave   %v\ndocs   %+v", want, have, w.docs)
	}
	for id, doc := range w.docs {
		if _, wanted := w.repo[id]; !wanted && len(doc.Leases) > 0 {
			w.t.Fatalf("%s is deleted and leased: %+v", id, doc)
		}
	}
}

// checkUnrelatedCommit holds that a commit that changes no service changes
// nothing.
func (w *world) checkUnrelatedCommit() {
	w.commits++
	w.settle()
	if out := CoordinateAlone(w.followed, w.view()); len(out.Docs)+len(out.Prepare) > 0 {
		w.t.Fatalf("an unrelated commit changes leases: %+v", out)
	}
	if p := w.plan(); len(p.Actions)+len(p.Waits) > 0 {
		w.t.Fatalf("an unrelated commit causes %+v", p)
	}
}
