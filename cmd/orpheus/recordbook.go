package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync/trust"
	"github.com/orpheus-cd/orpheus/planner"
)

// recordBook is what the newest records of a fleet say, as far as their
// signatures hold.
type recordBook struct {
	store recordStore
	specs map[planner.NodeName]planner.NodeSpec
	view  planner.View // of what is verified
	keys  map[planner.NodeName][]string
	at    map[planner.Ref]time.Time // when they were written, as their writers say
	bad   map[planner.Ref]string    // why a record is not verified
	// manifests are those here, if any were read.
	manifests map[planner.ServiceID]planner.Service
}

// readBook reads and verifies all records of the kinds that were fetched but
// lease documents, which readLeases does. Its error means that nothing can be
// read; what is wrong with one record stands in bad.
func readBook(store recordStore, specs map[planner.NodeName]planner.NodeSpec) (*recordBook, error) {
	b := &recordBook{
		store: store, specs: specs,
		view: planner.View{Nodes: map[planner.NodeName]planner.NodeView{}, Docs: map[planner.ServiceID]planner.DocView{}},
		keys: map[planner.NodeName][]string{}, at: map[planner.Ref]time.Time{}, bad: map[planner.Ref]string{},
	}
	fenced := map[planner.Ref]planner.Part{}
	steps := []struct {
		kind planner.RefKind
		take func(planner.Ref, planner.Record) error
	}{
		{planner.RefNode, func(ref planner.Ref, r planner.Record) error { return b.takeNode(ref, r, fenced) }},
		{planner.RefStatus, b.takeStatus},
	}
	for _, step := range steps {
		if err := b.each(step.kind, step.take); err != nil {
			return nil, err
		}
		if step.kind == planner.RefNode {
			b.takeFences(fenced)
		}
	}
	return b, nil
}

// refs lists the refs of one kind in order.
func (b *recordBook) refs(kind planner.RefKind) []planner.Ref {
	refs := slices.Sorted(maps.Keys(b.store.values()))
	return slices.DeleteFunc(refs, func(r planner.Ref) bool { return r.Parse().Kind != kind })
}

// each reads the newest records of one kind.
func (b *recordBook) each(kind planner.RefKind, take func(planner.Ref, planner.Record) error) error {
	for _, ref := range b.refs(kind) {
		record, err := b.store.read(ref, b.store.values()[ref])
		if errors.Is(err, errStore) {
			return err
		}
		if err == nil {
			b.at[ref] = writtenAt(record)
			err = take(ref, record)
		}
		if err != nil {
			b.bad[ref] = err.Error()
		}
	}
	return nil
}

// writtenAt is when a record says it was written; zero where that is no time.
func writtenAt(r planner.Record) time.Time {
	const year9999 = 253402300799
	if r.At <= 0 || r.At > year9999 {
		return time.Time{}
	}
	return time.Unix(r.At, 0).UTC()
}

// takeNode verifies what a node wrote of itself. What a fencer added is left
// in fenced, until the keys of all are known.
func (b *recordBook) takeNode(ref planner.Ref, record planner.Record, fenced map[planner.Ref]planner.Part) error {
	m, err := planner.ParseMessage(record.Message)
	if err != nil {
		return err
	}
	rec, err := planner.ParseNodeMessage(record.Message)
	if err != nil {
		return err
	}
	name := ref.Parse().Node
	if rec.Node != name {
		return fmt.Errorf("it says it is of node %q", rec.Node)
	}
	key, err := signerOf(ref, m.Parts[0])
	spec := b.specs[name]
	switch {
	case err != nil:
		return err
	case key != rec.Key:
		return errors.New("it is signed with another key than it names")
	case spec.Key != "" && spec.Key != rec.Key:
		return fmt.Errorf("its key is not the one that %s gives", spec.File)
	}
	b.keys[name] = append([]string{rec.Key}, rec.Former...)
	b.view.Nodes[name] = planner.NodeView{Record: rec}
	if rec.Fence != nil {
		fenced[ref] = m.Parts[1]
	}
	return nil
}

// takeFences verifies the fences. A record with one that does not verify is
// not accepted by agents, nor here.
func (b *recordBook) takeFences(fenced map[planner.Ref]planner.Part) {
	for ref, part := range fenced {
		name := ref.Parse().Node
		fence := b.view.Nodes[name].Record.Fence
		key, err := signerOf(ref, part)
		if err == nil {
			err = b.signedBy(fence.By, key)
		}
		if err != nil {
			b.bad[ref] = fmt.Sprintf("fence by %s: %v", fence.By, err)
			delete(b.view.Nodes, name)
		}
	}
}

func signerOf(ref planner.Ref, part planner.Part) (string, error) {
	if part.Signature == "" {
		return "", errors.New("it is not signed")
	}
	return trust.Verify(ref, part.Body, part.Signature)
}

// signedBy checks that a key is one of a node's.
func (b *recordBook) signedBy(node planner.NodeName, key string) error {
	keys, known := b.keys[node]
	switch {
	case !known:
		return fmt.Errorf("it is signed for node %q, whose record is missing or not verified", node)
	case !slices.Contains(keys, key):
		return fmt.Errorf("it is signed with a key that is not node %s's", node)
	}
	return nil
}

// signed takes the one part of a record apart.
func signed(ref planner.Ref, record planner.Record) (body, key string, err error) {
	m, err := planner.ParseMessage(record.Message)
	if err != nil {
		return "", "", err
	}
	part, err := m.Only()
	if err != nil {
		return "", "", err
	}
	key, err = signerOf(ref, part)
	return part.Body, key, err
}

func (b *recordBook) takeStatus(ref planner.Ref, record planner.Record) error {
	body, key, err := signed(ref, record)
	if err != nil {
		return err
	}
	st, err := planner.ParseNodeStatus(body)
	if err != nil {
		return err
	}
	name := ref.Parse().Node
	if st.Node != name {
		return fmt.Errorf("it says it is of node %q", st.Node)
	}
	if err := b.signedBy(name, key); err != nil {
		return err
	}
	if n, ok := b.view.Nodes[name]; ok {
		n.Status = st
		b.view.Nodes[name] = n
	}
	return nil
}

// readLeases reads and verifies the newest lease documents.
func (b *recordBook) readLeases() error {
	shards := map[planner.ServiceID]map[int]planner.LeaseDoc{}
	err := b.each(planner.RefLeases, func(ref planner.Ref, record planner.Record) error {
		doc, err := b.document(ref, record)
		if err != nil {
			return err
		}
		parts := ref.Parse()
		if shards[parts.Service] == nil {
			shards[parts.Service] = map[int]planner.LeaseDoc{}
		}
		shards[parts.Service][parts.Shard] = doc
		return nil
	})
	for id, docs := range shards {
		b.view.Docs[id] = planner.DocView{Doc: planner.JoinShards(docs)}
	}
	return err
}

// document verifies one value of a shard of a lease document.
func (b *recordBook) document(ref planner.Ref, record planner.Record) (planner.LeaseDoc, error) {
	body, key, err := signed(ref, record)
	if err != nil {
		return planner.LeaseDoc{}, err
	}
	doc, err := planner.ParseLeaseDoc(body)
	if err != nil {
		return planner.LeaseDoc{}, err
	}
	if id := ref.Parse().Service; doc.Service != id {
		return planner.LeaseDoc{}, fmt.Errorf("it says it is of service %q", doc.Service)
	}
	return doc, b.signedBy(doc.By, key)
}
