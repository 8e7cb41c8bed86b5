package fleettest

// The rules of rollouts, in the witness's words:
//
//	R1  what is available is ended on purpose, and what runs is run twice, only
//	    within the budget of its service, whatever the purpose is
//	R2  the last available instance of a service with several slots is never ended
//	    on purpose, unless only one may run
//	R3  a hook is begun once for a revision, and no slot gets the revision before
//	    its preRollout hook succeeded
//	R4  a revision that is blocked gets no new leases
//	R5  every rollout ends
//	R6  the first leases of a service, and its rollouts, wait for what it depends on
//	R7  a good release without faults is never blocked; to revert one that is
//	    blocked restarts nothing
//	R8  no more slots get a revision than its steps allow

import (
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// paces holds one decision to the pace that the service's update asks for, by
// what its maker knew: the budget, blocked revisions, hooks and dependencies.
func (wit *witness) paces(p *process, s planner.Service, old planner.DocView, now planner.LeaseDoc) {
	wit.budget(p, s, old.Doc, now)
	wit.steps(p, s, old.Doc, now)
	for _, l := range now.Leases {
		if slices.ContainsFunc(old.Doc.Leases, func(o planner.Lease) bool { return o.Token == l.Token }) {
			continue
		}
		switch {
		case l.Hook != "":
			wit.hooks.leased(wit, p, s, l, old.Doc, now)
		case isKept(p.m.disk.followed, s.ID):
		default:
			wit.mayHave(p, s, l, old.Doc, now)
		}
	}
}

// isKept reports whether a commit does not speak for a service: it stays as it
// was, and is no business of its manifest.
func isKept(f planner.Followed, id planner.ServiceID) bool {
	return slices.ContainsFunc(f.Held, func(h planner.Held) bool { return h.Service == id })
}

// mayHave: no slot gets a revision that is blocked, that its hook was not run
// for, or that has to wait for another service.
func (wit *witness) mayHave(p *process, s planner.Service, l planner.Lease, old, now planner.LeaseDoc) {
	w, v := wit.w, p.member.View()
	had := slices.ContainsFunc(old.Leases, func(o planner.Lease) bool { return o.Slot == l.Slot && o.Revision == l.Revision })
	found := len(old.History) == 0 && runs(v, l.Revision, func(slot planner.SlotID) bool { return slot == planner.SlotID{Service: s.ID, Name: l.Slot} })
	_, known := v.Specs[now.LastGood]
	if slices.Contains(now.Blocked, l.Revision) && (!had && !found || known && !s.Update.NoRevert) {
		w.fail("R4: %s leased %s-%s at %s, which is blocked: %s", p.m.called, s.ID, l.Slot, l.Revision.Short(), now.BlockedWhy)
	}
	if l.Revision != s.Revision || knows(old, l.Revision) || runs(v, l.Revision, func(slot planner.SlotID) bool { return slot.Service == s.ID }) {
		return
	}
	if _, has := s.Hooks[planner.HookPreRollout]; has {
		if run, ran := hookRun(now, planner.HookPreRollout, l.Revision); !ran || run.Failed != "" {
			w.fail("R3: %s leased %s-%s at %s before its preRollout hook succeeded: %+v", p.m.called, s.ID, l.Slot, l.Revision.Short(), run)
		}
	}
	if on := wit.unmet(p, s); on != "" {
		w.fail("R6: %s leased %s-%s at %s although %s", p.m.called, s.ID, l.Slot, l.Revision.Short(), on)
	}
}

// knows reports whether a revision was given before, as far as a document
// tells.
func knows(doc planner.LeaseDoc, rev planner.Revision) bool {
	return slices.ContainsFunc(doc.History, func(a planner.Applied) bool { return a.Revision == rev }) ||
		slices.ContainsFunc(doc.Leases, func(l planner.Lease) bool { return l.Revision == rev })
}

// runs reports whether some node says that the revision runs there in one of some
// slots, although the document was lost that gave it.
func runs(v planner.View, rev planner.Revision, in func(planner.SlotID) bool) bool {
	for _, n := range v.Nodes {
		if n.Current() && slices.ContainsFunc(n.Status.Instances, func(i planner.InstanceStatus) bool {
			return i.Revision == rev && i.Phase == planner.PhaseReady && in(i.Slot)
		}) {
			return true
		}
	}
	return false
}

func hookRun(doc planner.LeaseDoc, kind planner.HookKind, rev planner.Revision) (planner.HookRun, bool) {
	k := slices.IndexFunc(doc.Hooks, func(h planner.HookRun) bool { return h.Kind == kind && h.Revision == rev })
	if k < 0 {
		return planner.HookRun{}, false
	}
	return doc.Hooks[k], true
}

// unmet says which dependency of a service is not fulfilled by what a process
// knows; "" = all are.
func (wit *witness) unmet(p *process, s planner.Service) string {
	f, v := p.m.disk.followed, p.member.View()
	for _, d := range s.DependsOn {
		on, followed := f.Services[d.Service]
		if !followed {
			continue
		}
		doc := v.Docs[d.Service].Doc
		want := on.Revision
		failing := func(l planner.Lease) bool {
			i, _ := v.Nodes[l.Node].Instance(planner.SlotID{Service: d.Service, Name: l.Slot}, l.Token)
			return i.Failing || i.Lapsed
		}
		if slices.Contains(doc.Blocked, want) || slices.ContainsFunc(doc.Leases, failing) {
			continue // another revision is wanted of it by now, or will be at once: that is for the planner to say
		}
		if isKept(f, d.Service) || on.Suspended(p.now()) {
			want = "" // what it has
		}
		met, slots := 0, slotsOf(on, f, v, doc)
		for _, slot := range slots {
			if wit.fulfils(v, on, doc, slot, want, d.Condition) {
				met++
			}
		}
		_, unavailable := on.Update.Limits(len(slots))
		if met < max(1, len(slots)-max(1, unavailable)) { // a slot under way may count or not
			return d.Service.String() + " has " + itoa(met) + " of " + itoa(len(slots)) + " slots"
		}
	}
	return ""
}

// fulfils reports whether a slot is as a dependency on it asks, at a revision or,
// with "", at any.
func (wit *witness) fulfils(v planner.View, s planner.Service, doc planner.LeaseDoc, slot string, rev planner.Revision, c planner.DependencyCondition) bool {
	return slices.ContainsFunc(doc.Leases, func(l planner.Lease) bool {
		if l.Slot != slot || rev != "" && l.Revision != rev || !v.InForce(l) {
			return false
		}
		if c == planner.DependsReady {
			return isAvailable(v, s, l)
		}
		i, ok := v.Nodes[l.Node].Instance(planner.SlotID{Service: s.ID, Name: slot}, l.Token)
		return ok && i.Phase != planner.PhasePending && i.Phase != planner.PhasePulling && i.Phase != planner.PhaseFailed
	})
}

// slotsOf lists the slots that a service is to have, of those of one that runs
// on every node that have a lease and a node.
func slotsOf(s planner.Service, f planner.Followed, v planner.View, docs ...planner.LeaseDoc) []string {
	names := map[string]bool{}
	if !s.EveryNode {
		for k := range s.Replicas {
			names[itoa(k)] = true
		}
	} else {
		for _, doc := range docs {
			for _, l := range doc.Leases {
				if l.Hook == "" && hasSlot(s, l.Slot, f, v) {
					names[l.Slot] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// steps: until a step is done, and a person has approved it if one is asked to, no
// more slots have the revision than it says.
func (wit *witness) steps(p *process, s planner.Service, old, now planner.LeaseDoc) {
	steps := s.Update.Steps
	if len(steps) == 0 || now.LastGood == "" || now.LastGood == s.Revision || len(now.Blocked) > 0 || isKept(p.m.disk.followed, s.ID) {
		return
	}
	done := 0
	if len(now.History) > 0 && now.History[0].Revision == s.Revision {
		done = min(now.Step, len(steps))
	}
	slots := len(slotsOf(s, p.m.disk.followed, p.member.View(), old, now))
	most := slots
	if done < len(steps) {
		most = steps[done].Slots.Of(slots, true)
	}
	if done > 0 && steps[done-1].Approve && s.Update.Promoted != string(s.Revision) {
		most = steps[done-1].Slots.Of(slots, true)
	}
	begins := false
	for _, l := range now.Leases {
		begins = begins || l.Revision == s.Revision && !slices.ContainsFunc(old.Leases, func(o planner.Lease) bool {
			return o.Slot == l.Slot && o.Revision == l.Revision
		})
	}
	if after := slotsAt(p, s, now, s.Revision); begins && after > max(1, most) { // what is lost comes back beside
		wit.w.fail("R8: %s has %d slots of %s at %s, step %d allows %d: %+v becomes %+v",
			p.m.called, after, s.ID, s.Revision.Short(), done, most, old.Leases, now.Leases)
	}
}

// slotsAt counts the slots of a service that have a lease in force at a revision:
// those that were lost give way to others.
func slotsAt(p *process, s planner.Service, doc planner.LeaseDoc, rev planner.Revision) int {
	v, slots := p.member.View(), map[string]bool{}
	for _, l := range doc.Leases {
		if l.Revision == rev && v.InForce(l) && hasSlot(s, l.Slot, p.m.disk.followed, v) {
			slots[l.Slot] = true
		}
	}
	return len(slots)
}

// limits are those of a service's update. The slots of nodes that are gone count
// for the percentages of a service that runs on every node.
func limits(s planner.Service, slots []string, docs ...planner.LeaseDoc) (surge, unavailable int) {
	names := map[string]bool{}
	for _, slot := range slots {
		names[slot] = true
	}
	for _, doc := range docs {
		for _, l := range doc.Leases {
			if s.EveryNode && l.Hook == "" {
				names[l.Slot] = true
			}
		}
	}
	return s.Update.Limits(len(names))
}

// budget: what runs is ended on purpose, and run twice, only within the limits
// of the service's update, whatever the purpose is.
func (wit *witness) budget(p *process, s planner.Service, old, now planner.LeaseDoc) {
	w, v := wit.w, p.member.View()
	slots := slotsOf(s, p.m.disk.followed, v, old, now)
	surge, unavailable := limits(s, slots, old, now)
	var ended, single []string
	without, doubled, doubles := 0, 0, 0
	for _, slot := range slots {
		had, has := available(v, s, old, slot), available(v, s, now, slot)
		if len(has) == 0 && (leased(old, slot) || leased(now, slot)) { // a slot too many for the fleet is no loss
			without++
		}
		if len(had) > 0 && len(has) == 0 {
			ended = append(ended, slot)
			if s.Template.SingleWriter() || slices.ContainsFunc(had, func(l planner.Lease) bool { return wit.writesAlone(v, l) }) {
				single = append(single, slot)
			}
		}
		if twice(wit, v, old, slot) {
			doubled++
		}
		if twice(wit, v, now, slot) {
			doubles++
		}
	}
	if len(single) > 0 {
		unavailable = max(unavailable, 1)
	}
	switch {
	case len(ended) > 0 && without > unavailable:
		w.fail("R1: %s ends %v of %s: %d of %d slots are without an available instance then, %d may be: %+v becomes %+v",
			p.m.called, ended, s.ID, without, len(slots), unavailable, old.Leases, now.Leases)
	case len(ended) > len(single) && without == len(slots) && len(slots) > 1:
		w.fail("R2: %s ends %v of %s, and with it the last available instance: %+v becomes %+v", p.m.called, ended, s.ID, old.Leases, now.Leases)
	case doubles > doubled && doubles > surge:
		w.fail("R1: %s has %d slots of %s run twice, %d may: %+v becomes %+v", p.m.called, doubles, s.ID, surge, old.Leases, now.Leases)
	}
}

func leased(doc planner.LeaseDoc, slot string) bool {
	return slices.ContainsFunc(doc.Leases, func(l planner.Lease) bool { return l.Slot == slot })
}

// available lists the leases of a slot in a document whose instance is
// available, as a view has it.
func available(v planner.View, s planner.Service, doc planner.LeaseDoc, slot string) []planner.Lease {
	var out []planner.Lease
	for _, l := range doc.Leases {
		if l.Slot == slot && l.Hook == "" && v.InForce(l) && isAvailable(v, s, l) {
			out = append(out, l)
		}
	}
	return out
}

// isAvailable reports whether the instance of a lease is ready, and for as long as
// its service asks for.
func isAvailable(v planner.View, s planner.Service, l planner.Lease) bool {
	i, ok := v.Nodes[l.Node].Instance(planner.SlotID{Service: s.ID, Name: l.Slot}, l.Token)
	return ok && i.Phase == planner.PhaseReady && (s.MinReady == 0 || i.Available)
}

// twice reports whether a slot has two leases under which instances may run at
// once.
func twice(wit *witness, v planner.View, doc planner.LeaseDoc, slot string) bool {
	n := 0
	for _, l := range doc.Leases {
		if l.Slot == slot && l.Hook == "" && v.InForce(l) && !l.StopFirst && !wit.writesAlone(v, l) {
			n++
		}
	}
	return n > 1
}

// writesAlone reports whether a lease is for what may not run twice, or for what
// is unknown.
func (wit *witness) writesAlone(v planner.View, l planner.Lease) bool {
	t, known := v.Specs[l.Revision]
	return !known || t.SingleWriter()
}
