package gitsync

import (
	"container/heap"
	"context"
	"errors"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/orpheus-cd/orpheus/planner"
)

// Relation tells how commit stands to tip, both full ids: "" is the same as
// anything, and one that the clone does not hold is RelationUnknown. So is one
// that is none of the last 200,000 ancestors of tip, nor found within
// Limits.Related commits of both, with a LimitError. Answers about the last tip are kept, and
// this one, too: it costs seconds once. With ctx at its end the answer is
// unknown; the next call goes on from there.
func (r *Repository) Relation(ctx context.Context, commit, tip string) (planner.Relation, error) {
	if commit == "" || commit == tip {
		return planner.RelationSame, nil
	}
	a, err := parseID(commit)
	if err != nil {
		return planner.RelationUnknown, err
	}
	b, err := parseID(tip)
	if err != nil {
		return planner.RelationUnknown, err
	}
	out := planner.RelationUnknown
	err = r.reading(func(s *store) error {
		if !s.has(a) || !s.has(b) {
			return nil
		}
		out, err = r.lineage.relate(ctx, s, a, b, r.settings.Limits.Related)
		return err
	})
	if errors.Is(err, ErrUnknownCommit) {
		return planner.RelationUnknown, nil
	}
	return out, err
}

// meeting walks back from two commits at once, newest first, and notes which
// of the two reach what. It may stop when all that is left is reached by both:
// on every way from one commit down to the other, all before the other is
// reached by the first alone. So the claims of commits about their time cost
// steps at most, never the right answer.
type meeting struct {
	store   *store
	queue   commitQueue
	reached map[plumbing.Hash]byte
	single  int // queued commits that only one reaches
	read    int
	most    int // that may be read
}

const (
	fromCommit byte = 1 << iota
	fromTip
	fromBoth = fromCommit | fromTip
)

func (m *meeting) relate(ctx context.Context, commit, tip plumbing.Hash) (planner.Relation, error) {
	if err := errors.Join(m.reach(commit, fromCommit), m.reach(tip, fromTip)); err != nil {
		return planner.RelationUnknown, err
	}
	for m.single > 0 {
		switch {
		case m.reached[commit] == fromBoth:
			return planner.RelationAncestor, nil
		case m.reached[tip] == fromBoth:
			return planner.RelationAhead, nil
		case ctx.Err() != nil:
			return planner.RelationUnknown, context.Cause(ctx)
		}
		c := heap.Pop(&m.queue).(*object.Commit)
		by := m.reached[c.Hash]
		if by != fromBoth {
			m.single--
		}
		for _, parent := range c.ParentHashes {
			if err := m.reach(parent, by); err != nil {
				return planner.RelationUnknown, err
			}
		}
	}
	switch {
	case m.reached[commit] == fromBoth:
		return planner.RelationAncestor, nil
	case m.reached[tip] == fromBoth:
		return planner.RelationAhead, nil
	}
	return planner.RelationAside, nil
}

// reach notes that a commit is reached by one more side, and queues it if its
// ancestors are to hear of that.
func (m *meeting) reach(id plumbing.Hash, by byte) error {
	before := m.reached[id]
	if before|by == before {
		return nil
	}
	m.reached[id] = before | by
	if before != 0 && m.queue.has(id) {
		m.single-- // two sides now, where one was
		return nil
	}
	if m.read++; m.read > m.most {
		return &LimitError{Limit: "Related", What: "commits between two versions", Max: int64(m.most)}
	}
	c, err := readCommit(m.store, id)
	if err != nil {
		return err
	}
	if m.reached[id] != fromBoth {
		m.single++
	}
	heap.Push(&m.queue, c)
	return nil
}
