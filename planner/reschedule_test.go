package planner

import (
	"slices"
	"testing"
)

// TestReschedule: where a slot that keeps failing goes, and what is remembered
// of where it was.
func TestReschedule(t *testing.T) {
	tests := []struct {
		name   string
		nodes  string
		before string
		failed string // nodes on which slot 0 was given up
		after  string // "=" = nothing is decided
		then   string // nodes that are remembered afterwards
	}{
		{"fails", "n1 n2", "0:a1@n1f", "", "0:a1@n1 0:a2@n2", "n1"},
		{"on its way", "n1 n2", "0:a1@n1f 0:a2@n2", "n1", "=", "n1"},
		// Available elsewhere: forgotten, and may return.
		{"arrived", "n1 n2", "0:a1@n1f 0:a2@n2+", "n1", "0:a2@n2", ""},
		// It came to itself meanwhile: it stays.
		{"recovered", "n1 n2", "0:a1@n1+ 0:a2@n2", "n1", "0:a1@n1", ""},
		// It fails there, too: on to the third.
		{"fails again", "n1 n2 n3", "0:a1@n1f 0:a2@n2f", "n1", "0:a2@n2 0:a3@n3", "n2"},
		// Everywhere: it stays where it was last, and is not moved in circles.
		{"fails everywhere", "n1 n2", "0:a1@n1f 0:a2@n2f", "n1", "0:a2@n2", ""},
		{"failed everywhere", "n1 n2", "0:a2@n2f", "n1", "=", "n1"},
		// It arrived in no write that forgot it: it may return all the same.
		{"drained", "n1 n2:drain", "0:a2@n2+", "n1", "0:a2@n2 0:a3@n1", ""},
		{"drained, not available yet", "n1 n2:drain", "0:a2@n2", "n1", "=", "n1"},
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
			if remembered := slices.ContainsFunc(got.Failed, func(f FailedOn) bool { return string(f.Node) == tt.then }); remembered != (tt.then != "") {
				t.Errorf("remembers %v, want %q", got.Failed, tt.then)
			}
		})
	}
}
