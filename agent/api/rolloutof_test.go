package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestRolloutCounts: slots are counted, not leases, and what is void or at
// another revision does not count as done.
func TestRolloutCounts(t *testing.T) {
	id := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "web"}
	const was, next = planner.Revision("r1-aaaaaaaa0"), planner.Revision("r1-bbbbbbbb0")
	lease := func(slot string, node planner.NodeName, epoch, token uint64, rev planner.Revision) planner.Lease {
		return planner.Lease{Slot: slot, Node: node, Epoch: epoch, Token: token, Revision: rev}
	}
	doc := planner.LeaseDoc{
		Service: id, LastGood: was, History: []planner.Applied{{Revision: next, Commit: "c2"}, {Revision: was, Commit: "c1"}},
		Leases: []planner.Lease{
			lease("0", "a", 1, 1, was), lease("0", "b", 1, 5, next), // in transition, both ready
			lease("1", "b", 1, 6, next), // ready, not for long enough
			lease("2", "c", 1, 3, was),  // its node was lost
			{Slot: "prerollout", Hook: planner.HookPreRollout, Node: "a", Epoch: 1, Token: 4, Revision: "r1-h"},
		},
	}
	node := func(name planner.NodeName, epoch uint64, instances ...planner.InstanceStatus) planner.NodeView {
		return planner.NodeView{
			Record: planner.NodeRecord{Node: name, Epoch: epoch, Incarnation: "i"},
			Status: planner.NodeStatus{Node: name, Incarnation: "i", Instances: instances},
		}
	}
	told := func(slot string, token uint64, available bool) planner.InstanceStatus {
		return planner.InstanceStatus{Slot: planner.SlotID{Service: id, Name: slot}, Token: token, Phase: planner.PhaseReady, Available: available}
	}
	r := RolloutOf(RolloutFacts{
		Service: planner.Service{ID: id, Replicas: 4, Revision: next, MinReady: 90 * time.Minute},
		Doc:     planner.DocView{Doc: doc},
		View: planner.View{Nodes: map[planner.NodeName]planner.NodeView{
			"a": node("a", 1, told("0", 1, true)), "b": node("b", 1, told("0", 5, true), told("1", 6, false)), "c": node("c", 2, told("2", 3, true)),
		}},
	})
	if r.State != planner.RolloutRolling || r.Replicas != 4 || r.Updated != 2 || r.Available != 1 || r.Done != 1 {
		t.Errorf("%s, %d of %d updated, %d available, %d done", r.State, r.Updated, r.Replicas, r.Available, r.Done)
	}
	if r.Budget.Surge != 1 || r.Budget.Unavailable != 3 || r.Budget.MaxSurge != 1 || r.Budget.MaxUnavailable != 0 {
		t.Errorf("budget %+v", r.Budget)
	}
	if r.Commit != "c2" || r.LastGoodCommit != "c1" {
		t.Errorf("commits %s, %s", r.Commit, r.LastGoodCommit)
	}
	if len(r.Slots) != 5 || !r.Slots[3].Void || r.Slots[4].Node != "" {
		t.Errorf("slots %+v", r.Slots)
	}
	waits := strings.Join(r.Waits, "\n")
	for _, want := range []string{"web-1 on b is not available yet: counts once it was ready for 1h30m", "web-2 is to run elsewhere: c was lost", "the preRollout hook runs on a"} {
		if !strings.Contains(waits, want) {
			t.Errorf("no %q in\n%s", want, waits)
		}
	}
	if slot, is := r.Slot("web-2"); !is || slot != "2" {
		t.Errorf("web-2 is slot %q, %v", slot, is)
	}
	if _, is := (*Rollout)(nil).Slot("web-2"); is {
		t.Error("no rollout has a slot")
	}
}

// TestRolloutRests: a pause counts on the clock of who tells it; without one it
// is not known when it ends.
func TestRolloutRests(t *testing.T) {
	id := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "web"}
	const was, next = planner.Revision("r1-aaaaaaaa0"), planner.Revision("r1-bbbbbbbb0")
	wall := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	facts := func(step planner.UpdateStep, now planner.Time) RolloutFacts {
		st := planner.NodeStatus{Node: "a", Incarnation: "i", Instances: []planner.InstanceStatus{
			{Slot: planner.SlotID{Service: id, Name: "0"}, Token: 2, Phase: planner.PhaseReady}, {Slot: planner.SlotID{Service: id, Name: "1"}, Token: 1, Phase: planner.PhaseReady},
		}}
		return RolloutFacts{
			Service: planner.Service{ID: id, Replicas: 2, Revision: next, Update: planner.Update{Steps: []planner.UpdateStep{step}}},
			Doc: planner.DocView{StepSince: time.Hour, Doc: planner.LeaseDoc{
				Service: id, LastGood: was, Step: 1, History: []planner.Applied{{Revision: next}},
				Leases: []planner.Lease{{Slot: "0", Node: "a", Epoch: 1, Token: 2, Revision: next}, {Slot: "1", Node: "a", Epoch: 1, Token: 1, Revision: was}},
			}},
			View: planner.View{Nodes: map[planner.NodeName]planner.NodeView{"a": {Record: planner.NodeRecord{Node: "a", Epoch: 1, Incarnation: "i"}, Status: st}}},
			Now:  now,
		}
	}
	pause := planner.UpdateStep{Slots: planner.Amount{Count: 1}, Pause: 10 * time.Minute}
	approve := planner.UpdateStep{Slots: planner.Amount{Count: 1}, Approve: true}
	for _, c := range []struct {
		name  string
		facts RolloutFacts
		state planner.RolloutState
		until time.Time
		waits string
	}{
		{"it has begun", facts(pause, planner.Time{Boot: time.Hour + 4*time.Minute, Wall: wall}), planner.RolloutPaused, wall.Add(6 * time.Minute), "pause of 10m after step 1 of 1"},
		{"it is over", facts(pause, planner.Time{Boot: time.Hour + 11*time.Minute, Wall: wall}), planner.RolloutRolling, time.Time{}, ""},
		{"from records alone", facts(pause, planner.Time{}), planner.RolloutPaused, time.Time{}, "pause of 10m after step 1 of 1"},
		{"a person is asked", facts(approve, planner.Time{Boot: 2 * time.Hour, Wall: wall}), planner.RolloutWaiting, time.Time{}, "step 1 of 1 waits for approval"},
	} {
		r := RolloutOf(c.facts)
		if r.State != c.state || !r.PauseUntil.Equal(c.until) || c.waits != "" && !slices.Contains(r.Waits, c.waits) {
			t.Errorf("%s: %s until %v, waits %q", c.name, r.State, r.PauseUntil, r.Waits)
		}
		if r.Asks() != (c.state == planner.RolloutWaiting) {
			t.Errorf("%s: asks %v", c.name, r.Asks())
		}
	}
}

// TestRolloutSays: who looks is told what became of hooks, what stays, and each
// slot once.
func TestRolloutSays(t *testing.T) {
	id := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "web"}
	const was, next = planner.Revision("r1-aaaaaaaa0"), planner.Revision("r1-bbbbbbbb0")
	facts := func(change func(*RolloutFacts)) RolloutFacts {
		ready := planner.InstanceStatus{Slot: planner.SlotID{Service: id, Name: "0"}, Token: 1, Phase: planner.PhaseReady}
		f := RolloutFacts{
			Service: planner.Service{ID: id, Replicas: 1, Revision: next},
			Doc: planner.DocView{Doc: planner.LeaseDoc{
				Service: id, LastGood: was, History: []planner.Applied{{Revision: was, Commit: "c1"}},
				Leases: []planner.Lease{{Slot: "0", Node: "a", Epoch: 1, Token: 1, Revision: was}},
			}},
			View: planner.View{
				Specs: map[planner.Revision]planner.Template{was: {}},
				Nodes: map[planner.NodeName]planner.NodeView{
					"a": {Record: planner.NodeRecord{Node: "a", Epoch: 1, Incarnation: "i"}, Status: planner.NodeStatus{Node: "a", Incarnation: "i", Instances: []planner.InstanceStatus{ready}}},
					"b": {Record: planner.NodeRecord{Node: "b", Epoch: 1, Incarnation: "i"}, Status: planner.NodeStatus{Node: "b", Incarnation: "i"}},
				},
			},
		}
		change(&f)
		return f
	}
	hooks := map[planner.HookKind]planner.Hook{planner.HookPreRollout: {Revision: "r1-h"}, planner.HookPostRollout: {Revision: "r1-p"}}
	room := []planner.Unplaced{{Slot: planner.SlotID{Service: id, Name: "0"}, Reasons: []planner.NodeReason{{Node: "b", Reason: "is full"}}}}

	// A hook failed before any slot was given the revision: nothing is taken back.
	r := RolloutOf(facts(func(f *RolloutFacts) {
		d := &f.Doc.Doc
		f.Service.Hooks, d.Blocked, d.BlockedWhy, d.BlockedAt = hooks, []planner.Revision{next}, "its preRollout hook failed: exited with code 3", strings.Repeat("c2", 20)
		d.Hooks = []planner.HookRun{{Kind: planner.HookPreRollout, Revision: next, Node: "b", Failed: "exited with code 3"}}
	}))
	if r.State != planner.RolloutBlocked || r.Target != was || r.Done != 1 || r.Commit != strings.Repeat("c2", 20) {
		t.Errorf("%s at %s, %d done, commit %s", r.State, r.Target, r.Done, r.Commit)
	}
	if want := "revision r1-bbbbbbbb of commit c2c2c2c2 failed: its preRollout hook failed: exited with code 3; no slot has got it, and what runs stays as it is"; r.Failure != want {
		t.Errorf("failure %q", r.Failure)
	}
	if len(r.Hooks) != 1 || r.Hooks[0].State != HookFailed || r.Hooks[0].Node != "b" {
		t.Errorf("hooks %+v", r.Hooks)
	}

	// What is waited for has a name.
	r = RolloutOf(facts(func(f *RolloutFacts) {
		db := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "db"}
		f.Service.DependsOn = []planner.Dependency{{Service: db}, {Service: id}}
		f.Waiting = "waits for db: it runs nowhere yet"
	}))
	if !slices.Equal(r.WaitsFor, []string{"db"}) {
		t.Errorf("waits for %q", r.WaitsFor)
	}

	// A slot that has a node stays there; it is no slot without one.
	r = RolloutOf(facts(func(f *RolloutFacts) { f.Unplaced = room }))
	if want := "web-0 stays on a: no other node takes it: b: is full"; !slices.Contains(r.Waits, want) {
		t.Errorf("waits %q", r.Waits)
	}

	// Two leases of one slot that come, and no word yet of either: one line.
	r = RolloutOf(facts(func(f *RolloutFacts) {
		d := &f.Doc.Doc
		d.Leases = []planner.Lease{{Slot: "0", Node: "a", Epoch: 1, Token: 3, Revision: next}, {Slot: "0", Node: "b", Epoch: 1, Token: 4, Revision: next}}
		f.Unplaced = room
	}))
	if len(r.Waits) != 1 {
		t.Errorf("waits %q", r.Waits)
	}
	if want := "0 of 1 slot available at r1-bbbbbbbb; web-0 on a is not available yet: the node has not told of it yet"; r.Summary() != want {
		t.Errorf("summary %q", r.Summary())
	}

	// One who does not answer will not tell soon.
	r = RolloutOf(facts(func(f *RolloutFacts) {
		f.Doc.Doc.Leases = []planner.Lease{{Slot: "0", Node: "b", Epoch: 1, Token: 3, Revision: next}}
		b := f.View.Nodes["b"]
		b.Probe = planner.ProbeDown
		f.View.Nodes["b"] = b
	}))
	if want := "web-0 on b is not available yet: the node has not told of it yet, nor does it answer"; !slices.Contains(r.Waits, want) {
		t.Errorf("waits %q", r.Waits)
	}
	if r.Runs() != next {
		t.Errorf("runs %s", r.Runs())
	}
}

// What the coordinator waits for is said once where the slot's own line says it
// with the reason.
func TestRolloutWaitsOnce(t *testing.T) {
	const next = planner.Revision("r1-bbbbbbbb0")
	id := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "web"}
	facts := RolloutFacts{
		Service: planner.Service{ID: id, Replicas: 1, Revision: next},
		Doc: planner.DocView{Doc: planner.LeaseDoc{
			Service: id, History: []planner.Applied{{Revision: next}},
			Leases: []planner.Lease{{Slot: "0", Node: "a", Epoch: 1, Token: 1, Revision: next}},
		}},
		View: planner.View{Nodes: map[planner.NodeName]planner.NodeView{"a": {
			Record: planner.NodeRecord{Node: "a", Epoch: 1, Incarnation: "i"},
			Status: planner.NodeStatus{Node: "a", Incarnation: "i", Instances: []planner.InstanceStatus{
				{Slot: planner.SlotID{Service: id, Name: "0"}, Token: 1, Phase: planner.PhaseFailed, Reason: "exited with code 3"},
			}},
		}}},
	}
	const own = "web-0 on a is not available yet: exited with code 3"
	for waiting, want := range map[string][]string{
		"web-0 is not ready yet at r1-bbbbbbbb on a": {own},
		"web-1 is not ready yet at r1-bbbbbbbb on a": {"web-1 is not ready yet at r1-bbbbbbbb on a", own},
	} {
		facts.Waiting = waiting
		if got := RolloutOf(facts).Waits; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
