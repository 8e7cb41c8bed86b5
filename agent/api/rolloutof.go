package api

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// RolloutFacts are what a Rollout is made from.
type RolloutFacts struct {
	Service planner.Service // as the manifest has it
	Doc     planner.DocView
	View    planner.View
	// Waiting is why the coordinator decides nothing; Unplaced what it found no
	// node for, of any service.
	Waiting  string
	Unplaced []planner.Unplaced
	// Now is the time of the view's boot clock; the zero value = it has none: it
	// was made from records alone.
	Now planner.Time
	// Commit is the one that is followed; without a hash it is not known.
	Commit planner.Commit
	// Stands is for how long the document has been as it is, and Quiet for how long
	// a node has written nothing new; 0 = not known.
	Stands time.Duration
	Quiet  func(planner.NodeName) time.Duration // nil = of none
	// Own is what this node, View.Self, will tell of a lease it has; nil = who tells
	// does not know.
	Own func(planner.Lease) planner.InstanceStatus
}

// RolloutOf tells how a service stands.
func RolloutOf(f RolloutFacts) *Rollout {
	s, doc := f.Service, f.Doc.Doc
	judged := planner.RolloutOf(s, doc, f.View)
	r := &Rollout{
		Service: s.ID.String(), File: s.File, State: judged.State, Wanted: s.Revision, Commit: doc.BroughtBy(s.Revision),
		LastGood: doc.LastGood, LastGoodCommit: doc.BroughtBy(doc.LastGood), Target: judged.Target,
		Replicas: judged.Slots, Step: judged.Step, Steps: judged.Steps,
	}
	r.addSlots(f)
	r.addHooks(f)
	for _, a := range doc.Failed {
		r.Avoided = append(r.Avoided, Avoided{a.Slot, a.Node, a.Revision})
	}
	r.addRefusals(f)
	if r.State == planner.RolloutDone && (r.Done < r.Replicas || r.Budget.Surge > 0) {
		r.State = RolloutDegraded
		if r.Done == r.Replicas {
			r.State = planner.RolloutRolling // a slot moves
		}
	}
	r.Failure = r.failure(f, judged)
	r.pause(f)
	r.addWaits(f)
	return r
}

// addRefusals lists who does not take what the slots are to have, and what
// nobody takes.
func (r *Rollout) addRefusals(f RolloutFacts) {
	for _, name := range slices.Sorted(maps.Keys(f.View.Nodes)) {
		n := f.View.Nodes[name]
		if no, refuses := n.Refuses(planner.RevisionKey{Service: f.Service.ID, Revision: r.Target}); refuses && n.Live() {
			r.Refusals = append(r.Refusals, Refusing{name, no.Reason})
		}
	}
	for _, u := range f.Unplaced {
		if u.Slot.Service != f.Service.ID {
			continue
		}
		reasons := make([]string, len(u.Reasons))
		for k, why := range u.Reasons {
			reasons[k] = why.String()
		}
		r.Unplaced = append(r.Unplaced, Unplaced{Slot: u.Slot.String(), Reasons: reasons})
	}
}

// failure tells what failed and what became of it; "" = nothing has.
func (r *Rollout) failure(f RolloutFacts, judged planner.Rollout) string {
	doc := f.Doc.Doc
	if !r.Failed() {
		return ""
	}
	if !doc.IsBlocked(r.Wanted) {
		return judged.Reason // it is about to be written
	}
	text := "revision " + named(r.Wanted, r.Commit) + " failed: " + doc.BlockedWhy + "; "
	switch {
	case !doc.Tried(r.Wanted) && r.State == planner.RolloutBlocked:
		return text + "no slot has got it, and what runs stays as it is"
	case r.State == planner.RolloutReverted:
		return text + "reverted to " + named(r.LastGood, r.LastGoodCommit)
	case r.State == planner.RolloutReverting:
		return text + "it goes back to " + named(r.LastGood, r.LastGoodCommit)
	case r.LastGood == "":
		return text + "what runs stays as it is, for no revision was good before"
	case f.Service.Update.NoRevert:
		return text + "what runs stays as it is (autoRevert: false)"
	}
	return text + "it goes back to " + named(r.LastGood, r.LastGoodCommit) + " as soon as that one's manifest was read"
}

func named(rev planner.Revision, commit string) string {
	if commit == "" {
		return rev.Short()
	}
	return rev.Short() + " of commit " + planner.Commit{Hash: commit}.Short()
}

// addSlots describes the slots, and counts them.
func (r *Rollout) addSlots(f RolloutFacts) {
	s, doc := f.Service, f.Doc.Doc
	bySlot := map[string][]planner.Lease{}
	for _, l := range doc.Leases {
		if l.Hook == "" {
			bySlot[l.Slot] = append(bySlot[l.Slot], l)
		}
	}
	names := slices.Collect(maps.Keys(bySlot))
	if !s.EveryNode {
		for k := range min(max(0, s.Replicas), planner.ShardSlots*planner.MaxShards) {
			if name := strconv.Itoa(k); len(bySlot[name]) == 0 {
				names = append(names, name)
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return planner.SlotID{Name: a}.Compare(planner.SlotID{Name: b})
	})
	for _, name := range names {
		r.addSlot(f, name, bySlot[name])
	}
	r.Budget.MaxSurge, r.Budget.MaxUnavailable = s.Update.Limits(r.Replicas)
}

// addSlot describes the leases of one slot.
func (r *Rollout) addSlot(f RolloutFacts, name string, leases []planner.Lease) {
	if len(leases) == 0 {
		r.Slots = append(r.Slots, RolloutSlot{Slot: name})
		r.Budget.Unavailable++
		return
	}
	inForce, available, updated, done := 0, false, false, false
	for _, l := range leases {
		slot := describeLease(f, l)
		r.Slots = append(r.Slots, slot)
		if slot.Void {
			continue
		}
		inForce++
		available = available || slot.Available
		updated = updated || l.Revision == r.Target
		done = done || l.Revision == r.Target && slot.Available
	}
	for _, c := range []struct {
		counter *int
		counts  bool
	}{
		{&r.Available, available}, {&r.Updated, updated}, {&r.Done, done},
		{&r.Budget.Unavailable, !available}, {&r.Budget.Surge, inForce > 1},
	} {
		if c.counts {
			*c.counter++
		}
	}
}

func describeLease(f RolloutFacts, l planner.Lease) RolloutSlot {
	id := planner.SlotID{Service: f.Service.ID, Name: l.Slot}
	out := RolloutSlot{Slot: l.Slot, Node: l.Node, Revision: l.Revision}
	n, known := f.View.Nodes[l.Node]
	i, told := n.Instance(id, l.Token)
	switch {
	case !known:
		out.Void, out.Reason = true, "the node has no record"
		return out
	case !f.View.InForce(l):
		out.Void, out.Reason = true, "the node was lost"
		if l.Ending {
			out.Reason = "its end is asked for"
		} else if n.Live() {
			out.Reason = "the node has begun anew since"
		}
		return out
	case !told && f.Own != nil && l.Node == f.View.Self:
		own := f.Own(l)
		out.Phase, out.Restarts, out.Reason = own.Phase, own.Restarts, here(own)
		return out
	case !told:
		out.Reason, out.Silent = f.untold(l.Node)
		return out
	}
	out.Phase, out.Restarts, out.Reason, out.Failing = i.Phase, i.Restarts, i.Reason, i.Failing
	out.Available = f.View.Available(&f.Service, l)
	if why, silent := f.uncounted(l.Node, out); why != "" {
		out.Reason, out.Silent = why, silent
	}
	return out
}

// addHooks describes the hooks of the wanted revision, and one of another that
// still runs.
func (r *Rollout) addHooks(f RolloutFacts) {
	doc := f.Doc.Doc
	running := map[planner.HookKind]planner.Lease{}
	for _, l := range doc.Leases {
		if l.Hook != "" {
			running[l.Hook] = l
		}
	}
	for _, kind := range planner.HookKinds {
		hook, wanted := f.Service.Hooks[kind]
		l, runs := running[kind]
		out := RolloutHook{Hook: kind.Field(), Revision: r.Wanted, State: HookDue}
		at := slices.IndexFunc(doc.Hooks, func(h planner.HookRun) bool { return h.Kind == kind && h.Revision == r.Wanted })
		switch {
		case runs:
			slot := describeLease(f, l)
			out.State, out.Node, out.Reason = HookRuns, l.Node, slot.Reason
			if l.Revision != hook.Revision { // the hook's own revision names it
				out.Revision = ""
			}
		case at >= 0:
			out.State, out.Node = HookSucceeded, doc.Hooks[at].Node
			if why := doc.Hooks[at].Failed; why != "" {
				out.State, out.Reason = HookFailed, why
			}
		case !wanted, r.Failed(), kind == planner.HookPreRollout && doc.Tried(r.Wanted):
			continue // there is none, or it is not to run any more
		}
		r.Hooks = append(r.Hooks, out)
	}
}

// pause finds out when a pause ends. One that is over is none.
func (r *Rollout) pause(f RolloutFacts) {
	if r.State != planner.RolloutPaused || f.Now == (planner.Time{}) || r.Step < 1 || r.Step > len(f.Service.Update.Steps) {
		return
	}
	left := f.Doc.StepSince + f.Service.Update.Steps[r.Step-1].Pause - f.Now.Boot
	if left <= 0 {
		r.State = planner.RolloutRolling
		return
	}
	r.PauseUntil = f.Now.Wall.Add(left).Round(time.Second)
}

// maxWaits bounds the sentences about what is awaited.
const maxWaits = 6

// addWaits says what is awaited.
func (r *Rollout) addWaits(f RolloutFacts) {
	add := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); len(r.Waits) < maxWaits && !slices.Contains(r.Waits, text) {
			r.Waits = append(r.Waits, text)
		}
	}
	steps := f.Service.Update.Steps
	switch {
	case r.State == planner.RolloutWaiting:
		add("step %d of %d waits for approval", r.Step, r.Steps)
	case r.State == planner.RolloutPaused && r.Step > 0 && r.Step <= len(steps):
		add("pause of %s after step %d of %d", shortTime(steps[r.Step-1].Pause), r.Step, r.Steps)
	}
	for _, h := range r.Hooks {
		if h.State == HookRuns {
			add("the %s hook runs on %s", h.Hook, h.Node)
		}
	}
	if f.Waiting != "" && len(r.Waits) == 0 && !r.Failed() { // else it is said already
		add("%s", f.Waiting)
		for _, d := range f.Service.DependsOn {
			if strings.HasPrefix(f.Waiting, "waits for "+d.Service.String()+":") {
				r.WaitsFor = append(r.WaitsFor, d.Service.String())
			}
		}
	}
	if r.Steady() {
		return
	}
	told := map[string]bool{} // slots, each once
	for _, slot := range r.Slots {
		id := planner.SlotID{Service: f.Service.ID, Name: slot.Slot}.String()
		switch _, stands := r.Stands(slot.Slot); {
		case told[id]:
		case slot.Void && !stands:
			add("%s is to run elsewhere: %s was lost", id, slot.Node)
			told[id] = !slices.ContainsFunc(r.Unplaced, func(u Unplaced) bool { return u.Slot == id })
		case slot.Node != "" && !slot.Void && !slot.Failing && slot.Revision == r.Target && !slot.Available:
			add("%s on %s is not available yet%s", id, slot.Node, because(slot))
			told[id] = true
			// The coordinator waits for the same, and does not say why it takes so long.
			r.Waits = slices.DeleteFunc(r.Waits, func(text string) bool {
				return text == f.Waiting && strings.HasPrefix(text, id+" is not ready yet at ")
			})
		}
	}
	for _, u := range r.Unplaced {
		name, _ := r.Slot(u.Slot)
		node, stands := r.Stands(name)
		switch {
		case told[u.Slot]:
		case stands:
			add("%s stays on %s: no other node takes it: %s", u.Slot, node, strings.Join(u.Reasons, "; "))
		default:
			add("%s has no node: %s", u.Slot, strings.Join(u.Reasons, "; "))
		}
	}
	if r.State == planner.RolloutRolling && r.Updated == 0 && len(r.Waits) == 0 {
		if text := f.awaited(); text != "" {
			add("%s", text)
		}
	}
}

func because(s RolloutSlot) string {
	switch {
	case s.Reason != "":
		return ": " + s.Reason
	case s.Phase != "":
		return ": " + string(s.Phase)
	}
	return ""
}

// shortTime is a duration without the zeros that Go writes: "10m", "1h30m".
func shortTime(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
