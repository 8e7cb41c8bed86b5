package planner

import (
	"strings"
	"testing"
)

// TestStepsLost: a step waits neither for a slot whose node is gone nor for one
// that no node takes.
func TestStepsLost(t *testing.T) {
	steps := func(amounts ...Amount) func(*Service, *DocView, *View) {
		return func(s *Service, _ *DocView, _ *View) {
			for _, a := range amounts {
				s.Update.Steps = append(s.Update.Steps, UpdateStep{Slots: a})
			}
		}
	}
	one, half := Amount{Count: 1}, Amount{50, true}
	stopFirst := func(s *Service, d *DocView, v *View) {
		steps(one)(s, d, v)
		s.Update.StopFirst = true
	}
	// Nothing was good before: a slot whose turn has not come gets no lease.
	nothingGood := func(s *Service, d *DocView, v *View) {
		steps(one, Amount{Count: 2}, Amount{Count: 3})(s, d, v)
		d.Doc.LastGood = ""
	}
	tests := []struct {
		name string
		rolloutCase
		after string
		step  int
	}{
		{"of a node that is gone", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2 n3:fenced", each: true, target: "b", before: "n1:a1@n1+ n2:a2@n2+ n3:a3@n3v"}, change: steps(one)},
			"n1:a1@n1 n1:b4@n1 n2:a2@n2 n3:a3@n3v", 0},
		// It had its turn before it was lost.
		{"had its turn", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2 n3:fenced", each: true, target: "b", before: "n1:a1@n1+ n2:a2@n2+ n3:b4@n3v"}, change: steps(one)},
			"n1:a1@n1 n1:b5@n1 n2:a2@n2 n3:b4@n3v", 0},
		// A percentage is one of what is there.
		{"most nodes are gone", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2 n3:fenced n4:fenced n5:fenced", each: true, target: "b", before: "n1:b6@n1+ n2:a2@n2+ n3:a3@n3v n4:a4@n4v n5:a5@n5v"}, change: steps(half)},
			"n1:b6@n1 n2:a2@n2 n2:b7@n2 n3:a3@n3v n4:a4@n4v n5:a5@n5v", 1},
		{"its data is lost", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2:fenced n3", replicas: 3, target: "W", before: "0:V1@n1+ 1:V2@n2v 2:V3@n3+"}, change: steps(one)},
			"0:V1@n1 0:W4@n1 1:V2@n2v 2:V3@n3", 0},
		{"has no place", rolloutCase{fleetCase: fleetCase{nodes: "n1:room=200", replicas: 3, target: "Q", before: "0:P1@n1+ 1:P2@n1+"}, change: stopFirst},
			"0:P1@n1 0:Q3@n1s 1:P2@n1", 0},
		{"has no place, begun", rolloutCase{fleetCase: fleetCase{nodes: "n1:room=200", replicas: 3, target: "Q", before: "0:P1@n1+ 0:Q3@n1~s 1:P2@n1+"}, change: stopFirst},
			"0:Q3@n1s 1:P2@n1", 0},
		{"several have no place", rolloutCase{fleetCase: fleetCase{nodes: "n1:room=100", replicas: 3, target: "Q", before: "0:Q3@n1+"}, change: nothingGood},
			"0:Q3@n1", 3},
		{"one has a place that has no lease yet", rolloutCase{fleetCase: fleetCase{nodes: "n1:room=200", replicas: 4, target: "Q", before: "0:Q3@n1+"}, change: nothingGood},
			"0:Q3@n1 1:Q4@n1", 1},
		// With the last step of all that are there it is completed.
		{"all that have a place", rolloutCase{fleetCase: fleetCase{nodes: "n1:room=200", replicas: 3, target: "Q", before: "0:Q3@n1+ 1:Q4@n1+"}, change: steps(one, Amount{100, true})},
			"0:Q3@n1 1:Q4@n1", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			letters := map[string][2]string{"b": {"a", "ba"}, "W": {"V", "WV"}, "Q": {"P", "QP"}}[tt.target]
			tt.good, tt.history = letters[0], letters[1]
			f, v := tt.build(t)
			got := settled(t, f, v)
			if got == nil || showFleetLeases(got.Leases) != tt.after || got.Step != tt.step {
				t.Errorf("%v, want %q and step %d", got, tt.after, tt.step)
			}
		})
	}
}

// TestDocumentLost: where a document was lost, neither hooks nor dependencies
// hold back the leases of what runs: it would be ended for them.
func TestDocumentLost(t *testing.T) {
	tests := []struct {
		name  string
		runs  string // templates of the slots from 0, on n1; "-" = none
		also  string // what else holds of n1
		hooks bool
		after string
	}{
		{"hook", "bb", "", true, "0:b4@n1 1:b5@n1"},
		{"dependency", "bb", "", false, "0:b4@n1 1:b5@n1"},
		// What is new comes with what was.
		{"hook, a slot has ended", "-b", "", true, "0:b4@n2 1:b5@n1"},
		// At another revision it stays as it was until the hook has ended.
		{"hook, of before", "aa", "", true, "0:a4@n1 1:a5@n1 prerollout:x6@n2"},
		{"dependency, of before", "aa", "", false, "0:a4@n1 1:a5@n1"},
		// Nothing ran, or nobody can say so.
		{"hook, nothing ran", "", "", true, "prerollout:x1@n1"},
		{"hook, its node is gone", "bb", ":fenced", true, "prerollout:x4@n2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := fleetCase{nodes: "n1" + tt.also + " n2", replicas: 2, target: "b"}.build(t)
			s, n := f.Services[web], v.Nodes["n1"]
			if tt.hooks {
				s.Hooks = map[HookKind]Hook{HookPreRollout: hookOf(HookPreRollout, s.Template)}
			} else {
				s.DependsOn = []Dependency{{Service: ServiceID{DefaultNamespace, "db"}}}
			}
			f.Services[web] = s
			for i, letter := range strings.Split(tt.runs, "") {
				if letter != "-" {
					n.Status.Instances = append(n.Status.Instances, InstanceStatus{Slot: SlotID{web, string(rune('0' + i))}, Token: uint64(2 + i), Revision: RevisionOf(revs[letter]), Phase: PhaseReady})
				}
			}
			v.Nodes["n1"] = n
			for _, broken := range []string{"", "not JSON"} {
				if v.Docs = map[ServiceID]DocView{}; broken != "" {
					v.Docs[web] = DocView{Broken: broken, Since: fleetNow - brokenPatience}
				}
				got := settled(t, f, v)
				if got == nil || showFleetLeases(got.Leases) != tt.after {
					t.Errorf("broken %q: %v, want %q", broken, got, tt.after)
				}
			}
		})
	}
}
