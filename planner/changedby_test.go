package planner

import (
	"strings"
	"testing"
)

// TestChangedBy: the reason of a change is the commit that brought the revision,
// not one that came while its slots change.
func TestChangedBy(t *testing.T) {
	const followed = "cccccccc" // the first commit of a history is 1, the one before it 2
	half := fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:b3@n1+ 1:a2@n1+"}
	none := fleetCase{nodes: "n1", replicas: 2, target: "b", before: "0:a1@n1+ 1:a2@n1+"}
	for _, c := range []struct {
		name string
		rolloutCase
		want string
	}{
		// Another commit came in the middle.
		{"under way", rolloutCase{fleetCase: half, good: "a", history: "ba"}, "11111111"},
		// The document knows nothing of it yet.
		{"begins", rolloutCase{fleetCase: none, good: "a", history: "a"}, followed},
		// It had this revision before: that commit did not bring it now.
		{"back to an earlier one", rolloutCase{fleetCase: none, good: "a", history: "ab"}, followed},
		{"an older version wrote no commit", rolloutCase{fleetCase: half, good: "a", history: "ba", change: func(_ *Service, d *DocView, _ *View) { d.Doc.History[0].Commit = "" }}, followed},
		{"no history", rolloutCase{fleetCase: half}, followed},
	} {
		f, v := c.build(t)
		out := Coordinate(f, v, Time{Boot: fleetNow})
		if len(out.Docs) != 1 || !strings.Contains(out.Docs[0].Why, ": commit "+c.want+" changed it") {
			t.Errorf("%s: want commit %s: %+v", c.name, c.want, out.Docs)
		}
	}
}
