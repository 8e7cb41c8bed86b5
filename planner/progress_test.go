package planner

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestRolloutOf: where a rollout is, as people are told, from the records alone.
func TestRolloutOf(t *testing.T) {
	noRevert := func(s *Service, d *DocView, _ *View) {
		s.Update.NoRevert = true
		d.Doc.Blocked, d.Doc.BlockedWhy = []Revision{s.Revision}, "it failed"
	}
	blocked := func(s *Service, d *DocView, _ *View) {
		d.Doc.Blocked, d.Doc.BlockedWhy = []Revision{s.Revision}, "it failed"
	}
	steps := func(step UpdateStep, done int) func(*Service, *DocView, *View) {
		return func(s *Service, d *DocView, _ *View) { s.Update.Steps, d.Doc.Step = []UpdateStep{step}, done }
	}
	leftNode := func(node NodeName) func(*Service, *DocView, *View) {
		return func(s *Service, d *DocView, _ *View) {
			d.Doc.Failed = []FailedOn{{Slot: "0", Node: node, Revision: s.Revision}}
		}
	}
	tests := []struct {
		name string
		rolloutCase
		state  RolloutState
		counts string // updated/available/slots step/steps
		reason string // part of it, or of what is failing
	}{
		{"no lease yet", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b"}}, RolloutRolling, "0/0/2 0/0", "0 of 2 slots"},
		{"half-way", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+ 1:b4@n1"}, good: "a", history: "ba"}, RolloutRolling, "2/1/2 0/0", "2 of 2 slots"},
		// A first release has nothing to go back to, and is tried further.
		{"the first fails", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b1@n1f"}, history: "b"}, RolloutRolling, "1/0/1 0/0", "web-0 on n1: exited with code 1"},
		{"the first failed elsewhere", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b2@n1"}, history: "b", change: leftNode("n2")}, RolloutRolling, "1/0/1 0/0", "web-0 on n2: it kept failing there"},
		{"the first failed elsewhere, and is available now", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b2@n1+"}, history: "b", change: leftNode("n2")}, RolloutRolling, "1/1/2 0/0", "1 of 2 slots"},
		// All are there: it is noted with what comes next.
		{"all there", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b1@n1+"}, history: "b"}, RolloutDone, "1/1/1 0/0", ""},
		{"done", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b1@n1+"}, good: "b", history: "b"}, RolloutDone, "1/1/1 0/0", ""},
		// What fails later is not the rollout's.
		{"done, not available now", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b1@n1f"}, good: "b", history: "b"}, RolloutDone, "1/0/1 0/0", ""},
		{"hook to come", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b1@n1+"}, good: "a", history: "ba", change: withHooks(HookPostRollout)}, RolloutRolling, "1/1/1 0/0", ""},
		// Hooks do not run for no slots: nothing is waited for.
		{"hook, no slots", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 0, target: "b"}, good: "a", history: "a", change: withHooks(HookPreRollout, HookPostRollout)}, RolloutDone, "0/0/0 0/0", ""},
		{"hook, no node", rolloutCase{fleetCase: fleetCase{nodes: "n1:drain", each: true, target: "b"}, good: "a", history: "a", change: withHooks(HookPreRollout)}, RolloutRolling, "0/0/0 0/0", ""},
		{"hook runs", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ prerollout:x2@n1"}, good: "a", history: "a", change: withHooks(HookPreRollout)}, RolloutRolling, "0/0/1 0/0", "a preRollout hook runs on n1"},
		{"pauses", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps(UpdateStep{Slots: Amount{Count: 1}, Pause: time.Minute}, 1)}, RolloutPaused, "1/1/2 1/1", "pauses for 1m0s"},
		{"waits for people", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: steps(UpdateStep{Slots: Amount{Count: 1}, Approve: true}, 1)}, RolloutWaiting, "1/1/2 1/1", "waits for spec.update.promoted"},
		// It has failed, whether that is written down already or not.
		{"fails", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ 0:b3@n1f"}, good: "a", history: "ba"}, RolloutReverted, "1/1/1 0/0", "web-0 on n1: exited with code 1"},
		{"goes back", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}, good: "a", history: "ba", change: blocked}, RolloutReverting, "1/1/2 0/0", "is wanted again"},
		{"went back", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a2@n1+"}, good: "a", history: "aba", change: blocked}, RolloutReverted, "1/1/1 0/0", "it failed"},
		{"went back, not available yet", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a2@n1+ 1:a3@n1"}, good: "a", history: "aba", change: blocked}, RolloutReverting, "2/1/2 0/0", "it failed"},
		// A slot that no node takes has nothing to go back from.
		{"went back, a slot has no place", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a2@n1+"}, good: "a", history: "aba", change: blocked}, RolloutReverted, "1/1/2 0/0", "it failed"},
		{"stays", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:b2@n1"}, good: "a", history: "ba", change: noRevert}, RolloutBlocked, "1/0/1 0/0", "autoRevert: false"},
		// No slot had the revision that failed: nothing is taken back ...
		{"its hook failed", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n1"}, good: "a", history: "a", change: blocked}, RolloutBlocked, "2/1/2 0/0", "no slot has got it"},
		// ... but what an unfinished rollout before it gave.
		{"its hook failed within another rollout", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:c3@n1+ 1:a2@n1+"}, good: "a", history: "ca", change: blocked}, RolloutReverting, "1/1/2 0/0", "is wanted again"},
		{"its hook failed after another rollout", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a3@n1+"}, good: "a", history: "aca", change: blocked}, RolloutBlocked, "1/1/1 0/0", "no slot has got it"},
		// One slot on every node: as many as have leases.
		{"each", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", each: true, target: "b", before: "n1:b3@n1+ n2:a2@n2+"}, good: "a", history: "ba"}, RolloutRolling, "1/1/2 0/0", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.rolloutCase.build(t)
			s, doc := f.Services[web], v.Docs[web].Doc
			got := RolloutOf(s, doc, v)
			counts := fmt.Sprintf("%d/%d/%d %d/%d", got.Updated, got.Available, got.Slots, got.Step, got.Steps)
			reason := cmp.Or(got.Failing, got.Reason)
			if got.State != tt.state || counts != tt.counts || !strings.Contains(reason, tt.reason) || got.Revision != s.Revision {
				t.Errorf("%+v, want %s %s %q", got, tt.state, tt.counts, tt.reason)
			}
			// A node alone that knows the same says the same.
			if !s.EveryNode && len(s.Hooks) == 0 {
				if alone := RolloutAlone(s, doc, aloneOf(v)); alone != got {
					t.Errorf("alone %+v, in a fleet %+v", alone, got)
				}
			}
			target := s.Revision
			switch {
			case tt.state == RolloutBlocked && s.Update.NoRevert:
				target = ""
			case tt.state == RolloutBlocked || tt.state == RolloutReverting || tt.state == RolloutReverted:
				target = doc.LastGood
			}
			if got.Target != target {
				t.Errorf("its slots are to have %s, want %s", got.Target, target)
			}
			wantOver := tt.state == RolloutDone || tt.state == RolloutBlocked || tt.state == RolloutReverted
			if got.State.Over() != wantOver {
				t.Errorf("%s is over: %v", got.State, got.State.Over())
			}
		})
	}
}

// aloneOf is what a node alone knows, where the fleet's view is of it only.
func aloneOf(v View) Alone {
	a := Alone{Ready: map[LeaseKey]bool{}, Failing: map[LeaseKey]string{}, Specs: v.Specs}
	for _, i := range v.Nodes["n1"].Status.Instances {
		key := LeaseKey{i.Slot.Service, i.Token}
		a.Ready[key] = i.Phase == PhaseReady
		if i.Failing {
			a.Failing[key] = i.Reason
		}
	}
	return a
}

// TestPasses: which spec.update.promoted lets which steps of which revision pass.
func TestPasses(t *testing.T) {
	const rev = Revision("r1-0123456789abcdef")
	tests := []struct {
		promoted string
		step     int
		want     bool
	}{
		{"", 1, false},
		{"r1-0123456789abcdef", 1, true},
		{"r1-01234567", 1, true},
		{"r1-01234567", 9, true},
		// Too few letters name too many revisions.
		{"r1-0123456", 1, false},
		{"r1-", 1, false},
		{"r1-01234568", 1, false},
		{"01234567890", 1, false},
		// Up to a step.
		{"r1-01234567/2", 1, true},
		{"r1-01234567/2", 2, true},
		{"r1-01234567/2", 3, false},
		{"r1-01234567/0", 1, false},
		{"r1-01234567/x", 1, false},
		{"r1-01234567/", 1, false},
	}
	for _, tt := range tests {
		if got := (Update{Promoted: tt.promoted}).passes(rev, tt.step); got != tt.want {
			t.Errorf("%q passes step %d: %v", tt.promoted, tt.step, got)
		}
	}
}

// TestStepNeeds: percentages are rounded up, and a step asks for one at least
// and for all at most.
func TestStepNeeds(t *testing.T) {
	tests := []struct {
		slots Amount
		of    int
		want  int
	}{
		{Amount{1, false}, 3, 1},
		{Amount{0, false}, 3, 1},
		{Amount{9, false}, 3, 3},
		{Amount{10, true}, 3, 1},
		{Amount{34, true}, 3, 2},
		{Amount{100, true}, 3, 3},
		{Amount{50, true}, 0, 1}, // of none: nothing reaches it, and nothing waits
	}
	for _, tt := range tests {
		if got := (UpdateStep{Slots: tt.slots}).need(tt.of); got != tt.want {
			t.Errorf("%s of %d: %d, want %d", tt.slots, tt.of, got, tt.want)
		}
	}
}

// TestDependsOn: what counts as fulfilled of a service with four slots.
func TestDependsOn(t *testing.T) {
	db := ServiceID{DefaultNamespace, "db"}
	tests := []struct {
		name      string
		condition DependencyCondition
		instances string // of slots 0 to 3: + available, . running, - not
		update    Update
		change    func(s *Service, d *DocView)
		want      string // part of the reason; "" = fulfilled
	}{
		{name: "all", instances: "++++"},
		{name: "one is missing", instances: "+++.", want: "waits for db: fewer than 4 slots of it are available"},
		// As many may be missing as its own budget allows, but not all.
		{name: "within its budget", instances: "++..", update: Update{MaxUnavailable: amount(2)}},
		{name: "beyond its budget", instances: "+...", update: Update{MaxUnavailable: amount(2)}, want: "fewer than 2 slots"},
		{name: "none, all may be", instances: "....", update: Update{MaxUnavailable: amount(4)}, want: "no slot of it is available"},
		{name: "started", condition: DependsStarted, instances: "+..."},
		{name: "not started", condition: DependsStarted, instances: "+..-", want: "fewer than 4 slots of it are started"},
		// At the revision that is wanted of it ...
		{name: "at another revision", instances: "++++", change: func(s *Service, _ *DocView) { *s = service(db, 4, plainB) }, want: "fewer than 4 slots"},
		// ... which is the last good one where the manifest's is blocked.
		{name: "gone back", instances: "++++", change: func(s *Service, d *DocView) {
			*s = service(db, 4, plainB)
			d.Doc.Blocked, d.Doc.LastGood = []Revision{s.Revision}, RevisionOf(plainA)
		}},
		{name: "suspended", instances: "++++", change: func(s *Service, _ *DocView) {
			*s = service(db, 4, plainB)
			s.Suspend = &Suspension{Until: time.Unix(1, 0)}
		}},
		{name: "no slots", instances: "", change: func(s *Service, _ *DocView) { s.Replicas = 0 }, want: "it has no slot"},
		{name: "not readable", instances: "++++", change: func(_ *Service, d *DocView) { d.Broken = "garbled" }, want: "its document cannot be read"},
		{name: "of a later version", instances: "++++", change: func(_ *Service, d *DocView) { d.TooNew = true }, want: "its document cannot be read"},
		// Each waits for the other: neither begins, and both say so.
		{name: "circle", instances: "----", change: func(s *Service, _ *DocView) { s.DependsOn = []Dependency{{Service: web}} }, want: "waits for db: fewer than 4 slots"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := fleetCase{nodes: "n1", replicas: 1, target: "a"}.build(t)
			s, other := f.Services[web], service(db, 4, plainA)
			s.DependsOn, other.Update = []Dependency{{db, tt.condition}}, tt.update
			d := DocView{Doc: LeaseDoc{Format: FormatLeases, Service: db, Tokens: 9, By: "n1"}}
			n := v.Nodes["n1"]
			for k, c := range tt.instances {
				l := Lease{Slot: fmt.Sprint(k), Node: "n1", Epoch: 2, Token: uint64(k + 1), Revision: RevisionOf(plainA)}
				d.Doc.Leases = append(d.Doc.Leases, l)
				phase := map[rune]Phase{'+': PhaseReady, '.': PhaseStarting, '-': PhasePending}[c]
				n.Status.Instances = append(n.Status.Instances, InstanceStatus{Slot: SlotID{db, l.Slot}, Token: l.Token, Revision: l.Revision, Phase: phase})
			}
			if tt.change != nil {
				tt.change(&other, &d)
			}
			v.Nodes["n1"], v.Docs[db] = n, d
			f.Services[web], f.Services[db] = s, other
			out := Coordinate(f, v, Time{Boot: fleetNow})
			begins := false
			for _, d := range out.Docs {
				begins = begins || d.Doc.Service == web
			}
			if begins != (tt.want == "") || !strings.Contains(out.Waiting[web], tt.want) {
				t.Errorf("begins: %v, waiting %q; want %q", begins, out.Waiting[web], tt.want)
			}
		})
	}
}
