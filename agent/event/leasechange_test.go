package event

import (
	"slices"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestLeaseChanges: what is said of the leases of one slot, before and after.
func TestLeaseChanges(t *testing.T) {
	n1, n2, n3 := lease("1", "n1", 1, good), lease("1", "n2", 2, good), lease("1", "n3", 3, good)
	ending := n1
	ending.Ending = true
	for _, c := range []struct {
		name          string
		before, after []planner.Lease
		want          []string
	}{
		{"moves at once", []planner.Lease{n1}, []planner.Lease{n2}, []string{"shop/web-1 moves from n1 to n2"}},
		{"another beside it", []planner.Lease{n1}, []planner.Lease{n1, n2}, []string{"shop/web-1 is given to n2 at r1-aaaaaaaa"}},
		{"it has arrived", []planner.Lease{n1, n2}, []planner.Lease{n2}, []string{"shop/web-1 is taken from n1 at r1-aaaaaaaa"}},
		// It leaves n2, not n1: there it was on its way from.
		{"moves on", []planner.Lease{n1, n2}, []planner.Lease{n2, n3}, []string{"shop/web-1 is given to n3 at r1-aaaaaaaa", "shop/web-1 is taken from n1 at r1-aaaaaaaa"}},
		{"is to end, beside another", []planner.Lease{n1, n2}, []planner.Lease{ending, n2}, []string{"shop/web-1 is to end on n1"}},
		{"nothing", []planner.Lease{n1, n2}, []planner.Lease{n1, n2}, nil},
	} {
		var got []string
		for _, change := range LeaseChanges(planner.LeaseDoc{Leases: c.before}, planner.LeaseDoc{Leases: c.after}) {
			got = append(got, change.Sentence(shop))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
