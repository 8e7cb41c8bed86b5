package gitsynctest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// BoardCase is one promise of gitsync.Board.
type BoardCase struct {
	Name string
	// Run checks the promise on a fresh repository, to which open makes
	// another way at every call.
	Run func(t TB, open func() gitsync.Board)
}

// BoardSuite lists what every Board must do. Run each case as a subtest.
func BoardSuite() []BoardCase {
	return []BoardCase{
		{"an empty repository", emptyBoard},
		{"compare on create, update and delete", compareBoard},
		{"outcomes per ref of a plain push", plainPush},
		{"atomic is all or none", atomicPush},
		{"read back what was written", readBoard},
		{"a chain is read without what is below", readChain},
		{"refuse what cannot be written", refuseBad},
		{"junk refs are counted", junkRefs},
		{"a name is a ref or a folder", nameCollision},
		{"a resent push does not win again", resentPush},
		{"a hundred records in one push", manyRecords},
		{"of 16 writers exactly one wins", raceBoard},
	}
}

// NewRecord is a record for tests; every n makes another.
func NewRecord(who planner.NodeName, n int) *planner.Record {
	return &planner.Record{Author: who, At: int64(n), Message: fmt.Sprintf("record %d\n\n{\n\"n\": %d\n}\n", n, n)}
}

// Values are refs and the hashes they should have.
type Values map[planner.Ref]planner.Hash

// WantRefs lists the board and compares.
func WantRefs(t TB, b gitsync.Board, want Values) gitsync.Listing {
	t.Helper()
	l, err := b.List(context.Background())
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	if len(l.Refs) != len(want) {
		t.Fatalf("refs are %v, want %v", l.Refs, want)
	}
	for ref, id := range want {
		if l.Refs[ref] != id {
			t.Fatalf("ref %s is %q, want %q", ref, l.Refs[ref], id)
		}
	}
	return l
}

// WantSwap pushes and compares the outcomes.
func WantSwap(t TB, b gitsync.Board, push gitsync.Push, want ...gitsync.Outcome) []gitsync.Result {
	t.Helper()
	results, err := b.Swap(context.Background(), push)
	if err != nil {
		t.Fatalf("swap: %v", err)
	}
	if len(results) != len(want) {
		t.Fatalf("%d results, want %d", len(results), len(want))
	}
	for i, r := range results {
		if r.Outcome != want[i] {
			t.Fatalf("change %d of %s: %s (%s), want %s", i, push.Changes[i].Ref, r.Outcome, r.Reason, want[i])
		}
		if r.Outcome == gitsync.Lost && r.Reason == "" {
			t.Fatalf("change %d is lost without a reason", i)
		}
	}
	return results
}

// one is a push of one change.
func one(ref planner.Ref, old planner.Hash, record *planner.Record) gitsync.Push {
	return gitsync.Push{Changes: []gitsync.Change{{Ref: ref, Old: old, New: record}}}
}

func emptyBoard(t TB, open func() gitsync.Board) {
	b := open()
	if l := WantRefs(t, b, nil); l.Ignored != 0 || l.Tip != "" {
		t.Fatalf("listing is %+v", l)
	}
	if got, err := b.Read(context.Background(), nil); err != nil || len(got.Records)+len(got.Unreadable) != 0 {
		t.Fatalf("read nothing: %v, %v", got, err)
	}
	if results, err := b.Swap(context.Background(), gitsync.Push{}); err != nil || len(results) != 0 {
		t.Fatalf("push nothing: %v, %v", results, err)
	}
}

func compareBoard(t TB, open func() gitsync.Board) {
	b := open()
	ref := planner.NodeRef("a")
	r1, r2, r3 := NewRecord("a", 1), NewRecord("a", 2), NewRecord("a", 3)
	WantSwap(t, b, one(ref, r1.Hash(), r2), gitsync.Lost) // update of what is not there
	WantSwap(t, b, one(planner.FleetRef, "", r1), gitsync.Won)
	WantSwap(t, b, one(ref, r1.Hash(), nil), gitsync.Lost) // delete of what is not there
	WantSwap(t, b, one(planner.FleetRef, r1.Hash(), nil), gitsync.Won)
	WantRefs(t, b, nil)
	WantSwap(t, b, one(ref, "", r1), gitsync.Won)
	WantSwap(t, b, one(ref, "", r2), gitsync.Lost)        // create of what is there
	WantSwap(t, b, one(ref, r2.Hash(), r3), gitsync.Lost) // update from another value
	WantSwap(t, b, one(ref, r2.Hash(), nil), gitsync.Lost)
	WantRefs(t, b, Values{ref: r1.Hash()})
	WantSwap(t, b, one(ref, r1.Hash(), r2), gitsync.Won)
	WantSwap(t, b, one(ref, r2.Hash(), r1), gitsync.Won) // back: the board knows no direction
	WantSwap(t, b, one(ref, r1.Hash(), nil), gitsync.Won)
	WantRefs(t, b, nil)
	WantSwap(t, b, one(ref, "", r3), gitsync.Won)
	WantRefs(t, open(), Values{ref: r3.Hash()})
}

func plainPush(t TB, open func() gitsync.Board) {
	b := open()
	x, y, z := planner.StatusRef("a"), planner.BeatsRef("a"), planner.FleetRef
	r1, r2 := NewRecord("a", 1), NewRecord("a", 2)
	WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{{Ref: x, New: r1}, {Ref: y, New: r1}}}, gitsync.Won, gitsync.Won)
	WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{
		{Ref: x, Old: r1.Hash(), New: r2}, // right
		{Ref: y, Old: r2.Hash(), New: r2}, // wrong
		{Ref: z, New: r2},                 // right
	}}, gitsync.Won, gitsync.Lost, gitsync.Won)
	WantRefs(t, b, Values{x: r2.Hash(), y: r1.Hash(), z: r2.Hash()})
	// A deletion beside an update, and deletions alone.
	WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{{Ref: x, Old: r2.Hash()}, {Ref: y, Old: r1.Hash(), New: r2}}}, gitsync.Won, gitsync.Won)
	WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{{Ref: y, Old: r1.Hash()}, {Ref: z, Old: r2.Hash()}}}, gitsync.Lost, gitsync.Won)
	WantRefs(t, b, Values{y: r2.Hash()})
}

func atomicPush(t TB, open func() gitsync.Board) {
	b := open()
	x, y, z := planner.NodeRef("a"), planner.BeatsRef("a"), planner.NodeRef("b")
	r1, r2, r3 := NewRecord("a", 1), NewRecord("a", 2), NewRecord("b", 3)
	pair := func(oldY planner.Hash) gitsync.Push {
		return gitsync.Push{Atomic: true, Changes: []gitsync.Change{{Ref: x, Old: r1.Hash(), New: r2}, {Ref: y, Old: oldY, New: r3}, {Ref: z, New: r3}}}
	}
	WantSwap(t, b, gitsync.Push{Atomic: true, Changes: []gitsync.Change{{Ref: x, New: r1}, {Ref: y, New: r1}}}, gitsync.Won, gitsync.Won)
	WantSwap(t, b, pair(r3.Hash()), gitsync.Lost, gitsync.Lost, gitsync.Lost)
	WantRefs(t, b, Values{x: r1.Hash(), y: r1.Hash()})
	WantSwap(t, b, pair(r1.Hash()), gitsync.Won, gitsync.Won, gitsync.Won)
	WantRefs(t, b, Values{x: r2.Hash(), y: r3.Hash(), z: r3.Hash()})
	// Atomic with one change is a plain push.
	WantSwap(t, b, gitsync.Push{Atomic: true, Changes: []gitsync.Change{{Ref: z, Old: r3.Hash()}}}, gitsync.Won)
}

func readBoard(t TB, open func() gitsync.Board) {
	b := open()
	large := *NewRecord("b", 2)
	large.Message += strings.Repeat("x", planner.MaxRecordBytes-len(large.Object()))
	write := map[planner.Ref]*planner.Record{
		planner.NodeRef("a"):   {Author: "a", At: 1700000000, Message: "a: späte Ankunft ✓\n\n{\n\"a\": 1\n}\n"},
		planner.NodeRef("b"):   &large,
		planner.StatusRef("a"): NewRecord("a", 3),
		planner.StatusRef("b"): NewRecord("a", 3), // the same value
		planner.FleetRef:       {Author: "a", At: 2, Message: "no end of line"},
	}
	var push gitsync.Push
	want := map[planner.Ref]planner.Hash{}
	for ref, record := range write {
		push.Changes = append(push.Changes, gitsync.Change{Ref: ref, New: record})
		want[ref] = record.Hash()
	}
	WantSwap(t, b, push, gitsync.Won, gitsync.Won, gitsync.Won, gitsync.Won, gitsync.Won)
	// What nobody ever wrote is left out, and spoils nothing.
	want[planner.NodeRef("gone")] = NewRecord("gone", 99).Hash()
	got, err := open().Read(context.Background(), want)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if len(got.Records) != len(write) || len(got.Unreadable) != 0 {
		t.Fatalf("read %d records, %v unreadable", len(got.Records), got.Unreadable)
	}
	for ref, record := range write {
		if got.Records[ref] != *record {
			t.Fatalf("%s is %.100v, want %.100v", ref, got.Records[ref], *record)
		}
	}
}

func readChain(t TB, open func() gitsync.Board) {
	b := open()
	ref := planner.LeasesRef(planner.ServiceID{Namespace: "default", Name: "web"}, 0)
	var last planner.Hash
	var record *planner.Record
	for i := range 5 {
		record = NewRecord("a", i)
		record.Parent = last
		WantSwap(t, b, one(ref, last, record), gitsync.Won)
		last = record.Hash()
	}
	got, err := b.Read(context.Background(), map[planner.Ref]planner.Hash{ref: last})
	if err != nil || got.Records[ref] != *record {
		t.Fatalf("read %v, %v; want %v", got, err, record)
	}
	// The value before is read or left out: some servers hand out only what a
	// ref has now.
	got, err = b.Read(context.Background(), map[planner.Ref]planner.Hash{ref: record.Parent})
	if before, ok := got.Records[ref]; err != nil || len(got.Unreadable) != 0 || ok && before.Hash() != record.Parent {
		t.Fatalf("read the value before: %v, %v", got, err)
	}
}

func refuseBad(t TB, open func() gitsync.Board) {
	b := open()
	large := *NewRecord("a", 1)
	large.Message += strings.Repeat("x", planner.MaxRecordBytes)
	fine := gitsync.Change{Ref: planner.NodeRef("fine"), New: NewRecord("a", 1)}
	for _, change := range []gitsync.Change{
		{Ref: planner.NodeRef("a"), New: &large},                         // too large
		{Ref: planner.NodeRef("a")},                                      // nothing to delete
		{Ref: "nodes/a b", New: NewRecord("a", 1)},                       // no name
		{Ref: "nodes/a\x00 report-status", New: NewRecord("a", 1)},       // no name
		{Ref: "../heads/main", New: NewRecord("a", 1)},                   // out of the prefix
		{Ref: planner.NodeRef("fine"), New: NewRecord("a", 2)},           // twice
		{Ref: planner.NodeRef("a"), Old: "main", New: NewRecord("a", 1)}, // no value
	} {
		results, err := b.Swap(context.Background(), gitsync.Push{Changes: []gitsync.Change{fine, change}})
		if err == nil || results[0].Outcome != gitsync.Lost || results[1].Outcome != gitsync.Lost {
			t.Fatalf("%q: %v, %v", change.Ref, results, err)
		}
	}
	WantRefs(t, b, nil)
}

// Attack case 38: a flood of refs that are no records.
func junkRefs(t TB, open func() gitsync.Board) {
	b := open()
	var push gitsync.Push
	var won []gitsync.Outcome
	record := NewRecord("eve", 1)
	for i := range 300 {
		ref := planner.Ref(fmt.Sprintf("junk/%d", i))
		if i%3 == 0 {
			ref = planner.Ref(fmt.Sprintf("nodes/BAD_%d", i))
		}
		push.Changes = append(push.Changes, gitsync.Change{Ref: ref, New: record})
		won = append(won, gitsync.Won)
	}
	WantSwap(t, b, push, won...)
	WantSwap(t, b, one(planner.FleetRef, "", record), gitsync.Won)
	if l := WantRefs(t, b, Values{planner.FleetRef: record.Hash()}); l.Ignored != 300 {
		t.Fatalf("%d ignored, want 300", l.Ignored)
	}
}

// Attack case 38: a name that takes the place of others.
func nameCollision(t TB, open func() gitsync.Board) {
	b := open()
	r := NewRecord("eve", 1)
	web := planner.LeasesRef(planner.ServiceID{Namespace: "default", Name: "web"}, 0)
	WantSwap(t, b, one(web, "", r), gitsync.Won)
	WantSwap(t, b, one("leases/default", "", r), gitsync.Lost)
	WantSwap(t, b, one("leases", "", r), gitsync.Lost)
	WantSwap(t, b, one(web+"/below", "", r), gitsync.Lost)
	// What was there first stays; a squatter keeps the name from others.
	WantSwap(t, b, one("leases/taken", "", r), gitsync.Won)
	WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{{Ref: "leases/taken/web", New: r}, {Ref: planner.FleetRef, New: r}}}, gitsync.Lost, gitsync.Won)
	if l := WantRefs(t, b, Values{web: r.Hash(), planner.FleetRef: r.Hash()}); l.Ignored != 1 {
		t.Fatalf("%d ignored, want 1", l.Ignored)
	}
}

// Attack case 36: whoever lost a reply may send again; the ref tells what
// became of the first.
func resentPush(t TB, open func() gitsync.Board) {
	b := open()
	ref := planner.NodeRef("a")
	r1, r2 := NewRecord("a", 1), NewRecord("a", 2)
	WantSwap(t, b, one(ref, "", r1), gitsync.Won)
	WantSwap(t, b, one(ref, "", r1), gitsync.Lost)
	WantSwap(t, b, one(ref, r1.Hash(), r2), gitsync.Won)
	WantSwap(t, b, one(ref, r1.Hash(), r2), gitsync.Lost)
	WantRefs(t, b, Values{ref: r2.Hash()})
}

func manyRecords(t TB, open func() gitsync.Board) {
	b := open()
	var push gitsync.Push
	var won []gitsync.Outcome
	want := Values{}
	for i := range 100 {
		ref, record := planner.StatusRef(planner.NodeName(fmt.Sprintf("n%d", i))), NewRecord("a", i)
		push.Changes = append(push.Changes, gitsync.Change{Ref: ref, New: record})
		won = append(won, gitsync.Won)
		want[ref] = record.Hash()
	}
	WantSwap(t, b, push, won...)
	WantRefs(t, b, want)
	got, err := b.Read(context.Background(), want)
	if err != nil || len(got.Records) != 100 {
		t.Fatalf("read %d of 100 records: %v", len(got.Records), err)
	}
	for ref, record := range got.Records {
		if record.Hash() != want[ref] {
			t.Fatalf("%s is another record", ref)
		}
	}
}

// raceBoard lets writers race for one ref: to update it, to delete it, to
// create it anew.
func raceBoard(t TB, open func() gitsync.Board) {
	const writers, rounds = 16, 9
	ref := planner.LeasesRef(planner.ServiceID{Namespace: "default", Name: "web"}, 0)
	boards := make([]gitsync.Board, writers)
	for i := range boards {
		boards[i] = open()
	}
	old := planner.Hash("")
	for round := range rounds {
		results := make([]gitsync.Result, writers)
		records := make([]*planner.Record, writers)
		errs := make([]error, writers)
		var group sync.WaitGroup
		for i := range writers {
			if round%3 != 2 { // the last of three deletes
				records[i] = NewRecord("a", round*writers+i)
			}
			group.Go(func() {
				got, err := boards[i].Swap(context.Background(), one(ref, old, records[i]))
				results[i], errs[i] = got[0], err
			})
		}
		group.Wait()
		winner := -1
		for i, r := range results {
			switch {
			case errs[i] != nil:
				t.Fatalf("round %d: %v", round, errs[i])
			case r.Outcome == gitsync.Won && winner >= 0:
				t.Fatalf("round %d: %d and %d have won", round, winner, i)
			case r.Outcome == gitsync.Won:
				winner = i
			case r.Outcome != gitsync.Lost:
				t.Fatalf("round %d: outcome %s", round, r.Outcome)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody has won", round)
		}
		old = ""
		want := Values{}
		if records[winner] != nil {
			old = records[winner].Hash()
			want[ref] = old
		}
		WantRefs(t, boards[(winner+1)%writers], want)
	}
}
