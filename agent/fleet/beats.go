package fleet

import (
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
)

// ring is the beats of one agent process.
type ring struct {
	salt  string
	beats *planner.Beats
}

// ringOf is the ring of the agent process that a node's record names.
func (m *Member) ringOf(node planner.NodeName) *planner.Beats {
	salt := m.view.Nodes[node].Record.Salt
	if r := m.rings[node]; r.beats == nil || r.salt != salt {
		m.rings[node] = ring{salt, planner.Ring(node, salt)}
	}
	return m.rings[node].beats
}

// beat takes in a value of a beats ref that need not be read: one of the
// node's ring.
func (m *Member) beat(e *entry, hash planner.Hash) bool {
	node := e.parts.Node
	if _, known := m.view.Nodes[node]; !known {
		return false
	}
	at, ok := m.ringOf(node).Index(hash)
	if !ok {
		return false
	}
	if node == m.self {
		m.own.beatIndex = at + 1 // an answer with the value of before would be none to who saw only that
	}
	e.hash, e.since, e.record, e.bad = hash, m.now.Boot, planner.Record{}, ""
	m.setBeats(e, planner.BeatRing, true)
	m.ledger.saw(m, node)
	return true
}

// takeBeats takes in a value that was read: a beat of another ring, a
// challenge, or a fence value.
func (m *Member) takeBeats(ref planner.Ref, e *entry, hash planner.Hash, record planner.Record) error {
	if m.beat(e, hash) {
		return nil
	}
	mark, err := m.mark(ref, record)
	if err != nil {
		return err
	}
	if mark == nil { // a beat of another process or life
		m.setBeats(e, planner.BeatForeign, false)
		return nil
	}
	if mark.Node != e.parts.Node {
		return fmt.Errorf("it says it is of node %q", mark.Node)
	}
	kind, alive := planner.BeatForeign, false
	switch {
	case !mark.Challenge && mark.Epoch > m.view.Nodes[mark.Node].Record.Epoch:
		kind = planner.BeatFence
	case mark.Challenge:
		if _, ok := m.ringOf(mark.Node).Index(mark.Replaced); ok {
			// Another challenge than the one seen before shows life: between
			// them stood the ring value that this one replaced.
			kind, alive = planner.BeatChallenge, m.view.Nodes[mark.Node].BeatsKind == planner.BeatChallenge
		}
	}
	m.setBeats(e, kind, alive)
	m.ledger.saw(m, mark.By)
	return nil
}

// mark reads a challenge or fence value; nil = the record is a beat.
func (m *Member) mark(ref planner.Ref, record planner.Record) (*planner.BeatMark, error) {
	msg, err := planner.ParseMessage(record.Message)
	if err != nil {
		return nil, err
	}
	if len(msg.Parts) != 1 {
		return nil, fmt.Errorf("record has %d parts instead of one", len(msg.Parts))
	}
	if msg.Parts[0].Signature == "" {
		return nil, nil // beats are not signed: only their hash counts
	}
	mark, err := planner.ParseBeatMark(msg.Parts[0].Body)
	if err != nil {
		return nil, err
	}
	key, err := m.signer(ref, msg.Parts[0])
	if err != nil {
		return nil, err
	}
	return &mark, m.signedBy(mark.By, key)
}

// setBeats notes what the beats of a node are now.
func (m *Member) setBeats(e *entry, kind planner.BeatKind, alive bool) {
	n, known := m.view.Nodes[e.parts.Node]
	if !known {
		return
	}
	n.Beats, n.BeatsKind, n.BeatsSince = e.hash, kind, m.now.Boot
	if alive {
		n.Life = m.now.Boot
	}
	m.view.Nodes[e.parts.Node] = n
	m.dirty = true
}

// beatsAnew judges a node's beats by its new record. They are not seen to have
// moved: since when they stand as they do is kept.
func (m *Member) beatsAnew(node planner.NodeName) {
	ref := planner.BeatsRef(node)
	e := m.entries[ref]
	if e == nil || e.hash == "" {
		return
	}
	since, life := e.since, m.view.Nodes[node].Life
	defer func() {
		e.since = since
		n := m.view.Nodes[node]
		n.BeatsSince, n.Life = since, life
		m.view.Nodes[node] = n
	}()
	if e.record.Message == "" {
		if !m.beat(e, e.hash) {
			m.setBeats(e, planner.BeatForeign, false)
		}
	} else {
		m.take(ref, e, e.hash, e.record)
	}
}
