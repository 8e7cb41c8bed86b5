package event

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

var shop = planner.ServiceID{Namespace: "shop", Name: "web"}

const (
	good = planner.Revision("r1-aaaaaaaa00000000")
	bad  = planner.Revision("r1-bbbbbbbb00000000")
)

func lease(slot string, node planner.NodeName, token uint64, rev planner.Revision) planner.Lease {
	return planner.Lease{Slot: slot, Node: node, Epoch: 1, Token: token, Revision: rev}
}

// TestLogDecision: every decision is in the log once, in words that tell what
// happens and why, and what a person may have to act on is a warning.
func TestLogDecision(t *testing.T) {
	s := planner.Service{ID: shop, Update: planner.Update{Steps: []planner.UpdateStep{
		{Slots: planner.Amount{Count: 1}, Approve: true}, {Slots: planner.Amount{Count: 50, Percent: true}, Pause: 10 * time.Minute}, {Slots: planner.Amount{Count: 2}},
	}}}
	hook := planner.Lease{Slot: "prerollout", Hook: planner.HookPreRollout, Node: "n1", Epoch: 1, Token: 9, Revision: bad}
	doc := func(change func(*planner.LeaseDoc)) planner.LeaseDoc {
		d := planner.LeaseDoc{
			Service: shop, Commit: strings.Repeat("cd", 20), LastGood: good,
			Leases:  []planner.Lease{lease("0", "n1", 1, good), lease("1", "n2", 2, good)},
			History: []planner.Applied{{Revision: bad, Commit: strings.Repeat("ab", 20)}, {Revision: good, Commit: strings.Repeat("12", 20)}},
		}
		if change != nil {
			change(&d)
		}
		return d
	}
	halfway := func(d *planner.LeaseDoc) { d.Leases[0] = lease("0", "n1", 3, bad) }
	blocked := func(d *planner.LeaseDoc) {
		d.Blocked, d.BlockedWhy = []planner.Revision{bad}, "web-0 on n1: readiness probe fails"
	}
	for _, c := range []struct {
		name          string
		before, after planner.LeaseDoc
		why           string
		want          []string // level, what, slots, reason
	}{
		{"one slot changes", doc(nil), doc(halfway), "shop/web: shop/web-0 changes to r1-bbbbbbbb: commit abababab changed it",
			[]string{"info leases decided [shop/web-0] shop/web-0 changes to r1-bbbbbbbb: commit abababab changed it"}},
		{"without a subject the leases tell", doc(nil), doc(halfway), "",
			[]string{"info leases decided [shop/web-0] shop/web-0 on n1 goes from r1-aaaaaaaa to r1-bbbbbbbb"}},
		{"blocked, and the first slot goes back", doc(halfway),
			doc(func(d *planner.LeaseDoc) { blocked(d); d.Leases[0] = lease("0", "n1", 4, good) }), "x",
			[]string{
				"warn rollout blocked [] revision r1-bbbbbbbb of commit abababab: web-0 on n1: readiness probe fails; it goes back to revision r1-aaaaaaaa of commit 12121212",
				"warn rollout reverted [] all slots have revision r1-aaaaaaaa of commit 12121212 again",
				"info leases decided [shop/web-0] x",
			}},
		{"blocked, and slots go back one by one", doc(halfway), doc(func(d *planner.LeaseDoc) { halfway(d); blocked(d) }), "x",
			[]string{
				"warn rollout blocked [] revision r1-bbbbbbbb of commit abababab: web-0 on n1: readiness probe fails; it goes back to revision r1-aaaaaaaa of commit 12121212",
				"info leases decided [] x",
			}},
		{"the last of them", doc(func(d *planner.LeaseDoc) { halfway(d); blocked(d) }), doc(blocked), "x",
			[]string{
				"warn rollout reverted [] all slots have revision r1-aaaaaaaa of commit 12121212 again",
				"info leases decided [shop/web-0] x",
			}},
		{"a hook of a revision that no slot has", doc(func(d *planner.LeaseDoc) { d.History = d.History[1:] }),
			doc(func(d *planner.LeaseDoc) {
				d.History = d.History[1:]
				d.Blocked, d.BlockedWhy, d.BlockedAt = []planner.Revision{bad}, "its preRollout hook failed: exited with code 1", strings.Repeat("ef", 20)
			}), "",
			[]string{"warn rollout blocked [] revision r1-bbbbbbbb of commit efefefef: its preRollout hook failed: exited with code 1; what runs stays"}},
		{"what was good is noted with the block", doc(func(d *planner.LeaseDoc) { halfway(d); d.LastGood = "" }), doc(func(d *planner.LeaseDoc) { halfway(d); blocked(d) }), "",
			[]string{"warn rollout blocked [] revision r1-bbbbbbbb of commit abababab: web-0 on n1: readiness probe fails; it goes back to revision r1-aaaaaaaa of commit 12121212"}},
		{"a fix clears the block", doc(blocked), doc(nil), "",
			[]string{"info block lifted [] its manifest has changed since revision r1-bbbbbbbb was blocked"}},
		{"a step that waits for approval", doc(halfway), doc(func(d *planner.LeaseDoc) { halfway(d); d.Step = 1 }), "",
			[]string{"warn rollout paused [] step 1 of 3 is done; it goes on once shop/web is promoted: orpheus promote shop/web"}},
		{"a step with a pause asks nobody", doc(func(d *planner.LeaseDoc) { d.Step = 1 }), doc(func(d *planner.LeaseDoc) { d.Step = 2 }), "",
			[]string{"info rollout paused [] step 2 of 3 is done; it rests for 10m0s"}},
		{"a step without either", doc(func(d *planner.LeaseDoc) { d.Step = 2 }), doc(func(d *planner.LeaseDoc) { d.Step = 3 }), "",
			[]string{"info rollout step done [] step 3 of 3"}},
		{"a hook begins", doc(nil), doc(func(d *planner.LeaseDoc) { d.Leases = append(d.Leases, hook) }), "",
			[]string{"info leases decided [shop/web-prerollout] the preRollout hook runs on n1"}},
		{"a hook fails", doc(func(d *planner.LeaseDoc) { d.Leases = append(d.Leases, hook) }),
			doc(func(d *planner.LeaseDoc) {
				d.Hooks = []planner.HookRun{{Kind: planner.HookPreRollout, Revision: bad, Token: 9, Failed: "exited with code 1"}}
			}), "",
			[]string{
				"warn preRollout hook failed [shop/web-prerollout] revision r1-bbbbbbbb of commit abababab: exited with code 1",
				"info leases decided [shop/web-prerollout] the preRollout hook on n1 is over",
			}},
		{"a slot is given up on its node", doc(nil),
			doc(func(d *planner.LeaseDoc) {
				d.Failed = []planner.FailedOn{{Slot: "1", Node: "n2", Revision: good}}
				d.Leases[1] = lease("1", "n3", 3, good)
			}), "",
			[]string{
				"warn slot leaves its node [shop/web-1] it keeps failing on n2 at r1-aaaaaaaa",
				"info leases decided [shop/web-1] shop/web-1 moves from n2 to n3",
			}},
		{"rolled out", doc(nil), doc(func(d *planner.LeaseDoc) { d.LastGood = bad }), "",
			[]string{"info rollout completed [] revision r1-bbbbbbbb of commit abababab"}},
		// It was rolled out before, and people were told.
		{"the first release is noted with the next", doc(func(d *planner.LeaseDoc) { d.LastGood = "" }), doc(halfway), "x",
			[]string{"info release noted as good [] revision r1-aaaaaaaa of commit 12121212", "info leases decided [shop/web-0] x"}},
		{"nothing that people would see", doc(nil), doc(nil), "", nil},
	} {
		l, err := Open("")
		if err != nil {
			t.Fatal(err)
		}
		LogDecision(slog.New(l.Handler(slog.DiscardHandler)), s, c.before, c.after, c.why)
		got := told(t, l)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// told are the events of a log: level, what, slots, reason.
func told(t *testing.T, l *Log) []string {
	t.Helper()
	var got []string
	for _, e := range l.events {
		slots := e.Slots
		if e.Slot != "" {
			slots = append(slots, e.Slot)
		}
		if e.Service != "shop/web" || !e.About("shop/web") {
			t.Errorf("%+v is not about its service", e)
		}
		got = append(got, e.Level+" "+e.What+" ["+strings.Join(slots, " ")+"] "+e.Reason)
	}
	return got
}

// What is about several slots is found by each of them.
func TestEventOfSeveralSlots(t *testing.T) {
	l, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	before := planner.LeaseDoc{Service: shop, Leases: []planner.Lease{lease("0", "n1", 1, good), lease("1", "n1", 2, good)}}
	after := planner.LeaseDoc{Service: shop, Leases: []planner.Lease{lease("0", "n2", 3, good), lease("1", "n2", 4, good)}}
	LogDecision(slog.New(l.Handler(slog.DiscardHandler)), planner.Service{}, before, after, "")
	if len(l.events) != 1 {
		t.Fatalf("%+v", l.events)
	}
	for target, want := range map[string]bool{"shop/web": true, "shop/web-0": true, "shop/web-1": true, "shop/web-2": false, "web-0": false} {
		if l.events[0].About(target) != want {
			t.Errorf("about %s: %v", target, !want)
		}
	}
}

// Where a rollout that fails is not to be reverted nothing says that it is: also
// not where the new instance beside the old one goes, and all have the old
// revision.
func TestTurnsWithoutRevert(t *testing.T) {
	s := planner.Service{ID: shop, Update: planner.Update{NoRevert: true}}
	before := planner.LeaseDoc{
		Service: shop, LastGood: good,
		Leases: []planner.Lease{lease("0", "n1", 1, good), lease("0", "n1", 3, bad), lease("1", "n2", 2, good)},
	}
	after := before
	after.Leases = []planner.Lease{before.Leases[0], before.Leases[2]}
	after.Blocked, after.BlockedWhy = []planner.Revision{bad}, "web-0 on n1: readiness probe fails"
	var got []string
	for _, turn := range Turns(s, before, after) {
		got = append(got, turn.String())
	}
	if want := []string{"rollout blocked: revision r1-bbbbbbbb: web-0 on n1: readiness probe fails; what runs stays"}; !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
