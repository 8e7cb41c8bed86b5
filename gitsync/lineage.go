package gitsync

import (
	"context"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxLineage is how many ancestors of a tip are looked at to find one: a
// service that nobody touched has a lease document as old as its last change.
const maxLineage = 200_000

// lineage holds ancestors of one commit, so that it costs little to find many
// commits among them: a fleet asks for the commit of every lease document, and
// again with every new tip. It goes back as far as it is asked to.
type lineage struct {
	mu        sync.Mutex
	tip       plumbing.Hash
	ancestors map[plumbing.Hash]struct{} // tip among them
	frontier  []plumbing.Hash            // those of ancestors whose parents were not looked at
}

// holds reports whether commit is tip or an ancestor of it that can be found.
// false says nothing.
func (l *lineage) holds(ctx context.Context, s *store, commit, tip plumbing.Hash) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tip != tip && !l.forward(ctx, s, tip) {
		l.ancestors, l.frontier = map[plumbing.Hash]struct{}{tip: {}}, []plumbing.Hash{tip}
	}
	l.tip = tip
	for {
		if _, ok := l.ancestors[commit]; ok {
			return true
		}
		if len(l.frontier) == 0 || len(l.ancestors) >= maxLineage || ctx.Err() != nil {
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

// forward adds what is new where tip comes after the last one; false = it does
// not, or not soon.
func (l *lineage) forward(ctx context.Context, s *store, tip plumbing.Hash) bool {
	const near = 1000
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
