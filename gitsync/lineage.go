package gitsync

import (
	"context"
	"errors"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxLineage is how many ancestors of a tip are looked at to find one: a
	// service that nobody touched has a lease document as old as its last change.
	maxLineage = 200_000
	// near is how many commits are looked at for an answer that is likely close
	// by, before all ancestors are: of another node that is ahead, of a tip that
	// moved on.
	near = 1000
	// maxOutcomes bounds the answers that are kept: as many as there may be
	// records.
	maxOutcomes = maxRecords
)

// lineage holds ancestors of one commit, so that it costs little to find many
// commits among them: a fleet asks for the commit of every lease document, and
// again with every new tip. It goes back as far as it is asked to, and a walk
// that is broken off goes on with the next question.
type lineage struct {
	mu        sync.Mutex
	tip       plumbing.Hash
	ancestors map[plumbing.Hash]struct{} // tip among them
	frontier  []plumbing.Hash            // those of ancestors whose parents were not looked at
	outcomes  map[plumbing.Hash]outcome  // of commits that are not among ancestors
}

// outcome is an answer about tip that no time changes: what commits descend
// from is part of them. So is that it is not found within the limits.
type outcome struct {
	relation planner.Relation
	limit    error // a LimitError
}

// relate is Relation of two commits that the clone has; most is how many commits
// a search from both may look at.
func (l *lineage) relate(ctx context.Context, s *store, commit, tip plumbing.Hash, most int) (planner.Relation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.move(ctx, s, tip)
	if known, ok := l.outcomes[commit]; ok {
		return known.relation, known.limit
	}
	if l.grow(ctx, s, commit, near) {
		return planner.RelationAncestor, nil
	}
	relation, err := planner.RelationAhead, error(nil)
	if !l.leadsTo(ctx, s, commit) {
		if l.grow(ctx, s, commit, maxLineage) {
			return planner.RelationAncestor, nil
		}
		m := meeting{store: s, most: most, reached: map[plumbing.Hash]byte{}}
		relation, err = m.relate(ctx, commit, tip)
	}
	var limit *LimitError
	if err == nil || errors.As(err, &limit) {
		if len(l.outcomes) >= maxOutcomes {
			clear(l.outcomes)
		}
		l.outcomes[commit] = outcome{relation, err}
	}
	return relation, err
}

// move makes tip the commit that is asked about.
func (l *lineage) move(ctx context.Context, s *store, tip plumbing.Hash) {
	if l.tip == tip {
		return
	}
	if !l.forward(ctx, s, tip) {
		l.ancestors, l.frontier = map[plumbing.Hash]struct{}{tip: {}}, []plumbing.Hash{tip}
	}
	l.tip, l.outcomes = tip, map[plumbing.Hash]outcome{}
}

// grow reports whether commit is tip or an ancestor of it that is found by
// looking at the parents of up to most further ones. false says nothing.
func (l *lineage) grow(ctx context.Context, s *store, commit plumbing.Hash, most int) bool {
	for ; ; most-- {
		if _, ok := l.ancestors[commit]; ok {
			return true
		}
		if most == 0 || len(l.frontier) == 0 || len(l.ancestors) >= maxLineage || ctx.Err() != nil {
			return false
		}
		next := l.frontier[0]
		l.frontier = l.frontier[1:]
		for _, parent := range parents(s, next) {
			if _, seen := l.ancestors[parent]; !seen {
				l.ancestors[parent] = struct{}{}
				l.frontier = append(l.frontier, parent)
			}
		}
	}
}

// leadsTo reports whether tip is found soon below commit. false says nothing.
func (l *lineage) leadsTo(ctx context.Context, s *store, commit plumbing.Hash) bool {
	seen := map[plumbing.Hash]struct{}{commit: {}}
	for queue := []plumbing.Hash{commit}; len(queue) > 0 && len(seen) <= near && ctx.Err() == nil; queue = queue[1:] {
		for _, parent := range parents(s, queue[0]) {
			if parent == l.tip {
				return true
			}
			_, below := l.ancestors[parent] // of tip: does not lead up to it again
			if _, met := seen[parent]; !below && !met {
				seen[parent] = struct{}{}
				queue = append(queue, parent)
			}
		}
	}
	return false
}

// forward adds what is new where tip comes after the last one; false = it does
// not, or not soon.
func (l *lineage) forward(ctx context.Context, s *store, tip plumbing.Hash) bool {
	found := map[plumbing.Hash]struct{}{tip: {}}
	met := false
	for queue := []plumbing.Hash{tip}; len(queue) > 0; queue = queue[1:] {
		if len(found) > near || len(l.ancestors) > maxLineage || ctx.Err() != nil {
			return false
		}
		for _, parent := range parents(s, queue[0]) {
			met = met || parent == l.tip
			_, old := l.ancestors[parent]
			_, seen := found[parent]
			if !old && !seen {
				found[parent] = struct{}{}
				queue = append(queue, parent)
			}
		}
	}
	if met {
		for id := range found {
			l.ancestors[id] = struct{}{}
		}
	}
	return met
}

// parents are those of a commit; of one that cannot be read, none: what was
// found without them is true all the same.
func parents(s *store, id plumbing.Hash) []plumbing.Hash {
	c, err := readCommit(s, id)
	if err != nil {
		return nil
	}
	return c.ParentHashes
}
