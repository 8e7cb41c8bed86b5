package planner

import (
	"slices"
	"time"

	"pgregory.net/rapid"
)

// strategy draws how a service is rolled out.
func (w *fleetWorld) strategy(s *Service) {
	few := rapid.IntRange(0, 3)
	if u := &s.Update; rapid.Bool().Draw(w.t, "strategy") {
		u.StopFirst = rapid.Bool().Draw(w.t, "stop first")
		u.MaxSurge, u.MaxUnavailable = amount(few.Draw(w.t, "surge")), amount(few.Draw(w.t, "unavailable"))
		u.NoRevert = rapid.Bool().Draw(w.t, "no revert")
		for k := range few.Draw(w.t, "steps") {
			u.Steps = append(u.Steps, UpdateStep{Slots: Amount{Count: k + 1}, Pause: time.Duration(few.Draw(w.t, "pause")) * time.Second, Approve: rapid.Bool().Draw(w.t, "approve")})
		}
	}
	if s.ID.Name == "web" && rapid.Bool().Draw(w.t, "depends") {
		s.DependsOn = []Dependency{{Service: fleetServices[1]}}
	}
	if s.ID.Name == "web" && rapid.Bool().Draw(w.t, "hooks") {
		s.Hooks = map[HookKind]Hook{}
		for _, kind := range HookKinds {
			t := plain(rapid.SampledFrom([]string{"a", "a", "unready"}).Draw(w.t, "hook"))
			t.Once, t.Of, t.Hostname = true, s.Revision, string(kind)
			s.Hooks[kind] = Hook{Template: t, Revision: RevisionOf(t)}
		}
	}
}

// sameStep reports whether pauses go on from one document to the next.
func sameStep(a, b LeaseDoc) bool {
	top := func(d LeaseDoc) (rev Revision) {
		if len(d.History) > 0 {
			rev = d.History[0].Revision
		}
		return rev
	}
	return top(a) == top(b) && a.Step == b.Step && slices.Equal(a.Blocked, b.Blocked)
}

// beginsHook holds that a hook begins once under each of its leases.
func (w *fleetWorld) beginsHook(n *fleetNode, a Action) {
	if a.Lease.Hook == "" {
		return
	}
	key := LeaseKey{a.Slot.Service, a.Lease.Token}
	for _, name := range w.names() {
		if w.nodes[name].begun[key] {
			w.t.Fatalf("%s begins again what ran on %s: %v", n.record.Node, name, a)
		}
	}
	n.begun[key] = true
}

// tellHook is what a node tells of a hook: an unready one fails.
func (w *fleetWorld) tellHook(n *fleetNode, l Lease, i *InstanceStatus) {
	if l.Hook == "" {
		return
	}
	i.Phase, i.Prepared, i.Failing = PhasePending, false, false
	if n.begun[LeaseKey{i.Slot.Service, l.Token}] {
		i.Phase = PhaseSucceeded
		if w.images[l.Revision].Images()[0] == "unready" {
			i.Phase, i.Reason = PhaseFailed, "exited with code 1"
		}
	}
}

// checkBudget: what is available is ended on purpose, and what runs is run
// twice, only within the budget of the service as the writer knew it; and a
// revision that is blocked is given to no slot.
func (w *fleetWorld) checkBudget(v View, f Followed, d Decision) {
	s, wanted := f.Services[d.Doc.Service]
	if !wanted {
		return
	}
	sv := newSurvey(f, v, Time{Boot: w.now})
	sv.place()
	ss := sv.byID[s.ID]
	var ended, without, doubled, doubles int
	single := ss.s.Template.SingleWriter()
	for _, st := range ss.slots {
		had, has := w.available(v, s, d.Old, st.id), w.available(v, s, d.Doc, st.id)
		switch {
		case has > 0:
		case had > 0:
			ended++
			without++
			single = single || slices.ContainsFunc(st.leases, func(l Lease) bool { return w.images[l.Revision].SingleWriter() })
		case !sv.absent(ss, st):
			without++
		}
		doubled += w.doubled(v, d.Old, st.id)
		doubles += w.doubled(v, d.Doc, st.id)
	}
	surge, unavailable := s.Update.Limits(len(ss.slots))
	if single {
		unavailable = max(1, unavailable)
	}
	switch {
	case ended > 0 && without > unavailable:
		w.t.Fatalf("%s: %d of %d slots would be unavailable, %d may be: %s", s.ID, without, len(ss.slots), unavailable, show([]Decision{d}))
	case ended > 0 && !single && without == len(ss.slots) && len(ss.slots) > 1:
		w.t.Fatalf("%s loses its last available instance: %s", s.ID, show([]Decision{d}))
	case doubles > doubled && doubles > surge:
		w.t.Fatalf("%s: %d slots would run twice, %d may: %s", s.ID, doubles, surge, show([]Decision{d}))
	}
	if ended == 0 && !single {
		w.checkExtra(v, ss, d)
	}
	for _, l := range d.Doc.Leases {
		stays := ss.kept || slices.ContainsFunc(d.Old.Leases, func(o Lease) bool { return o.Slot == l.Slot && o.Revision == l.Revision })
		if l.Token > d.Old.Tokens && d.Doc.IsBlocked(l.Revision) && !stays {
			w.t.Fatalf("%s gets what is blocked: %s", s.ID, show([]Decision{d}))
		}
	}
}

// checkExtra: of slots that a service does not have any more the available
// instances go only once one that it has is available.
func (w *fleetWorld) checkExtra(v View, ss *serviceState, d Decision) {
	runs := func(l Lease) bool { return v.InForce(l) && v.Available(ss.s, l) }
	comes := func(l Lease) bool {
		return v.InForce(l) && slices.Contains(ss.names, l.Slot) && !w.images[l.Revision].SingleWriter()
	}
	ends := func(l Lease) bool {
		stays := slices.ContainsFunc(d.Doc.Leases, func(o Lease) bool { return o.Token == l.Token })
		return runs(l) && !stays && !slices.Contains(ss.names, l.Slot) && !w.images[l.Revision].SingleWriter()
	}
	if slices.ContainsFunc(d.Old.Leases, ends) && slices.ContainsFunc(d.Old.Leases, comes) && !slices.ContainsFunc(d.Doc.Leases, runs) {
		w.t.Fatalf("%s loses its last available instance with a slot that it does not have any more: %s", ss.id, show([]Decision{d}))
	}
}

// available counts the leases of a slot whose instance is available.
func (w *fleetWorld) available(v View, s Service, doc LeaseDoc, slot SlotID) (n int) {
	for _, l := range doc.Leases {
		if l.Slot == slot.Name && v.InForce(l) && v.Available(&s, l) {
			n++
		}
	}
	return n
}

// doubled is 1 if two instances of a slot may run at once.
func (w *fleetWorld) doubled(v View, doc LeaseDoc, slot SlotID) int {
	n := 0
	for _, l := range doc.Leases {
		if l.Slot == slot.Name && v.InForce(l) && !l.StopFirst && !w.images[l.Revision].SingleWriter() {
			n++
		}
	}
	return min(1, n/2)
}
