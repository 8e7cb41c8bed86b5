package fleettest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	drawnSeeds = 50 // that CI runs
	drawnEach  = 15 // commits of each
	// Of what a plan leaves open nothing can be wrong: at most so many percent of the
	// commits may have a part that is, and so many may go another way then.
	mostRaces, mostOpen = 15, 3
)

// TestDrawnPlansComeTrue: what a forecast says of commits that are drawn by chance is
// what then happens, on fleets that are drawn, too.
//
// More, or one again: PLANS=from-to go test ./agent/fleet/fleettest -run TestDrawnPlansComeTrue
func TestDrawnPlansComeTrue(t *testing.T) {
	from, to := uint64(1), uint64(drawnSeeds)
	if text := os.Getenv("PLANS"); text != "" {
		if _, err := fmt.Sscanf(text, "%d-%d", &from, &to); err != nil {
			t.Fatalf("PLANS=%q is not from-to", text)
		}
	}
	sums := make(chan drawnSum, to-from+1)
	t.Run("seed", func(t *testing.T) {
		for seed := from; seed <= to; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				var sum drawnSum
				defer func() { sums <- sum }()
				d, err := NewDrawn(seed)
				if err != nil {
					t.Fatal(err)
				}
				for k := range drawnEach {
					c, err := d.Commit()
					if err != nil {
						t.Fatalf("commit %d: %v", k, err)
					}
					sum.add(t, k, c)
				}
			})
		}
	})
	close(sums)
	var all drawnSum
	for sum := range sums {
		all.commits += sum.commits
		all.planned += sum.planned
		all.races += sum.races
		all.open += sum.open
	}
	t.Logf("%d commits with %d leases that were given or taken; %d had races, %d went another way in them", all.commits, all.planned, all.races, all.open)
	if seeds := to - from + 1; seeds >= drawnSeeds && (all.races*100 > mostRaces*all.commits || all.open*100 > mostOpen*all.commits || all.planned < 3*all.commits) {
		t.Error("too little is planned, or too much of it left open")
	}
}

// drawnSum counts the commits that were judged.
type drawnSum struct{ commits, planned, races, open int }

// add holds one commit to its forecast.
func (sum *drawnSum) add(t *testing.T, k int, c DrawnCommit) {
	if c.Fails {
		return
	}
	sum.commits++
	if len(c.Forecast.Races) > 0 {
		sum.races++
	}
	var wrong []string
	open := false
	for _, o := range c.Outcomes {
		sum.planned += o.Planned
		open = open || o.State == planner.OutcomeOpen
		if o.State != planner.OutcomeMet && o.State != planner.OutcomeOpen {
			wrong = append(wrong, fmt.Sprintf("%s %s (%d of %d): %s", o.Service, o.State, o.Done, o.Planned, strings.Join(o.Differs, "; ")))
		}
	}
	if c.Forecast.Cut {
		wrong = append(wrong, "the forecast has no end")
	}
	if open {
		sum.open++
	} else {
		wrong = append(wrong, c.Touched...)
	}
	if len(wrong) > 0 {
		t.Errorf("commit %d (%s):\n\t%s\n%s", k, c.What, strings.Join(wrong, "\n\t"), c.Story)
	}
}
