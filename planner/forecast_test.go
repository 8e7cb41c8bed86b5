package planner

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// foreseenAt is when forecasts are made here.
var foreseenAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func suspendedUntil(until time.Time) func(*Service, *DocView, *View) {
	return func(s *Service, _ *DocView, _ *View) { s.Suspend = &Suspension{Until: until, Reason: "a freeze"} }
}

// TestForesee: all that a fleet decides about a commit until it is at rest. Each
// decision is shown by its turn and the leases after it.
func TestForesee(t *testing.T) {
	tests := []struct {
		name string
		rolloutCase
		want string
	}{
		// At rest nothing happens.
		{"nothing", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "a", before: "0:a1@n1+"}, good: "a", history: "a"}, ""},
		{"first", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "a"}}, "1: 0:a1@n1 1:a2@n1"},
		// One beside the other, slot after slot.
		{"rollout", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n1+"}, good: "a", history: "a"},
			"1: 0:a1@n1 0:b3@n1 1:a2@n1 | 2: 0:b3@n1 1:a2@n1 1:b4@n1 | 3: 0:b3@n1 1:b4@n1"},
		{"stop-first", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n1+"}, good: "a", history: "a", change: stopFirstOrder},
			"1: 0:a1@n1 0:b3@n1s 1:a2@n1 | 2: 0:b3@n1s 1:a2@n1 | 3: 0:b3@n1s 1:a2@n1 1:b4@n1s | 4: 0:b3@n1s 1:b4@n1s | 5: 0:b3@n1s 1:b4@n1s"}, // and that it is good is noted
		// Pauses are waited for, and a person approves.
		{"steps", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n1+"}, good: "a", history: "a", change: update(Update{
			MaxSurge: amount(2), Steps: []UpdateStep{{Slots: Amount{Count: 1}, Pause: time.Minute, Approve: true}}})},
			"1: 0:a1@n1 0:b3@n1 1:a2@n1 | 2: 0:b3@n1 1:a2@n1 | 3 after 1m0s approved: 0:b3@n1 1:a2@n1 1:b4@n1 | 4: 0:b3@n1 1:b4@n1"},
		{"drain", rolloutCase{fleetCase: fleetCase{nodes: "n1:drain n2", replicas: 1, target: "a", before: "0:a1@n1+"}, good: "a", history: "a"},
			"1: 0:a1@n1 0:a2@n2 | 2: 0:a2@n2"},
		// A drain leaves alone what runs on every node; a cordon moves nothing, and takes
		// nothing new; a taint moves what does not tolerate it.
		{"drain, every node", rolloutCase{fleetCase: fleetCase{nodes: "n1:drain n2", each: true, target: "a", before: "n1:a1@n1+ n2:a2@n2+"}, good: "a", history: "a"}, ""},
		{"every node", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", each: true, target: "a"}}, "1: n1:a1@n1 n2:a2@n2"},
		{"cordon", rolloutCase{fleetCase: fleetCase{nodes: "n1:cordon n2", replicas: 2, target: "a", before: "0:a1@n1+"}, good: "a", history: "a"}, "1: 0:a1@n1 1:a2@n2"},
		{"taint", rolloutCase{fleetCase: fleetCase{nodes: "n1:taint=NoExecute n2", replicas: 1, target: "a", before: "0:a1@n1+"}, good: "a", history: "a"},
			"1: 0:a1@n1 0:a2@n2 | 2: 0:a2@n2"},
		// What is kept, suspended or blocked stays.
		{"kept", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+", kept: "its file has faults"}, good: "a", history: "a"}, ""},
		{"suspended", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "a", change: suspendedUntil(foreseenAt.Add(time.Hour))}, ""},
		{"no longer suspended", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "a", change: suspendedUntil(foreseenAt)},
			"1: 0:a1@n1 0:b2@n1 | 2: 0:b2@n1"},
		{"blocked", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "ba", change: func(s *Service, d *DocView, _ *View) {
			d.Doc.Blocked, d.Doc.BlockedAt, d.Doc.BlockedManifest = []Revision{s.Revision}, hash("b"), s.Fingerprint()
		}}, ""},
		// Nobody starts what is only observed.
		{"observed", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "a",
			change: func(s *Service, _ *DocView, _ *View) { s.Observe = true }}, "1: 0:a1@n1 0:b2@n1"},
		// What is under way goes on; what fails goes on failing.
		{"under way", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 0:b3@n1 1:a2@n1+"}, good: "a", history: "ba"},
			"1: 0:b3@n1 1:a2@n1 1:b4@n1 | 2: 0:b3@n1 1:b4@n1"},
		{"overtaken", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 2, target: "c", before: "0:a1@n1+ 0:b3@n1 1:a2@n1+"}, good: "a", history: "ba"},
			"1: 0:b3@n1 1:a2@n1 | 1: 0:b3@n1 0:c4@n1 1:a2@n1 | 2: 0:c4@n1 1:a2@n1 1:c5@n1 | 3: 0:c4@n1 1:c5@n1"},
		{"failing", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+ 0:b3@n1f"}, good: "a", history: "ba"}, "1: 0:a1@n1"},
		{"hooks", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "b", before: "0:a1@n1+"}, good: "a", history: "a", change: func(s *Service, _ *DocView, v *View) {
			s.Hooks = map[HookKind]Hook{HookPreRollout: hookOf(HookPreRollout, s.Template)}
		}}, "1: 0:a1@n1 prerollout:x2@n1 | 2: 0:a1@n1 0:b3@n1 | 3: 0:b3@n1"},
		// What nobody takes waits.
		{"no place", rolloutCase{fleetCase: fleetCase{nodes: "n1:drain", replicas: 1, target: "a"}}, "at the end without a place: web-0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.build(t)
			got := ForeseeAt(f, v, foreseenAt)
			var all []string
			for _, d := range got.Decisions {
				when := strconv.Itoa(d.Turn)
				if d.Paused > 0 {
					when += " after " + d.Paused.String()
				}
				if d.Approved {
					when += " approved"
				}
				all = append(all, when+": "+showFleetLeases(d.Doc.Leases))
			}
			for _, u := range got.Unplaced {
				all = append(all, "at the end without a place: "+u.Slot.String())
			}
			if text := strings.Join(all, " | "); text != tt.want || got.Cut {
				t.Errorf("%s\nwant\n%s", text, tt.want)
			}
		})
	}
}

// TestForeseeDeletion: the leases of a service that goes end at once. Its document
// stays for a while, which is nobody's pause.
func TestForeseeDeletion(t *testing.T) {
	f, v := fleetCase{nodes: "n1", before: "0:a1@n1+ 1:a2@n1+"}.build(t)
	other := service(ServiceID{DefaultNamespace, "other"}, 1, revs["a"])
	other.Update.Steps = []UpdateStep{{Slots: Amount{Count: 1}, Pause: time.Hour}}
	doc := parseFleetLeases(t, "0:b1@n1+", v.Nodes)
	doc.Service, doc.LastGood = other.ID, RevisionOf(revs["b"])
	f.Services[other.ID], v.Docs[other.ID] = other, DocView{Doc: doc}
	got := Foresee(f, v)
	if got.Cut || len(got.Decisions) == 0 || len(got.Decisions[0].Doc.Leases)+len(got.Decisions[1].Doc.Leases) != 2 {
		t.Fatalf("%+v", got.Decisions)
	}
	for _, d := range got.Decisions {
		if d.Delete || d.Paused != 0 && d.Paused != time.Hour {
			t.Errorf("%s: delete %v, after %v", d.Why, d.Delete, d.Paused)
		}
	}
}

// TestForeseeLoad: what is asked of nodes before, at most, and after: two instances
// of a slot at once, or one after the other.
func TestForeseeLoad(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Service, *DocView, *View)
		most   Load
	}{
		{"one beside the other", nil, Load{ResourceList{MemoryBytes: 300}, 3}},
		{"one after the other", stopFirstOrder, Load{ResourceList{MemoryBytes: 200}, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := rolloutCase{fleetCase: fleetCase{nodes: "n1:room=1000 n2", replicas: 2, target: "Q", before: "0:P1@n1+ 1:P2@n1+"}, good: "P", history: "P", change: tt.change}.build(t)
			got := Foresee(f, v)
			rest := Load{ResourceList{MemoryBytes: 200}, 2}
			want := []NodeLoad{{Node: "n1", Capacity: ResourceList{MemoryBytes: 1000}, Before: rest, Most: tt.most, After: rest}, {Node: "n2"}}
			all := want[0]
			all.Node = ""
			if !slices.Equal(got.Nodes, want) || got.Load != all {
				t.Errorf("%+v\n%+v", got.Nodes, got.Load)
			}
		})
	}
}
