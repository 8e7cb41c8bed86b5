package planner

import (
	"maps"
	"slices"
	"time"
)

// foresight is a fleet on imagined time.
type foresight struct {
	f   Followed
	v   View
	now Time
	// approved are the services that a person was imagined to let go on, since
	// their last decision.
	approved map[ServiceID]bool
	paused   time.Duration
	// still are the services that have come to rest: see survey.still. whole has
	// all looked at each time, which comes to the same and takes longer.
	still map[ServiceID]stillness
	whole bool
	// moving are the documents of all others, in order; nil = to be found out anew.
	moving []ServiceID
	// steady are the instances of services that are still, by node.
	steady map[NodeName][]InstanceStatus
	load   *loads
	// away is what slots asked for on nodes that were too full for them.
	away turnedAway
}

// stillness is a service that has come to rest.
type stillness struct {
	state *serviceState // nil = it is not followed
	waits string
}

// foreseenFrom is the boot time at which a forecast begins: long after whatever
// was observed, so that nothing is waited for that was there before.
const foreseenFrom = 1000 * time.Hour

func newForesight(f Followed, v View) *foresight {
	w := &foresight{
		f: f, v: v, now: Time{Boot: foreseenFrom}, approved: map[ServiceID]bool{},
		still: map[ServiceID]stillness{}, steady: map[NodeName][]InstanceStatus{}, load: newLoads(),
	}
	w.f.Services = maps.Clone(f.Services)
	w.v = View{
		Nodes: maps.Clone(v.Nodes), Docs: maps.Clone(v.Docs), Fleet: v.Fleet, Specs: maps.Clone(v.Specs),
		Relations: map[string]Relation{}, Resolved: map[RevisionKey]map[string]string{}, Seen: v.Seen,
		Settled: 1, // long ago
	}
	if w.v.Docs == nil {
		w.v.Docs = map[ServiceID]DocView{}
	}
	if w.v.Specs == nil {
		w.v.Specs = map[Revision]Template{}
	}
	for id, dv := range w.v.Docs {
		w.v.Relations[dv.Doc.Commit] = RelationAncestor
		dv.Since, dv.StepSince, dv.Broken = 0, foreseenFrom, ""
		w.v.Docs[id] = dv
	}
	w.v.Relations[f.Commit.Hash] = RelationSame
	for _, s := range f.Services {
		w.v.Specs[s.Revision] = s.Template
		for _, h := range s.Hooks {
			w.v.Specs[h.Revision] = h.Template
		}
	}
	for name, n := range w.v.Nodes {
		n.Blind = false
		if n.Live() && !n.Current() { // its agent has just started, and tells soon
			n.Status.Incarnation, n.Status.Instances = n.Record.Incarnation, nil
		}
		n.Status.Instances = slices.Clone(n.Status.Instances)
		n.Status.Images = nil
		w.v.Nodes[name] = n
	}
	w.fare()
	w.load.begins()
	return w
}

// decide is what all coordinators decide now. Services that come to rest are left
// out from then on.
func (w *foresight) decide() Decisions {
	c := &coordination{f: w.f, v: w.v, now: w.now, all: true, still: w.still, away: &w.away, out: Decisions{Waiting: map[ServiceID]string{}}}
	out := c.decisions()
	if !w.whole {
		w.settle(c)
	}
	return out
}

// settle notes which services have come to rest by what was just decided.
func (w *foresight) settle(c *coordination) {
	busy := map[ServiceID]bool{}
	for _, d := range c.out.Docs {
		busy[d.Doc.Service] = true
	}
	for _, key := range c.out.Resolve {
		busy[key.Service] = true
	}
	for _, id := range c.ids() {
		ss := c.sv.byID[id]
		if busy[id] || ss != nil && !ss.still() {
			continue
		}
		w.still[id] = stillness{ss, c.out.Waiting[id]}
		for _, l := range w.v.Docs[id].Doc.Leases {
			if i, told := w.v.Nodes[l.Node].Instance(SlotID{id, l.Slot}, l.Token); told {
				w.steady[l.Node] = append(w.steady[l.Node], i)
			}
		}
		w.load.keep(w, id)
		w.moving = nil
	}
}

// still reports whether nothing of a service can change any more unless its own
// document does: each slot is available under the one lease that it has, and
// neither a hook nor a step is awaited. What other services do is nothing to it.
func (ss *serviceState) still() bool {
	for _, st := range ss.slots {
		if st.kind != slotKeeps || st.cur == nil || !st.available || len(st.leases) != 1 {
			return false
		}
	}
	if len(ss.extra) > 0 || ss.hook != nil || len(hookLeases(ss.doc.Leases)) > 0 {
		return false
	}
	r := ss.roll
	return r == nil || !r.rolling && !r.changed && r.hook == nil && r.starts == "" && ss.pins != pinsAsked && ss.stepping.next == Never
}

// land puts documents in the records.
func (w *foresight) land(docs []Decision) {
	for _, d := range docs {
		id := d.Doc.Service
		was, dv := w.v.Docs[id], DocView{Doc: d.Doc, Since: w.now.Boot, StepSince: w.now.Boot}
		if was.Doc.Step == d.Doc.Step && slices.Equal(was.Doc.Blocked, d.Doc.Blocked) && len(was.Doc.History) > 0 && len(d.Doc.History) > 0 && was.Doc.History[0] == d.Doc.History[0] {
			dv.StepSince = was.StepSince
		}
		if dv.Earlier = was.Earlier; was.Doc.Commit != d.Doc.Commit {
			dv.Earlier = &was.Doc
		}
		w.v.Docs[id] = dv
	}
	w.moving = nil
}

// resolve finds the digests that are asked for. It reports whether any was.
func (w *foresight) resolve(keys []RevisionKey) bool {
	found := false
	for _, key := range keys {
		if _, known := w.v.Resolved[key]; known {
			continue
		}
		digests := map[string]string{}
		for _, ref := range w.f.Services[key.Service].Template.Images() {
			digests[ref] = foreseenDigest
		}
		w.v.Resolved[key], found = digests, true
	}
	return found
}

// foreseenDigest stands for those that a registry would tell.
const foreseenDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// fare has nodes do what leases ask of them, and tell. It reports whether they
// tell anything new.
func (w *foresight) fare() bool {
	if w.moving == nil {
		w.moving = slices.DeleteFunc(w.v.documents(), func(id ServiceID) bool { _, is := w.still[id]; return is })
	}
	news := false
	told := map[NodeName][]InstanceStatus{}
	w.load.looks()
	for _, id := range w.moving {
		doc := w.v.Docs[id].Doc
		for _, l := range doc.Leases {
			if !w.v.InForce(l) {
				continue
			}
			was, known := w.v.Nodes[l.Node].Instance(SlotID{id, l.Slot}, l.Token)
			now := w.next(doc, l, was, known)
			news = news || !known || now.Phase != was.Phase || now.Available != was.Available
			told[l.Node] = append(told[l.Node], now)
			if now.Phase != PhasePending {
				w.load.add(w, id, l)
			}
		}
	}
	w.load.looked()
	for name, n := range w.v.Nodes {
		n.Status.Instances = slices.Concat(told[name], w.steady[name])
		w.v.Nodes[name] = n
	}
	return news
}

// next is what a node tells of a lease in force next, given what it told last: what
// begins is available, what fails goes on failing, and what is only observed stays
// as it is.
func (w *foresight) next(doc LeaseDoc, l Lease, was InstanceStatus, known bool) InstanceStatus {
	now := InstanceStatus{Slot: SlotID{doc.Service, l.Slot}, Token: l.Token, Revision: l.Revision, Phase: PhaseReady, Available: true}
	fails := was.Failing || was.Lapsed || was.Phase == PhaseFailed || was.Phase == PhaseUnhealthy
	switch {
	case known && fails:
		return was
	case w.f.Services[doc.Service].Observe && known:
		return was
	case w.f.Services[doc.Service].Observe:
		now.Phase, now.Available = PhasePending, false
	case l.Hook != "":
		now.Phase, now.Available = PhaseSucceeded, false
	case known && was.Phase == PhaseReady: // also one that was seen to be steady
		now = was
		now.Available = true
	case w.waits(doc, l):
		now.Phase, now.Available, now.Prepared = PhasePending, false, true
	}
	return now
}

// waits reports whether the instance of a lease waits for the end of another.
func (w *foresight) waits(doc LeaseDoc, l Lease) bool {
	t, known := w.v.Specs[l.Revision]
	return slices.ContainsFunc(doc.Leases, func(o Lease) bool {
		return o.Slot == l.Slot && o.Token < l.Token && w.v.InForce(o) && (l.StopFirst || !known || stopFirst(w.v.Specs, o, t))
	})
}

// wait lets time pass until something is due. It reports whether there is.
func (w *foresight) wait(next time.Duration) bool {
	if next == Never || next <= w.now.Boot {
		return false
	}
	w.paused += next - w.now.Boot
	w.now.Boot = next
	return true
}

// approve imagines a person who lets all rollouts go on that wait for one. It
// reports whether any does.
func (w *foresight) approve() bool {
	found := false
	for id, s := range w.f.Services {
		dv, known := w.v.Docs[id]
		if !known || s.Update.Promoted == string(s.Revision) || RolloutOf(s, dv.Doc, w.v).State != RolloutWaiting {
			continue
		}
		s.Update.Promoted = string(s.Revision)
		w.f.Services[id], w.approved[id], found = s, true, true
	}
	return found
}
