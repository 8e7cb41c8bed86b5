package planner

import (
	"slices"
	"testing"
)

// TestPaceLost: what was found by simulated fleets that lost nodes, or made
// commits, in the middle of rollouts.
func TestPaceLost(t *testing.T) {
	minReady := func(s *Service, _ *DocView, _ *View) { s.MinReady = 1 }
	oneFirst := update(Update{Steps: []UpdateStep{{Slots: Amount{Count: 1}}}})
	tests := []struct {
		name string
		rolloutCase
		after string // "=" = nothing is decided
	}{
		// Of three with data of which one lies on a node that is lost, no second is
		// ended: it counts, although nothing can be done about it.
		{"its data is lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced n3", replicas: 3, target: "W", before: "0:V1@n1+ 0:W4@n1~ 1:V2@n2v 2:V3@n3+"}}, "="},
		{"its data is there", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2 n3", replicas: 3, target: "W", before: "0:V1@n1+ 0:W4@n1~ 1:V2@n2+ 2:V3@n3+"}}, "0:W4@n1 1:V2@n2 2:V3@n3"},
		// The agent of n1 has just started and not told yet: what it runs may be
		// available, and is not ended, nor does another slot go before it.
		{"not told yet", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "b", before: "0:a1@n1+ 0:b3@n2~s 1:a2@n2+"}, change: restarted("n1")}, "="},
		{"told", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "b", before: "0:a1@n1+ 0:b3@n2~s 1:a2@n2+"}, change: stopFirstOrder}, "0:b3@n2s 1:a2@n2"},
		// Nodes come back in the middle of a rollout: the slot that had the new
		// revision has it again, and is the one that tries it.
		{"nodes come back", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "W", before: "0:W3@n1v 1:V2@n2v"}, good: "V", history: "WV"}, "0:W4@n1 1:V5@n2"},
		// Back to what was good, which fails by now where it stands beside what is
		// bad: the slot keeps both, and that is all the surge there is.
		{"both fail", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "a", before: "0:b3@n1 1:a1@n1f 1:b2@n1"}, good: "a", history: "ba"}, "="},
		// No node has room beside what runs for the slot that has its turn: it is told
		// (Decisions.Unplaced), and the others, which would have none either, stay.
		{"no room at a step", rolloutCase{fleetCase: fleetCase{nodes: "n1:room=250", replicas: 3, target: "Q", before: "0:P1@n1 1:P2@n1"}, history: "P", change: oneFirst}, "="},
		{"room at a step", rolloutCase{fleetCase: fleetCase{nodes: "n1:room=300", replicas: 3, target: "Q", before: "0:P1@n1 1:P2@n1"}, history: "P", change: oneFirst}, "0:P1@n1 0:Q3@n1 1:P2@n1"},
		// A third revision in the middle of a change: what is available stays, not
		// what is newer and merely ready.
		{"two commits", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "c", before: "0:a1@n1+* 0:b2@n1+"}, change: minReady}, "0:a1@n1 0:c3@n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.build(t)
			got := settled(t, f, v)
			if got == nil != (tt.after == "=") || got != nil && showFleetLeases(got.Leases) != tt.after {
				t.Errorf("%v, want %q", got, tt.after)
			}
		})
	}
}

// restarted is a stop-first service of which the agent of a node has started again.
func restarted(node NodeName) func(*Service, *DocView, *View) {
	return func(s *Service, _ *DocView, v *View) {
		s.Update.StopFirst = true
		n := v.Nodes[node]
		n.Record.Incarnation = "next"
		v.Nodes[node] = n
	}
}

// TestStandInCarriesOn: a node that stands in does what a rollout waits for, also
// where no slot is to change: else it would rest for as long as the coordinator
// does nothing.
func TestStandInCarriesOn(t *testing.T) {
	steps := func(s *Service, _ *DocView, _ *View) {
		s.Update.Steps = []UpdateStep{{Slots: Amount{Count: 1}, Approve: true}}
	}
	hook := func(s *Service, _ *DocView, _ *View) {
		s.Hooks = map[HookKind]Hook{HookPreRollout: hookOf(HookPreRollout, s.Template)}
	}
	tests := []struct {
		name string
		rolloutCase
		invalid bool
	}{
		{"a step is done", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n2+"}, good: "a", history: "ba", change: steps}, true},
		{"a step is not done", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "b", before: "0:b3@n1 1:a2@n2+"}, good: "a", history: "ba", change: steps}, false},
		{"a hook is to begin", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n2+"}, good: "a", history: "a", change: hook}, true},
		{"it is rolled out", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "b", before: "0:b3@n1+ 1:b4@n2+"}, good: "a", history: "ba"}, true},
		{"nothing is to be done", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 2, target: "b", before: "0:b3@n1+ 1:b4@n2+"}, good: "b", history: "ba"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.build(t)
			sv := newSurvey(f, v, Time{Boot: fleetNow})
			sv.place()
			if why := sv.invalid(web, Time{Boot: fleetNow}); (why != "") != tt.invalid {
				t.Errorf("invalid: %q, want %v", why, tt.invalid)
			}
		})
	}
}

// TestStopFirstBesideVoid: what runs under a void lease ends once another is ready,
// so that one that is to be started after its predecessor does not wait for it.
func TestStopFirstBesideVoid(t *testing.T) {
	void, next := leased(1, plainA), leased(2, plainB)
	next.StopFirst = true
	plan := Reconcile(NodeState{
		Node: "n1", Docs: map[ServiceID]LeaseDoc{web: {Leases: []Lease{next}}}, Keep: map[ServiceID][]Lease{web: {void}},
		Have:  []Instance{instanceOf(void, plainA)},
		Specs: map[Revision]Template{void.Revision: plainA, next.Revision: plainB},
	})
	starts := func(a Action) bool { return a.Kind == ActionStart && a.Lease == next }
	if !slices.ContainsFunc(plan.Actions, starts) || len(plan.Actions) != 1 {
		t.Errorf("%v, waits %v", plan.Actions, plan.Waits)
	}
}
