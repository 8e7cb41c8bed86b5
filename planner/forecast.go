package planner

import (
	"maps"
	"slices"
	"time"
)

// Forecast is what a fleet will do about a commit if nothing else happens: every
// image can be pulled, whatever is started becomes available, every hook
// succeeds, no node is lost. It is told by the planner of who asks: agents of
// another version may decide otherwise.
type Forecast struct {
	// Decisions are the documents as they will be written, in order.
	Decisions []Foreseen
	// View is the fleet at the end.
	View View
	// Unplaced lists the slots that no node takes at the end, ordered; Waiting
	// says what services wait for then.
	Unplaced []Unplaced
	Waiting  map[ServiceID]string
	// Cut is set where the forecast ends before the fleet comes to rest: after
	// maxForeseen looks.
	Cut bool
}

// Foreseen is one decision of a forecast.
type Foreseen struct {
	Decision
	// Turn counts from 1: decisions of one turn are taken at once, and what they
	// begin is available before the next.
	Turn int
	// Approved is set where a person has to let the rollout go on before:
	// Update.Promoted.
	Approved bool
	// Paused is for how long steps of this or other services rest before, after
	// all was available.
	Paused time.Duration
}

// maxForeseen bounds how often a forecast asks for what is next.
const maxForeseen = 20_000

// Foresee forecasts what the fleet of a view does from now on about what is
// followed. Of the view it takes Nodes, Docs and Fleet, whose documents must have been
// decided on the commit that is followed or one before it. What instances are
// reported to be they stay.
func Foresee(f Followed, v View) Forecast {
	w := newForesight(f, v)
	var out Forecast
	turn := 0
	for range maxForeseen {
		d := coordinateAll(w.f, w.v, w.now)
		out.Unplaced, out.Waiting = d.Unplaced, d.Waiting
		if len(d.Docs) > 0 {
			turn++
			for _, decision := range d.Docs {
				id := decision.Doc.Service
				out.Decisions = append(out.Decisions, Foreseen{Decision: decision, Turn: turn, Approved: w.approved[id], Paused: w.paused})
				delete(w.approved, id)
			}
			w.paused = 0
			w.land(d.Docs)
			w.fare()
			continue
		}
		if !w.resolve(d.Resolve) && !w.fare() && !w.wait(d.Next) && !w.approve() {
			out.View = w.v
			return out
		}
	}
	out.View, out.Cut = w.v, true
	return out
}

// foresight is a fleet on imagined time.
type foresight struct {
	f   Followed
	v   View
	now Time
	// approved are the services that a person was imagined to let go on, since
	// their last decision.
	approved map[ServiceID]bool
	paused   time.Duration
}

// foreseenFrom is the boot time at which a forecast begins: long after whatever
// was observed, so that nothing is waited for that was there before.
const foreseenFrom = 1000 * time.Hour

func newForesight(f Followed, v View) *foresight {
	w := &foresight{f: f, v: v, now: Time{Boot: foreseenFrom}, approved: map[ServiceID]bool{}}
	w.f.Services = maps.Clone(f.Services)
	w.v = View{
		Nodes: maps.Clone(v.Nodes), Docs: maps.Clone(v.Docs), Fleet: v.Fleet, Specs: maps.Clone(v.Specs),
		Relations: map[string]Relation{}, Resolved: map[RevisionKey]map[string]string{}, Seen: v.Seen,
		Settled: 1, // long ago
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
	return w
}

// land puts documents in the records.
func (w *foresight) land(docs []Decision) {
	for _, d := range docs {
		id := d.Doc.Service
		if d.Delete {
			delete(w.v.Docs, id)
			w.v.Fleet.Tokens = max(w.v.Fleet.Tokens, d.Doc.Tokens)
			continue
		}
		was, dv := w.v.Docs[id], DocView{Doc: d.Doc, Since: w.now.Boot, StepSince: w.now.Boot}
		if was.Doc.Step == d.Doc.Step && slices.Equal(was.Doc.Blocked, d.Doc.Blocked) && len(was.Doc.History) > 0 && len(d.Doc.History) > 0 && was.Doc.History[0] == d.Doc.History[0] {
			dv.StepSince = was.StepSince
		}
		w.v.Docs[id] = dv
	}
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
	news := false
	told := map[NodeName][]InstanceStatus{}
	for _, id := range w.v.documents() {
		doc := w.v.Docs[id].Doc
		for _, l := range doc.Leases {
			if !w.v.InForce(l) {
				continue
			}
			slot := SlotID{id, l.Slot}
			was, known := w.v.Nodes[l.Node].Instance(slot, l.Token)
			now := was
			switch {
			case l.Hook != "":
				now = InstanceStatus{Slot: slot, Token: l.Token, Revision: l.Revision, Phase: PhaseSucceeded}
			case known && !was.Prepared: // as it was told
			case w.waits(doc, l):
				now = InstanceStatus{Slot: slot, Token: l.Token, Revision: l.Revision, Phase: PhasePending, Prepared: true}
			default:
				now = InstanceStatus{Slot: slot, Token: l.Token, Revision: l.Revision, Phase: PhaseReady, Available: true}
			}
			news = news || !known || now.Phase != was.Phase
			told[l.Node] = append(told[l.Node], now)
		}
	}
	for name, n := range w.v.Nodes {
		n.Status.Instances = told[name]
		w.v.Nodes[name] = n
	}
	return news
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
