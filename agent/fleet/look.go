package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// lookState is where the member is in looking at the records: a listing, then
// a read of what changed.
type lookState struct {
	due      bool          // look now
	next     time.Duration // boot time of the next look without a reason
	listing  bool          // under way
	reading  bool          // under way
	begin    time.Duration // of the last listing
	wanted   map[planner.Ref]planner.Hash
	asked    map[planner.Ref]planner.Hash // of wanted, in the read under way
	told     int                          // refused records that were logged of this look
	failures int                          // in a row
	err      string                       // of the last look; "" = it succeeded
	since    time.Duration
	ignored  int // refs that are no records
	tip      planner.Hash
}

const (
	// maxLookWait is the longest pause after failed looks.
	maxLookWait = 10 * time.Second
	// lookGap keeps pokes from becoming a load.
	lookGap = 100 * time.Millisecond
)

// stepLook asks for the next listing or read.
func (m *Member) stepLook(todo *Todo) {
	l := &m.look
	if l.listing || l.reading {
		return
	}
	if len(l.wanted) > 0 {
		l.reading = true
		m.stats.Reads++
		l.asked = m.batch()
		todo.Read = l.asked
		return
	}
	if !l.due && l.next > m.now.Boot {
		return
	}
	if soon := l.begin + lookGap; l.begin > 0 && m.now.Boot < soon {
		l.next = soon // news, but too soon after the last look
		return
	}
	l.due, l.listing, l.begin = false, true, m.now.Boot
	l.next = m.now.Boot + m.jitter(m.view.Poll)
	m.stats.Lists++
	todo.List = true
}

// readsPerLook is what one look costs of the budget: a listing, and now and
// then a read and a look at the branch.
const readsPerLook = 3

// turn is how long this node leaves the server to those before it by name, so
// that looks with one cause keep within the budget.
func (m *Member) turn() time.Duration {
	budget := m.followed.Fleet.Budgets.WithDefaults()
	before, _ := slices.BinarySearch(m.everybody(), m.self)
	return time.Duration(before*readsPerLook) * time.Second / time.Duration(budget.ReadsPerSecond)
}

// jitter spreads an interval by a tenth to either side.
func (m *Member) jitter(d time.Duration) time.Duration {
	tenth := int64(d / 10)
	if tenth <= 0 {
		return d
	}
	return d - time.Duration(tenth) + time.Duration(m.cfg.Random()%uint64(2*tenth))
}

// Listed tells the outcome of a listing that began at the last Step that asked
// for it.
func (m *Member) Listed(list gitsync.Listing, err error, now planner.Time) {
	m.now = now
	l := &m.look
	l.listing = false
	if err != nil {
		m.lookFailed(fmt.Errorf("list records: %w", err))
		return
	}
	l.wanted = map[planner.Ref]planner.Hash{}
	l.told = 0
	l.ignored, l.tip = list.Ignored, list.Tip
	m.confirm(list.Refs)
	for ref, hash := range list.Refs {
		m.listed(ref, hash)
	}
	for ref, e := range m.entries {
		if _, ok := list.Refs[ref]; !ok && e.hash != "" && l.begin >= e.settled {
			m.vanished(ref, e)
		}
	}
	if len(l.wanted) == 0 {
		m.looked()
	} else {
		m.fresh = false
	}
}

// listed compares one listed value with what is known.
func (m *Member) listed(ref planner.Ref, hash planner.Hash) {
	e := m.entries[ref]
	if e == nil {
		parts := ref.Parse()
		if parts.Kind == planner.RefOther {
			return
		}
		e = &entry{parts: parts}
		m.entries[ref] = e
	}
	if e.hash == hash || m.look.begin < e.settled {
		return // known, or older than what this process knows to have been accepted
	}
	if e.parts.Kind == planner.RefBeats && m.beat(e, hash) {
		return
	}
	m.look.wanted[ref] = hash
}

// Read tells what a read of Todo.Read brought.
func (m *Member) Read(reading gitsync.Reading, err error, now planner.Time) {
	m.now = now
	l := &m.look
	l.reading = false
	if err != nil {
		m.lookFailed(fmt.Errorf("read records: %w", err))
		return
	}
	wanted := l.asked
	l.asked = nil
	for ref := range wanted {
		delete(l.wanted, ref)
	}
	moved := false
	for _, kind := range kinds {
		for _, ref := range sortedRefs(wanted) {
			e := m.entries[ref]
			if e.parts.Kind != kind || l.begin < e.settled {
				continue
			}
			if why, bad := reading.Unreadable[ref]; bad {
				m.refuse(ref, e, wanted[ref], planner.Record{}, errors.New(why), e.hash != wanted[ref])
			} else if record, ok := reading.Records[ref]; ok {
				m.take(ref, e, wanted[ref], record)
			} else {
				moved = true
			}
		}
	}
	switch {
	case moved:
		l.due, l.wanted = true, nil // some have another value by now
	case len(l.wanted) == 0:
		m.looked()
	}
}

// kinds is the order in which records are read and taken in: nodes first,
// whose keys verify all else, and last the fleet's, which may say that what is
// lower than before is meant so.
var kinds = []planner.RefKind{planner.RefNode, planner.RefStatus, planner.RefBeats, planner.RefLeases, planner.RefFleet}

// maxBatch bounds one read, and with it what is held of it in memory.
const maxBatch = 256

// batch is what to read next of what is wanted.
func (m *Member) batch() map[planner.Ref]planner.Hash {
	if len(m.look.wanted) <= maxBatch {
		return maps.Clone(m.look.wanted)
	}
	batch := map[planner.Ref]planner.Hash{}
	refs := sortedRefs(m.look.wanted)
	for _, kind := range kinds {
		for _, ref := range refs {
			if m.entries[ref].parts.Kind == kind && len(batch) < maxBatch {
				batch[ref] = m.look.wanted[ref]
			}
		}
	}
	return batch
}

// looked notes that all of the last listing is known.
func (m *Member) looked() {
	l := &m.look
	if l.err != "" {
		m.log.Info("records can be read again", "after", m.now.Boot-l.since)
	}
	m.dirty = m.dirty || l.failures > 0 // what was decided before is old
	l.failures, l.err = 0, ""
	m.view.Health.Read = l.begin
	m.fresh = true
	maps.DeleteFunc(m.entries, func(_ planner.Ref, e *entry) bool { return e.hash == "" && m.now.Boot > e.settled+maxLookWait })
	first := !m.whole
	if m.whole = true; first {
		m.watchlist = nil
	}
	m.checkRegress()
	if first {
		m.dirty = true
	}
}

func (m *Member) lookFailed(err error) {
	l := &m.look
	if l.err == "" {
		l.since = m.now.Boot
		m.log.Warn("records cannot be read: nothing moves, everything runs on", "err", err)
	}
	l.err = err.Error()
	l.failures++
	l.wanted = nil
	m.fresh = false
	m.view.Health.ReadFailed = m.now.Boot
	wait := min(m.view.Poll<<min(l.failures-1, 6), max(maxLookWait, m.view.Poll))
	l.due = false
	l.next = m.now.Boot + m.jitter(wait)
}

// Blind reports whether the repository could not be read for a while, which
// peers are told.
func (m *Member) Blind() bool {
	return m.look.failures > 0 && m.now.Boot-m.view.Health.Read > 3*m.view.Poll
}

// stretch sets the intervals so that the whole fleet keeps within its budget:
// each look costs a listing, and now and then a read and a look at the branch.
func (m *Member) stretch() {
	budget := m.followed.Fleet.Budgets.WithDefaults()
	n := 0
	silent := 0 // nodes that peers cannot reach, which beat
	for _, node := range m.view.Nodes {
		if node.Live() {
			n++
			if node.Record.Address == "" {
				silent++
			}
		}
	}
	m.view.Poll = max(m.followed.Fleet.Poll(), time.Duration(n*readsPerLook)*time.Second/time.Duration(budget.ReadsPerSecond))
	// A quarter of the pushes is for beats.
	m.view.Beat = max(planner.BeatInterval, time.Duration(max(silent, 1))*4*time.Minute/time.Duration(budget.PushesPerMinute))
	m.view.Few = 0
	if budget.PushesPerMinute < 10*n {
		m.view.Few = max(1, budget.PushesPerMinute/3)
	}
}
