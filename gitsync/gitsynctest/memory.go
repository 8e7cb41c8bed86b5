package gitsynctest

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// Memory is a repository of records in memory, with the semantics of git's
// receive-pack: every change compares the old value, plain pushes have an
// outcome per ref, atomic ones are all or none, a name cannot be both a ref
// and a folder of refs. It has no goroutine, no clock and no chance: the same
// calls have the same results. It is safe for concurrent use.
type Memory struct {
	mu sync.Mutex
	// refs is replaced, never changed: List hands it out. So is all.
	refs    map[planner.Ref]planner.Hash
	all     map[planner.Ref]planner.Hash // with those that are no records
	records map[planner.Hash]planner.Record
	broken  map[planner.Hash]string // what is no record, and why
	tip     planner.Hash
	counts  Counts

	compareOff, atomicOff bool
}

// Counts is what was asked of a repository.
type Counts struct {
	Lists, Reads, Pushes int
	// Changes of refs that were asked for, and those among them that were lost.
	Changes, Lost int
	// Objects is the number of different records ever sent, kept or not.
	Objects int
}

// NewMemory makes an empty repository.
func NewMemory() *Memory {
	return &Memory{
		refs:    map[planner.Ref]planner.Hash{},
		all:     map[planner.Ref]planner.Hash{},
		records: map[planner.Hash]planner.Record{},
		broken:  map[planner.Hash]string{},
	}
}

// CompareOff makes the repository one that ignores old values: a broken
// server. It is for good.
func (m *Memory) CompareOff() { m.compareOff = true }

// AtomicOff makes the repository one that refuses atomic pushes of several
// changes. It is for good.
func (m *Memory) AtomicOff() { m.atomicOff = true }

// Board is a way to the repository.
func (m *Memory) Board() *MemoryBoard { return &MemoryBoard{memory: m} }

// Counts returns what was asked of the repository so far, by all.
func (m *Memory) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counts
	c.Objects = len(m.records)
	return c
}

// Refs returns all values, also of refs that are no records.
func (m *Memory) Refs() map[planner.Ref]planner.Hash {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.all)
}

// Record returns the value of a ref.
func (m *Memory) Record(ref planner.Ref) (planner.Record, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[m.all[ref]]
	return r, ok
}

// Set gives a ref a value without comparing: a person with git, or a
// hostile node. nil deletes.
func (m *Memory) Set(ref planner.Ref, record *planner.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	refs, all := maps.Clone(m.refs), maps.Clone(m.all)
	put(refs, all, ref, m.keep(record))
	m.refs, m.all = refs, all
}

// Corrupt gives a ref a value that cannot be read, for the reason given.
func (m *Memory) Corrupt(ref planner.Ref, id planner.Hash, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	refs, all := maps.Clone(m.refs), maps.Clone(m.all)
	m.broken[id] = why
	put(refs, all, ref, id)
	m.refs, m.all = refs, all
}

// SetTip moves the branch.
func (m *Memory) SetTip(tip planner.Hash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tip = tip
}

// Backup is the state of a repository at one instant.
type Backup struct {
	refs, all map[planner.Ref]planner.Hash
	tip       planner.Hash
}

// Snapshot makes a backup.
func (m *Memory) Snapshot() Backup {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Backup{refs: m.refs, all: m.all, tip: m.tip}
}

// Restore puts a backup in place of what is.
func (m *Memory) Restore(b Backup) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refs, m.all, m.tip = b.refs, b.all, b.tip
}

// put sets a ref in copies of the maps; id "" deletes it.
func put(refs, all map[planner.Ref]planner.Hash, ref planner.Ref, id planner.Hash) {
	if id == "" {
		delete(refs, ref)
		delete(all, ref)
		return
	}
	all[ref] = id
	if ref.Parse().Kind != planner.RefOther {
		refs[ref] = id
	}
}

// MemoryBoard is a gitsync.Board on a Memory. It never fails.
type MemoryBoard struct{ memory *Memory }

var _ gitsync.Board = (*MemoryBoard)(nil)

// List implements gitsync.Board. It costs nothing but a lock: the map is
// shared, and must not be changed.
func (b *MemoryBoard) List(context.Context) (gitsync.Listing, error) {
	m := b.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.Lists++
	return gitsync.Listing{Refs: m.refs, Tip: m.tip, Ignored: len(m.all) - len(m.refs)}, nil
}

// Read implements gitsync.Board. Values that no ref has any more can be read
// for ever.
func (b *MemoryBoard) Read(_ context.Context, want map[planner.Ref]planner.Hash) (gitsync.Reading, error) {
	m := b.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.Reads++
	out := gitsync.Reading{Records: make(map[planner.Ref]planner.Record, len(want)), Unreadable: map[planner.Ref]string{}}
	for ref, id := range want {
		if r, ok := m.records[id]; ok {
			out.Records[ref] = r
		} else if why, ok := m.broken[id]; ok {
			out.Unreadable[ref] = why
		}
	}
	return out, nil
}

// Probe tells what the repository was made to be able to do.
func (b *MemoryBoard) Probe(context.Context, string) (gitsync.Abilities, error) {
	return gitsync.Abilities{Compares: !b.memory.compareOff, Atomic: !b.memory.compareOff && !b.memory.atomicOff, V2: true}, nil
}

// Swap implements gitsync.Board.
func (b *MemoryBoard) Swap(_ context.Context, push gitsync.Push) ([]gitsync.Result, error) {
	m := b.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	results := make([]gitsync.Result, len(push.Changes))
	if err := push.Check(); err != nil {
		for i := range results {
			results[i].Outcome = gitsync.Lost
		}
		return results, err
	}
	m.counts.Pushes++
	m.counts.Changes += len(push.Changes)
	refs, all := maps.Clone(m.refs), maps.Clone(m.all)
	won := 0
	for i, c := range push.Changes {
		id := m.keep(c.New) // sent is sent, whatever becomes of the ref
		if reason := m.refuses(all, c); reason != "" {
			results[i] = gitsync.Result{Outcome: gitsync.Lost, Reason: reason}
			continue
		}
		put(refs, all, c.Ref, id)
		results[i].Outcome = gitsync.Won
		won++
	}
	if push.Atomic && len(results) > 1 && (m.atomicOff || won < len(results)) {
		for i := range results {
			results[i] = gitsync.Result{Outcome: gitsync.Lost, Reason: "atomic push failed"}
		}
		won = 0
	}
	m.counts.Lost += len(results) - won
	if won > 0 {
		m.refs, m.all = refs, all
	}
	return results, nil
}

// keep stores a record, if there is one, and returns its hash.
func (m *Memory) keep(record *planner.Record) planner.Hash {
	if record == nil {
		return ""
	}
	id := record.Hash()
	m.records[id] = *record
	return id
}

// refuses says why a change is refused; "" = it is not.
func (m *Memory) refuses(all map[planner.Ref]planner.Hash, c gitsync.Change) string {
	now, exists := all[c.Ref]
	if now != c.Old && !m.compareOff || !exists && c.New != nil && collides(all, c.Ref) {
		return "failed to update ref"
	}
	return ""
}

// collides reports whether ref cannot be beside the others: one of them is a
// folder above it, or lies below it.
func collides(all map[planner.Ref]planner.Hash, ref planner.Ref) bool {
	for i := range len(ref) {
		if ref[i] == '/' {
			if _, ok := all[ref[:i]]; ok {
				return true
			}
		}
	}
	for other := range all {
		if strings.HasPrefix(string(other), string(ref)+"/") {
			return true
		}
	}
	return false
}
