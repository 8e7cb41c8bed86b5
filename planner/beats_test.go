package planner_test

import (
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestRing(t *testing.T) {
	ring := planner.Ring("web-1", "salt")
	seen := map[planner.Hash]bool{}
	for i := range 64 {
		record := ring.At(i)
		if got, ok := ring.Index(record.Hash()); !ok || got != i {
			t.Errorf("beat %d is at %d, %v", i, got, ok)
		}
		if record.Parent != "" || record.At != 0 || record.Author != "web-1" {
			t.Errorf("beat %d: %+v", i, record)
		}
		seen[record.Hash()] = true
	}
	if len(seen) != 64 {
		t.Errorf("%d values", len(seen))
	}
	// Round and round.
	for _, i := range []int{64, 128, -64} {
		if ring.At(i) != ring.At(0) {
			t.Errorf("beat %d is not beat 0", i)
		}
	}
	// What is not of this ring.
	for _, other := range []planner.Hash{"", "x", planner.Ring("web-2", "salt").At(0).Hash(), planner.Ring("web-1", "other").At(0).Hash()} {
		if i, ok := ring.Index(other); ok || i != 0 {
			t.Errorf("%q is at %d", other, i)
		}
	}
	// Every version must come to the same values: they are how beats of nodes
	// that run another one are known.
	const golden = "ba3769b5"
	if got := ring.At(7).Hash(); !strings.HasPrefix(string(got), golden) {
		t.Errorf("beat 7 is %s, want %s…\n%s", got, golden, ring.At(7).Object())
	}
}

func TestBeatMarkSubject(t *testing.T) {
	for _, test := range []struct {
		mark planner.BeatMark
		want string
	}{
		{planner.BeatMark{Challenge: true, Node: "a", By: "b", Reason: "two cannot\nreach it"}, `b challenges a: two cannot\nreach it`},
		{planner.BeatMark{Node: "a", By: "b", Epoch: 4}, "b fences a at epoch 4"},
	} {
		if got := test.mark.Subject(); got != test.want {
			t.Errorf("subject %q, want %q", got, test.want)
		}
	}
}
