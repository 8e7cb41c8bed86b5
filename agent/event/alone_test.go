package event

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestLogAlone: on a node alone each decision is told with its reason, without
// a word of leases or nodes.
func TestLogAlone(t *testing.T) {
	type leases = []planner.Lease
	ab, cd, ef := strings.Repeat("ab", 20), strings.Repeat("cd", 20), strings.Repeat("ef", 20)
	doc := func(l leases, change ...func(*planner.LeaseDoc)) planner.LeaseDoc {
		d := planner.LeaseDoc{Service: shop, Commit: cd, Leases: l, LastGood: good,
			History: []planner.Applied{{Revision: bad, Commit: cd}, {Revision: good, Commit: ab}}}
		for _, c := range change {
			c(&d)
		}
		return d
	}
	old := func(d *planner.LeaseDoc) { d.History, d.Commit = d.History[1:], ab } // before the second release
	blocked := func(d *planner.LeaseDoc) { d.Blocked, d.BlockedWhy = []planner.Revision{bad}, "web-0 on n1: it exits" }
	later := func(d *planner.LeaseDoc) { d.Commit = ef }
	first := func(d *planner.LeaseDoc) { d.LastGood = "" }
	at := func(slot string, token uint64, rev planner.Revision) planner.Lease {
		return lease(slot, "n1", token, rev)
	}
	hook := planner.Lease{Slot: "prerollout", Hook: planner.HookPreRollout, Node: "n1", Token: 9, Revision: "r1-cccccccc00000000"}
	service := func(replicas int, rev planner.Revision) planner.Service {
		return planner.Service{ID: shop, Replicas: replicas, Revision: rev}
	}
	for _, c := range []struct {
		name          string
		s             planner.Service
		before, after planner.LeaseDoc
		want          []string
	}{
		{"the first of all", service(1, good), planner.LeaseDoc{Service: shop}, doc(leases{at("0", 1, good)}, old, first),
			[]string{"info change decided [shop/web-0] shop/web-0 starts at r1-aaaaaaaa: commit abababab asks for it"}},
		{"several", service(2, good), planner.LeaseDoc{Service: shop}, doc(leases{at("0", 1, good), at("1", 2, good)}, old, first),
			[]string{"info change decided [shop/web-0 shop/web-1] 2 slots start at r1-aaaaaaaa: commit abababab asks for it"}},
		{"more", service(2, good), doc(leases{at("0", 1, good)}, old), doc(leases{at("0", 1, good), at("1", 2, good)}, old, later),
			[]string{"info change decided [shop/web-1] shop/web-1 starts at r1-aaaaaaaa: 2 replicas now"}},
		{"fewer", service(1, good), doc(leases{at("0", 1, good), at("1", 2, good)}, old), doc(leases{at("0", 1, good)}, old, later),
			[]string{"info change decided [shop/web-1] shop/web-1 ends: 1 replica now"}},
		{"a new revision, beside the old one", service(2, bad), doc(leases{at("0", 1, good), at("1", 2, good)}, old), doc(leases{at("0", 1, good), at("0", 3, bad), at("1", 2, good)}),
			[]string{"info change decided [shop/web-0] shop/web-0 changes from r1-aaaaaaaa to r1-bbbbbbbb: commit cdcdcdcd changed it"}},
		// The first is available, and the second begins.
		{"one after the other", service(2, bad), doc(leases{at("0", 1, good), at("0", 3, bad), at("1", 2, good)}), doc(leases{at("0", 3, bad), at("1", 2, good), at("1", 4, bad)}),
			[]string{"info change decided [shop/web-0 shop/web-1] shop/web-0 leaves r1-aaaaaaaa: r1-bbbbbbbb takes over; shop/web-1 changes from r1-aaaaaaaa to r1-bbbbbbbb: commit cdcdcdcd changed it"}},
		{"stop first", service(1, bad), doc(leases{at("0", 1, good)}, old), doc(leases{at("0", 2, bad)}),
			[]string{"info change decided [shop/web-0] shop/web-0 changes from r1-aaaaaaaa to r1-bbbbbbbb: commit cdcdcdcd changed it"}},
		// What failed goes, and the old one has stayed beside it.
		{"blocked", service(2, bad), doc(leases{at("0", 1, good), at("0", 3, bad), at("1", 2, good)}), doc(leases{at("0", 1, good), at("1", 2, good)}, blocked),
			[]string{
				"warn rollout blocked [] revision r1-bbbbbbbb of commit cdcdcdcd: web-0 on n1: it exits; it goes back to revision r1-aaaaaaaa of commit abababab",
				"warn rollout reverted [] all slots have revision r1-aaaaaaaa of commit abababab again",
				"info change decided [shop/web-0] shop/web-0 leaves r1-bbbbbbbb: it stays at r1-aaaaaaaa",
			}},
		{"back", service(1, bad), doc(leases{at("0", 3, bad)}, blocked), doc(leases{at("0", 3, bad), at("0", 4, good)}, blocked),
			[]string{"info change decided [shop/web-0] shop/web-0 changes from r1-bbbbbbbb to r1-aaaaaaaa: r1-bbbbbbbb is blocked"}},
		{"a new slot while steps hold the rollout back", service(3, bad), doc(leases{at("0", 3, bad), at("1", 2, good)}), doc(leases{at("0", 3, bad), at("1", 2, good), at("2", 4, good)}),
			[]string{"info change decided [shop/web-2] shop/web-2 starts at r1-aaaaaaaa: its turn to change has not come"}},
		{"a hook", service(1, bad), doc(leases{at("0", 1, good)}, old), doc(leases{at("0", 1, good), hook}, old),
			[]string{"info change decided [shop/web-prerollout] shop/web-prerollout runs: it is the preRollout hook of r1-bbbbbbbb"}},
		{"that is over", service(1, bad), doc(leases{at("0", 1, good), hook}, old), doc(leases{at("0", 1, good)}, old, func(d *planner.LeaseDoc) {
			d.Hooks = []planner.HookRun{{Kind: planner.HookPreRollout, Revision: bad, Token: 9}}
		}), []string{"info preRollout hook succeeded [shop/web-prerollout] revision r1-bbbbbbbb"}},
		{"deleted", planner.Service{}, doc(leases{at("0", 1, good), at("1", 2, good)}, old), doc(nil, old, later),
			[]string{"info change decided [shop/web-0 shop/web-1] 2 slots end: commit efefefef does not have its service"}},
		{"for other nodes", service(2, good), doc(leases{at("0", 1, good), at("1", 2, good)}, old), doc(nil, old, later),
			[]string{"info change decided [shop/web-0 shop/web-1] 2 slots end: it is not to run here"}},
		{"and for this one again", service(1, good), doc(nil, old), doc(leases{at("0", 3, good)}, old, later),
			[]string{"info change decided [shop/web-0] shop/web-0 starts at r1-aaaaaaaa: it is to run here"}},
		{"found", planner.Service{ID: shop, Orphan: true}, planner.LeaseDoc{Service: shop}, planner.LeaseDoc{Service: shop, Leases: leases{at("0", 7, good)}},
			[]string{"info change decided [shop/web-0] shop/web-0 starts at r1-aaaaaaaa: it was found running"}},
		{"pins only", service(1, good), doc(leases{at("0", 1, good)}, old), doc(leases{at("0", 1, good)}, old, later), nil},
	} {
		l, err := Open("")
		if err != nil {
			t.Fatal(err)
		}
		LogAlone(slog.New(l.Handler(slog.DiscardHandler)), c.s, c.before, c.after)
		if got := told(t, l); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}
