package gitsynctest_test

import (
	"fmt"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestMemoryRing: a ring of beats adds no object after its first round.
func TestMemoryRing(t *testing.T) {
	m := gitsynctest.NewMemory()
	b := m.Board()
	old := planner.Hash("")
	for i := range 1000 {
		r := gitsynctest.NewRecord("a", i%64)
		gitsynctest.WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{{Ref: planner.BeatsRef("a"), Old: old, New: r}}}, gitsync.Won)
		old = r.Hash()
	}
	want := gitsynctest.Counts{Pushes: 1000, Changes: 1000, Objects: 64}
	if got := m.Counts(); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

// TestMemoryBackup: a restored backup is what was, and the values since can
// still be read.
func TestMemoryBackup(t *testing.T) {
	m := gitsynctest.NewMemory()
	b := m.Board()
	r1, r2 := gitsynctest.NewRecord("a", 1), gitsynctest.NewRecord("a", 2)
	ref := planner.NodeRef("a")
	change := func(old planner.Hash, r *planner.Record) gitsync.Push {
		return gitsync.Push{Changes: []gitsync.Change{{Ref: ref, Old: old, New: r}}}
	}
	gitsynctest.WantSwap(t, b, change("", r1), gitsync.Won)
	backup := m.Snapshot()
	seen := gitsynctest.WantRefs(t, b, gitsynctest.Values{ref: r1.Hash()})
	gitsynctest.WantSwap(t, b, change(r1.Hash(), r2), gitsync.Won)
	if seen.Refs[ref] != r1.Hash() {
		t.Error("a listing changed after it was handed out")
	}
	m.Restore(backup)
	gitsynctest.WantRefs(t, b, gitsynctest.Values{ref: r1.Hash()})
	if got, _ := b.Read(t.Context(), gitsynctest.Values{ref: r2.Hash()}); got.Records[ref] != *r2 {
		t.Errorf("read %v", got)
	}
}

// TestMemoryHooks are the ways around a board that simulations take.
func TestMemoryHooks(t *testing.T) {
	m := gitsynctest.NewMemory()
	b := m.Board()
	r := gitsynctest.NewRecord("eve", 1)
	m.Set(planner.FleetRef, r)
	m.Set("junk/1", r)
	m.SetTip("tip")
	m.Corrupt(planner.NodeRef("a"), "bad", "it is larger than 256 KiB")
	if l, _ := b.List(t.Context()); l.Ignored != 1 || l.Tip != "tip" || len(l.Refs) != 2 || l.Refs[planner.FleetRef] != r.Hash() {
		t.Errorf("listing %+v", l)
	}
	got, _ := b.Read(t.Context(), gitsynctest.Values{planner.NodeRef("a"): "bad", planner.FleetRef: r.Hash(), planner.NodeRef("b"): "gone"})
	if len(got.Records) != 1 || got.Unreadable[planner.NodeRef("a")] == "" {
		t.Errorf("read %+v", got)
	}
	m.Set(planner.FleetRef, nil)
	if _, ok := m.Record(planner.FleetRef); ok || len(m.Refs()) != 2 {
		t.Errorf("refs %v", m.Refs())
	}
}

// TestAttack39MemoryIgnoresOldValues: the broken server that checkers of
// histories must reject.
func TestAttack39MemoryIgnoresOldValues(t *testing.T) {
	m := gitsynctest.NewMemory()
	m.CompareOff()
	b := m.Board()
	for i := range 3 {
		gitsynctest.WantSwap(t, b, gitsync.Push{Changes: []gitsync.Change{{Ref: planner.NodeRef("a"), New: gitsynctest.NewRecord("a", i)}}}, gitsync.Won)
	}
	if able, _ := b.Probe(t.Context(), "a"); able.Compares || able.Atomic {
		t.Errorf("abilities %+v", able)
	}
}

func BenchmarkMemory(b *testing.B) {
	m := gitsynctest.NewMemory()
	board := m.Board()
	for i := range 30 {
		m.Set(planner.StatusRef(planner.NodeName(fmt.Sprint("n", i))), gitsynctest.NewRecord("a", i))
	}
	b.Run("list of 30", func(b *testing.B) {
		for range b.N {
			_, _ = board.List(b.Context())
		}
	})
	b.Run("swap among 30", func(b *testing.B) {
		old := m.Refs()[planner.StatusRef("n0")]
		for i := range b.N {
			next := gitsynctest.NewRecord("a", i)
			gitsynctest.WantSwap(b, board, gitsync.Push{Changes: []gitsync.Change{{Ref: planner.StatusRef("n0"), Old: old, New: next}}}, gitsync.Won)
			old = next.Hash()
		}
	})
}
