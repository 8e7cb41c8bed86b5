package fleet

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// takeNode takes in a node's record: what it signed, and what a fencer added.
func (m *Member) takeNode(ref planner.Ref, e *entry, hash planner.Hash, record planner.Record) error {
	msg, err := planner.ParseMessage(record.Message)
	if err != nil {
		return err
	}
	rec, err := planner.ParseNodeMessage(record.Message)
	if later := new(planner.FormatError); err != nil && !errors.As(err, &later) {
		return err
	}
	name := e.parts.Node
	if rec.Node != name {
		return fmt.Errorf("it says it is of node %q", rec.Node)
	}
	key, err := m.signer(ref, msg.Parts[0])
	if err != nil {
		return err
	}
	if key != rec.Key {
		return errors.New("it is signed with another key than it names")
	}
	if err := m.mayHaveKey(rec); err != nil {
		return err
	}
	if rec.Fence != nil {
		if err := m.fencedBy(ref, *rec.Fence, msg.Parts[1]); err != nil {
			return err
		}
	}
	m.setNode(name, rec)
	return nil
}

func (m *Member) fencedBy(ref planner.Ref, fence planner.Fence, part planner.Part) error {
	key, err := m.signer(ref, part)
	if err != nil {
		return fmt.Errorf("fence by %s: %w", fence.By, err)
	}
	if err := m.signedBy(fence.By, key); err != nil {
		return fmt.Errorf("fence by %s: %w", fence.By, err)
	}
	return nil
}

// mayHaveKey holds a name to its key: the one people give it, else the one it
// was first seen with. Another key may take the name over only after a fence,
// which the epoch shows where the fence itself was not seen (design L12). Where
// people give a name another key, the record of the machine it had goes on to
// count until the new one registers, so that its epochs are not lost.
func (m *Member) mayHaveKey(rec planner.NodeRecord) error {
	spec := m.followed.Nodes[rec.Node]
	known, seen := m.memory.Keys[rec.Node]
	before := m.view.Nodes[rec.Node].Record
	switch {
	case spec.Key == rec.Key && spec.Key != "":
		return nil
	case spec.Key != "" && rec.Node == m.self && spec.Key == m.cfg.Self.Key:
		return nil // of the machine this one replaces
	case spec.Key != "" && known == rec.Key && before.Key != spec.Key:
		return nil
	case spec.Key != "":
		return fmt.Errorf("%w: %s gives another one", errOtherKey, spec.File)
	case !seen || known == rec.Key:
		return nil
	case before.Fence != nil || before.Retired, rec.Epoch >= m.memory.Epochs[rec.Node]+2:
		return nil
	}
	return fmt.Errorf("%w so far: another machine uses the name; if it replaces the node, give its key in the node's manifest", errOtherKey)
}

// keysOf tells whether the keys that people give nodes have changed.
func keysOf(nodes map[planner.NodeName]planner.NodeSpec) string {
	var keys []string
	for name, n := range nodes {
		if n.Key != "" {
			keys = append(keys, string(name)+" "+n.Key)
		}
	}
	slices.Sort(keys)
	return strings.Join(keys, "\n")
}

// setNode lays a verified record into the view.
func (m *Member) setNode(name planner.NodeName, rec planner.NodeRecord) {
	n, known := m.view.Nodes[name]
	before := n.Record
	if !known {
		s := m.sights[name]
		n.Probe, n.ProbeSince = s.State, m.now.Boot
		n.BeatsSince = m.now.Boot
	}
	n.Record = rec
	m.watchlist = nil
	if rec.Fence == nil {
		n.Life = m.now.Boot // only the node itself writes without a fence
	}
	m.view.Nodes[name] = n
	if m.memory.Epochs[name] < rec.Epoch {
		m.memory.Epochs[name], m.unsaved = rec.Epoch, true
	}
	if m.memory.Keys[name] != rec.Key {
		m.memory.Keys[name], m.unsaved = rec.Key, true
	}
	host := rec.Address
	if !rec.Live() {
		host = ""
	}
	if m.memory.Hosts[name] != host {
		m.memory.Hosts[name], m.unsaved = host, true
	}
	if !known || before.Salt != rec.Salt || before.Epoch != rec.Epoch {
		m.beatsAnew(name)
	}
	if n := m.view.Nodes[name]; name != m.self && rec.Fence == nil && n.BeatsKind == planner.BeatRing {
		// Between two looks it may have ended its beats with the record and
		// begun again with the value that stood before.
		n.BeatsSince = m.now.Boot
		m.view.Nodes[name] = n
	}
	if placement(before) != placement(rec) || !reflect.DeepEqual(before.Labels, rec.Labels) || !reflect.DeepEqual(before.Taints, rec.Taints) {
		m.view.NodesSince = m.now.Boot
	}
	if before.Live() != rec.Live() || before.Address != rec.Address {
		m.stretch()
		m.gather()
	}
	if !known {
		m.reverify()
	}
	writer := name
	if rec.Fence != nil {
		writer = rec.Fence.By
	}
	m.ledger.saw(m, writer)
	if name == m.self {
		m.own.took(m, rec)
	}
}

// placement is what of a record decides where work goes, but for labels and
// taints.
func placement(r planner.NodeRecord) string {
	return fmt.Sprint(r.Live(), r.Epoch, r.Capacity, r.Drivers, r.OS, r.Arch)
}

// reverify looks again at records whose signer was not known.
func (m *Member) reverify() {
	for _, ref := range sortedRefs(m.entries) {
		if e := m.entries[ref]; e.stranger {
			m.take(ref, e, e.hash, e.record)
		}
	}
}
