package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// entry is one ref as this member knows it.
type entry struct {
	parts    planner.Parts
	hash     planner.Hash   // the value last taken in; "" = no value
	since    time.Duration  // when that value was first seen
	record   planner.Record // of hash, where it was read
	bad      string         // why the value is not accepted: what was accepted before still holds
	last     planner.Record // the last accepted value of a node's record
	stranger bool           // bad only because its signer is not known yet
	// settled is the end of this process's last accepted push to the ref:
	// listings that began before it may show an older value.
	settled time.Duration
}

// document is the lease document of one service, by shards.
type document struct {
	shards map[int]planner.LeaseDoc
	refs   map[int]*entry
}

func sortedRefs[V any](m map[planner.Ref]V) []planner.Ref { return slices.Sorted(maps.Keys(m)) }

// take takes in one value that was read, or that an accepted push of this
// process wrote.
func (m *Member) take(ref planner.Ref, e *entry, hash planner.Hash, record planner.Record) {
	news := e.hash != hash
	e.hash, e.since, e.record = hash, m.now.Boot, record // before: what is learnt from it may look at it
	var err error
	switch e.parts.Kind {
	case planner.RefNode:
		err = m.takeNode(ref, e, hash, record)
	case planner.RefStatus:
		err = m.takeStatus(ref, e, record)
	case planner.RefBeats:
		err = m.takeBeats(ref, e, hash, record)
	case planner.RefLeases:
		err = m.takeLeases(ref, e, hash, record)
	case planner.RefFleet:
		err = m.takeFleet(ref, record)
	}
	if err != nil {
		m.refuse(ref, e, hash, record, err, news)
		return
	}
	e.bad, e.stranger = "", false
	if e.parts.Kind == planner.RefNode {
		e.last = record
	}
	if e.parts.Kind == planner.RefLeases {
		if u, waits := m.pusher.untold[ref]; waits {
			delete(m.pusher.untold, ref)
			if u.hash == hash {
				m.tell(*u.decision)
			}
		}
		m.assemble(e.parts.Service)
	}
	m.dirty = true
}

// refuse notes that a ref has a value that is not accepted; news tells that it
// was not known before.
func (m *Member) refuse(ref planner.Ref, e *entry, hash planner.Hash, record planner.Record, err error, news bool) {
	why := err.Error()
	const mostTold = 10 // of one look: somebody may write thousands
	unknown := errors.Is(err, errStranger)
	e.stranger = unknown || errors.Is(err, errOtherKey)
	if news && !unknown {
		m.stats.Refused++
		if m.look.told++; m.look.told <= mostTold {
			m.log.Error("record is not accepted: what was known before holds", "ref", string(ref), "value", hash.Short(),
				"author", planner.OneLine(string(record.Author), 80), "reason", why)
		}
	}
	if !e.stranger {
		record = planner.Record{} // nothing that is learnt later makes it good
	}
	e.hash, e.since, e.record, e.bad = hash, m.now.Boot, record, why
	if e.parts.Kind == planner.RefLeases {
		m.document(e.parts.Service).refs[e.parts.Shard] = e
		m.assemble(e.parts.Service)
	}
	if e.parts.Kind == planner.RefBeats {
		m.setBeats(e, planner.BeatForeign, false)
	}
	if f := &m.view.Fleet; e.parts.Kind == planner.RefFleet && f.Generation < m.memory.Generation {
		f.Generation, f.Tokens = m.memory.Generation, m.memory.FleetTokens // what was known before holds
	}
	m.dirty = true
}

// vanished notes that a ref that had a value has none any more.
func (m *Member) vanished(ref planner.Ref, e *entry) {
	e.hash, e.since, e.record, e.bad, e.stranger = "", m.now.Boot, planner.Record{}, "", false
	switch e.parts.Kind {
	case planner.RefLeases:
		if doc := m.docs[e.parts.Service]; doc != nil {
			delete(doc.shards, e.parts.Shard)
			delete(doc.refs, e.parts.Shard)
			m.assemble(e.parts.Service)
		}
	case planner.RefBeats:
		m.setBeats(e, planner.BeatMissing, false)
	case planner.RefStatus:
		if n, ok := m.view.Nodes[e.parts.Node]; ok {
			n.Status, m.own.body = planner.NodeStatus{}, ""
			m.view.Nodes[e.parts.Node] = n
		}
	}
	m.dirty = true
}

// single takes the only part of a record apart and finds out who signed it.
func (m *Member) single(ref planner.Ref, record planner.Record) (body, key string, err error) {
	msg, err := planner.ParseMessage(record.Message)
	if err != nil {
		return "", "", err
	}
	if len(msg.Parts) != 1 {
		return "", "", fmt.Errorf("record has %d parts instead of one", len(msg.Parts))
	}
	key, err = m.signer(ref, msg.Parts[0])
	return msg.Parts[0].Body, key, err
}

func (m *Member) signer(ref planner.Ref, part planner.Part) (string, error) {
	if part.Signature == "" {
		return "", errors.New("it is not signed")
	}
	key, err := m.cfg.Verify(ref, part.Body, part.Signature)
	if err != nil {
		return "", fmt.Errorf("its signature does not hold: %w", err)
	}
	return key, nil
}

// errOtherKey is a record whose key people may still give the node.
var errOtherKey = errors.New("its key is not the node's")

// errStranger is a record whose signer may become known yet.
var errStranger = errors.New("it is signed for a node that is not known")

// signedBy checks that a key is one of a node's.
func (m *Member) signedBy(node planner.NodeName, key string) error {
	n := m.view.Nodes[node]
	switch read := n.Record.Key != ""; {
	case node == m.self && key == m.cfg.Self.Key:
		return nil // also where the server has lost this node's record
	case !read && m.memory.Keys[node] == key:
		return nil // its record cannot be read, but its key is remembered
	case !read:
		return fmt.Errorf("%w: %q", errStranger, node)
	case n.Record.Key == key || slices.Contains(n.Record.Former, key):
		return nil
	}
	return fmt.Errorf("it is signed with a key that is not node %s's", node)
}

func (m *Member) takeStatus(ref planner.Ref, e *entry, record planner.Record) error {
	body, key, err := m.single(ref, record)
	if err != nil {
		return err
	}
	st, err := planner.ParseNodeStatus(body)
	if later := new(planner.FormatError); err != nil && !errors.As(err, &later) {
		return err
	}
	if st.Node != e.parts.Node {
		return fmt.Errorf("it says it is of node %q", st.Node)
	}
	if err := m.signedBy(st.Node, key); err != nil {
		return err
	}
	n := m.view.Nodes[st.Node]
	n.Status, n.StatusSince = st, m.now.Boot
	if st.Node == m.self {
		m.own.body = ""
	}
	m.view.Nodes[st.Node] = n
	m.ledger.saw(m, st.Node)
	return nil
}

func (m *Member) takeFleet(ref planner.Ref, record planner.Record) error {
	body, key, err := m.single(ref, record)
	if err != nil {
		return err
	}
	rec, err := planner.ParseFleetRecord(body)
	var later *planner.FormatError
	if err != nil && !errors.As(err, &later) {
		return err
	}
	if err := m.signedBy(rec.By, key); err != nil {
		return err
	}
	m.view.Fleet, m.laterFleet = rec, later != nil
	m.recordedAddresses(rec.Addresses)
	m.ledger.saw(m, rec.By)
	m.adoptGeneration(rec)
	return nil
}

func (m *Member) document(id planner.ServiceID) *document {
	doc := m.docs[id]
	if doc == nil {
		doc = &document{shards: map[int]planner.LeaseDoc{}, refs: map[int]*entry{}}
		m.docs[id] = doc
	}
	return doc
}

func (m *Member) takeLeases(ref planner.Ref, e *entry, hash planner.Hash, record planner.Record) error {
	body, key, err := m.single(ref, record)
	if err != nil {
		return err
	}
	shard, err := planner.ParseLeaseDoc(body)
	var format *planner.FormatError
	if err != nil && !errors.As(err, &format) {
		return err
	}
	if shard.Service != e.parts.Service {
		return fmt.Errorf("it says it is of service %q", shard.Service)
	}
	if err := m.signedBy(shard.By, key); err != nil {
		return err
	}
	doc := m.document(e.parts.Service)
	doc.shards[e.parts.Shard], doc.refs[e.parts.Shard] = shard, e
	if m.memory.seenTokens(shard.Service, shard.Tokens) {
		m.unsaved = true
	}
	m.ledger.saw(m, shard.By)
	return nil
}

// assemble makes the view of a document anew from its shards.
func (m *Member) assemble(id planner.ServiceID) {
	doc := m.docs[id]
	view := planner.DocView{Since: m.now.Boot}
	for _, shard := range slices.Sorted(maps.Keys(doc.refs)) {
		if e := doc.refs[shard]; e.bad != "" && view.Broken == "" {
			view.Broken = e.bad
		}
	}
	for _, shard := range doc.shards {
		view.TooNew = view.TooNew || shard.Format > planner.MaxFormat
	}
	if len(doc.refs) == 0 {
		delete(m.docs, id)
		delete(m.view.Docs, id)
		return
	}
	if view.TooNew { // what stood when it could be read goes on to be healed
		for _, d := range m.memory.Docs {
			if d.Service == id {
				view.Before = d
			}
		}
	}
	view.Doc = planner.JoinShards(doc.shards)
	view.Doc.Service = id
	view.StepSince = m.now.Boot
	before, known := m.view.Docs[id]
	if known && SameStep(before.Doc, view.Doc) {
		view.StepSince = before.StepSince
	}
	switch {
	case known && before.Doc.Commit == view.Doc.Commit:
		view.Earlier = before.Earlier
	case known || m.whole: // else it may have been there before this process was
		view.Earlier = &before.Doc
	}
	m.view.Docs[id] = view
}
