package planner

import (
	"slices"
	"strings"
	"testing"
)

// TestReschedule: where a slot that keeps failing goes, and what is remembered
// of where it was.
func TestReschedule(t *testing.T) {
	tests := []struct {
		name   string
		nodes  string
		before string
		failed string // nodes on which slot 0 was given up before
		after  string // "=" = nothing is decided
		then   string // nodes that are remembered afterwards
	}{
		{"fails", "n1 n2", "0:a1@n1f", "", "0:a1@n1 0:a2@n2", "n1"},
		{"on its way", "n1 n2", "0:a1@n1f 0:a2@n2", "n1", "=", "n1"},
		{"on its way, after a restart there", "n1 n2", "0:a1@n1 0:a2@n2", "n1", "=", "n1"},
		// To be available for a moment is not to hold: it does not return.
		{"arrived", "n1 n2", "0:a1@n1f 0:a2@n2+", "n1", "0:a2@n2", "n1"},
		{"at rest", "n1 n2", "0:a2@n2+", "n1", "=", "n1"},
		{"fails there, too", "n1 n2", "0:a2@n2f", "n1", "=", "n1"},
		{"fails there, too, and there is a third", "n1 n2 n3", "0:a2@n2f", "n1", "0:a2@n2 0:a3@n3", "n1 n2"},
		// It holds: forgotten at once, and whenever it fails there it may return.
		{"holds", "n1 n2", "0:a2@n2+h", "n1", "0:a2@n2", ""},
		{"holds, and the old lease stands", "n1 n2", "0:a1@n1f 0:a2@n2+h", "n1", "0:a2@n2", ""},
		{"held under a lease that is void", "n1 n2:fenced", "0:a2@n2+hv 0:a3@n1+", "n2", "0:a3@n1", "n2"},
		// It came to itself meanwhile: it stays, and nothing is held against the node.
		{"recovered", "n1 n2", "0:a1@n1+ 0:a2@n2", "n1", "0:a1@n1", ""},
		{"recovered, and fails where it went", "n1 n2", "0:a1@n1+ 0:a2@n2f", "n1", "0:a1@n1", "n2"},
		// It fails there, too: on to the third, also while nobody knows how the first
		// fares.
		{"fails again", "n1 n2 n3", "0:a1@n1f 0:a2@n2f", "n1", "0:a2@n2 0:a3@n3", "n1 n2"},
		{"fails again, the first is being restarted", "n1:restarting n2 n3", "0:a1@n1 0:a2@n2f", "n1", "0:a1@n1 0:a3@n3", "n1 n2"},
		// Everywhere: it stays where it was last, and is not moved in circles.
		{"fails everywhere", "n1 n2", "0:a1@n1f 0:a2@n2f", "n1", "0:a2@n2", "n1"},
		{"fails everywhere, the first is being restarted", "n1:restarting n2", "0:a1@n1 0:a2@n2f", "n1", "0:a1@n1", "n1 n2"},
		// A drain ends all the same: rather where it failed than where nothing may be.
		// It gets one lease there, however it fares.
		{"drained", "n1 n2:drain", "0:a2@n2+", "n1", "0:a2@n2 0:a3@n1", "n1"},
		{"drained, not available yet", "n1 n2:drain", "0:a2@n2", "n1", "0:a2@n2 0:a3@n1", "n1"},
		{"drained, and fails again", "n1 n2:drain", "0:a2@n2+ 0:a3@n1f", "n1", "=", "n1"},
		{"drained, there is a third", "n1 n2:drain n3", "0:a2@n2+", "n1", "0:a2@n2 0:a3@n3", "n1"},
		// Nothing is left of it: rather where it failed than nowhere.
		{"lost", "n1 n2:fenced", "0:a2@n2v", "n1", "0:a2@n2v 0:a3@n1", "n1"},
		{"lost, another is there", "n1 n2:fenced n3", "0:a2@n2v", "n1", "0:a2@n2v 0:a3@n3", "n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := rolloutCase{fleetCase: fleetCase{nodes: tt.nodes, replicas: 1, target: "a", before: tt.before}, good: "a", history: "a"}.build(t)
			d := v.Docs[web]
			if tt.failed != "" {
				d.Doc.Failed = []FailedOn{{Slot: "0", Node: NodeName(tt.failed), Revision: RevisionOf(plainA)}}
			}
			v.Docs[web] = d
			got := settled(t, f, v)
			if got == nil {
				if got = &d.Doc; tt.after != "=" {
					t.Fatalf("nothing is decided, want %q", tt.after)
				}
			} else if leases := showFleetLeases(got.Leases); leases != tt.after {
				t.Errorf("leases %q, want %q", leases, tt.after)
			}
			var then []string
			for _, on := range got.Failed {
				then = append(then, string(on.Node))
			}
			slices.Sort(then)
			if remembered := strings.Join(then, " "); remembered != tt.then {
				t.Errorf("remembers %q, want %q", remembered, tt.then)
			}
		})
	}
}
