package gitsync

import (
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// frame is an object whose deltas are being resolved.
type frame struct {
	entry int32
	depth int
	data  []byte // nil: not read yet
}

// resolve is the second pass: depth first from every whole object, so that
// each delta is applied once and only the bases on the way down are held.
func (s *scanner) resolve() error {
	for i := range s.entries {
		if kind := s.entries[i].kind; kind == kindOfsDelta || kind == kindRefDelta {
			continue
		}
		root := int32(i)
		s.adopt(root)
		if s.first[root] == none {
			continue
		}
		if err := s.resolveFrom(root); err != nil {
			return err
		}
	}
	for _, e := range s.entries {
		if e.kind == kindOfsDelta || e.kind == kindRefDelta {
			return fmt.Errorf("%w: entry at %d is a delta without a base in the pack", errPack, e.offset)
		}
	}
	return nil
}

// adopt files the deltas that waited for the id of entry i under it.
func (s *scanner) adopt(i int32) {
	hash := s.entries[i].hash
	for _, child := range s.waiting[hash] {
		s.next[child], s.first[i] = s.first[i], child
	}
	delete(s.waiting, hash)
}

func (s *scanner) resolveFrom(root int32) error {
	stack := []frame{{entry: root}}
	s.held = 0
	for len(stack) > 0 {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		f := &stack[len(stack)-1]
		child := s.first[f.entry]
		if child == none {
			s.held -= int64(len(f.data))
			stack = stack[:len(stack)-1]
			continue
		}
		s.first[f.entry] = s.next[child]
		if f.data == nil {
			if err := s.load(f); err != nil {
				return err
			}
		}
		data, err := s.apply(f, child)
		if err != nil {
			return err
		}
		depth := f.depth + 1
		if s.first[f.entry] == none { // its last delta: let go before going down
			s.held -= int64(len(f.data))
			stack = stack[:len(stack)-1]
		}
		if s.first[child] == none {
			continue
		}
		if s.held += int64(len(data)); s.held > maxDeltaMemory {
			return &LimitError{Limit: "delta memory", What: "objects that stand on each other", Max: maxDeltaMemory, Bytes: true}
		}
		stack = append(stack, frame{entry: child, depth: depth, data: data})
	}
	return nil
}

// load reads the whole object a tree of deltas stands on.
func (s *scanner) load(f *frame) error {
	h, err := s.r.header(s.entries[f.entry].offset)
	if err != nil {
		return err
	}
	f.data, err = s.r.read(h)
	s.held += int64(len(f.data))
	return err
}

// apply makes child from its base f and gives it its id.
func (s *scanner) apply(f *frame, child int32) ([]byte, error) {
	e := &s.entries[child]
	if f.depth >= maxDeltaDepth {
		return nil, &LimitError{Limit: "delta depth", What: "deltas that stand on each other", Max: maxDeltaDepth}
	}
	h, err := s.r.header(e.offset)
	if err != nil {
		return nil, err
	}
	delta, err := s.r.read(h)
	if err != nil {
		return nil, err
	}
	data, err := patch(f.data, delta, s.limits.Object)
	if err != nil {
		return nil, err
	}
	e.kind = s.entries[f.entry].kind
	e.hash = plumbing.ComputeHash(plumbing.ObjectType(e.kind), data)
	s.adopt(child)
	return data, nil
}

// patch applies a delta whose result must not be larger than limit.
func patch(base, delta []byte, limit int64) ([]byte, error) {
	from, to, err := deltaSizes(delta)
	switch {
	case err != nil:
		return nil, err
	case from != int64(len(base)):
		return nil, fmt.Errorf("%w: delta for a base of %d bytes on one of %d", errPack, from, len(base))
	case to > limit:
		return nil, &LimitError{Limit: "Object", What: "an object of the repository", Max: limit, Value: to, Bytes: true}
	}
	data, err := packfile.PatchDelta(base, delta)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPack, err)
	}
	if int64(len(data)) != to {
		return nil, fmt.Errorf("%w: delta makes %d bytes of %d", errPack, len(data), to)
	}
	return data, nil
}
