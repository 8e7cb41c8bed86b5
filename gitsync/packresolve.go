package gitsync

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// frame is an object whose deltas are being resolved.
type frame struct {
	entry  int32
	deltas int64  // bytes of the deltas it was made by, which a reader holds at once
	data   []byte // nil: not read yet
}

// resolve is the second pass: depth first from every whole object, so that
// each delta is applied once and only the bases on the way down are held.
func (x *indexer) resolve() error {
	for i := range x.entries {
		if x.entries[i].kind.IsDelta() {
			continue
		}
		x.adopt(int32(i))
		if x.entries[i].first == none {
			continue
		}
		if err := x.resolveFrom(int32(i)); err != nil {
			return err
		}
	}
	for _, e := range x.entries {
		if e.kind.IsDelta() {
			return malformedAt(e.offset, "is a delta without a base in the pack")
		}
	}
	return nil
}

// adopt files the deltas that waited for the id of entry i under it.
func (x *indexer) adopt(i int32) {
	e := &x.entries[i]
	for _, child := range x.waiting[e.hash] {
		x.entries[child].next, e.first = e.first, child
	}
	delete(x.waiting, e.hash)
}

func (x *indexer) resolveFrom(root int32) error {
	data, err := x.load(root)
	if err != nil {
		return err
	}
	stack := []frame{{entry: root, data: data}}
	x.held = int64(len(data))
	for len(stack) > 0 {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		f := stack[len(stack)-1]
		base := &x.entries[f.entry]
		child := base.first
		base.first = x.entries[child].next
		if base.first == none { // its last delta: let go before going down
			x.held -= int64(len(f.data))
			stack = stack[:len(stack)-1]
		}
		next, err := x.apply(f, child)
		if err != nil {
			return err
		}
		if x.entries[child].first == none {
			continue
		}
		if x.held += int64(len(next.data)); x.held > maxDeltaMemory {
			return errDeltaMemory()
		}
		stack = append(stack, next)
	}
	return nil
}

// load inflates an entry whose size the first pass has bounded.
func (x *indexer) load(i int32) ([]byte, error) {
	h, err := x.scan.SeekObjectHeader(x.entries[i].offset)
	if err != nil {
		return nil, malformed(err)
	}
	b := bytes.NewBuffer(make([]byte, 0, h.Length))
	if _, _, err := x.scan.NextObject(b); err != nil {
		return nil, malformed(err)
	}
	return b.Bytes(), nil
}

// apply makes child from its base f and gives it its id.
func (x *indexer) apply(f frame, child int32) (frame, error) {
	e := &x.entries[child]
	if err := e.stand(&x.entries[f.entry]); err != nil {
		return f, err
	}
	delta, err := x.load(child)
	if err != nil {
		return f, err
	}
	next := frame{entry: child, deltas: f.deltas + int64(len(delta))}
	if next.deltas > maxDeltaMemory {
		return f, errDeltaMemory()
	}
	if size, err := deltaResult(delta); err != nil {
		return f, malformedAt(e.offset, "is a bad delta: %w", err)
	} else if size > uint64(x.limits.Object) {
		return f, x.tooLarge(int64(size))
	}
	if next.data, err = packfile.PatchDelta(f.data, delta); err != nil {
		return f, malformedAt(e.offset, "is a bad delta: %w", err)
	}
	e.kind = x.entries[f.entry].kind
	e.hash = plumbing.ComputeHash(e.kind, next.data)
	if e.kind == plumbing.CommitObject && x.found != nil {
		x.found(e.hash, next.data)
	}
	x.adopt(child)
	return next, nil
}

// deltaResult is the size of what a delta makes: the second number in it,
// after the size of its base.
func deltaResult(delta []byte) (uint64, error) {
	_, n := binary.Uvarint(delta)
	if n <= 0 {
		return 0, errors.New("no size of the base")
	}
	size, n := binary.Uvarint(delta[n:])
	if n <= 0 || size > 1<<62 {
		return 0, errors.New("no size of the result")
	}
	return size, nil
}

func errDeltaMemory() error {
	return &LimitError{Limit: "delta memory", What: "objects that stand on each other", Max: maxDeltaMemory, Bytes: true}
}
