package planner

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

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
		// What nobody takes waits.
		{"no place", rolloutCase{fleetCase: fleetCase{nodes: "n1:drain", replicas: 1, target: "a"}}, "at the end without a place: web-0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.build(t)
			got := Foresee(f, v)
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
