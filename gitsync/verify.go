package gitsync

import (
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// verifier checks that nothing a commit needs is missing.
type verifier struct {
	ctx    context.Context
	all    *store // with the new pack
	before *store // without it
	limits Limits
	// whole holds the trees known to be whole with all below them. It is kept
	// from tip to tip, so that a small commit costs a small walk.
	whole map[plumbing.Hash]bool
}

// maxWholeTrees bounds the memory of verifier.whole; beyond it the next
// commit walks its whole tree again.
const maxWholeTrees = 50_000

// verify returns ErrCorrupt if the commit, one of its new ancestors, or
// anything in its tree is missing. Commits that were there before this fetch
// were verified with their ancestors by an earlier one.
func (v *verifier) verify(tip plumbing.Hash) error {
	c, err := readCommit(v.all, tip)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	if err := v.history(tip); err != nil {
		return err
	}
	return v.tree(c.TreeHash)
}

func (v *verifier) history(tip plumbing.Hash) error {
	seen := map[plumbing.Hash]bool{tip: true}
	for todo := []plumbing.Hash{tip}; len(todo) > 0; {
		if v.ctx.Err() != nil {
			return context.Cause(v.ctx)
		}
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if v.before.has(id) {
			continue
		}
		c, err := readCommit(v.all, id)
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
		for _, p := range c.ParentHashes {
			if !seen[p] {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return nil
}

// tree visits every distinct tree once: a bomb of trees in trees costs no more
// than the objects it is made of.
func (v *verifier) tree(root plumbing.Hash) error {
	seen := map[plumbing.Hash]bool{root: true}
	for todo := []plumbing.Hash{root}; len(todo) > 0; {
		if v.ctx.Err() != nil {
			return context.Cause(v.ctx)
		}
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if v.whole[id] {
			continue
		}
		data, err := v.all.content(plumbing.TreeObject, id, v.limits.Object)
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
		for len(data) > 0 {
			var e rawEntry
			if e, data, err = nextRawEntry(data); err != nil {
				return fmt.Errorf("tree %s: %w", id, err)
			}
			switch {
			case e.mode == gitModeGitlink: // a commit of another repository
			case !v.all.has(e.id):
				return fmt.Errorf("object %s, named by tree %s, is missing: %w", e.id, id, ErrCorrupt)
			case e.mode == gitModeDir && !seen[e.id]:
				seen[e.id] = true
				todo = append(todo, e.id)
			}
		}
	}
	if len(v.whole)+len(seen) > maxWholeTrees {
		clear(v.whole)
	}
	for id := range seen {
		v.whole[id] = true
	}
	return nil
}
