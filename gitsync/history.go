package gitsync

import (
	"container/heap"
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

const (
	// maxRange is how many commits Approvals looks at.
	maxRange = 1000
	// maxHaves and maxHaveWalk bound what a fetch tells the remote we have.
	maxHaves    = 48
	maxHaveWalk = 512
)

// Approvals returns the commits named by "Prune-Approved: <commit>" trailers
// in the commits that tip reaches and since does not, newest first, as written
// (at least seven digits, lower case). since "" means: all of tip's history.
// More than 1,000 commits are a LimitError, with what was found in the newest.
func (r *Repository) Approvals(ctx context.Context, since, tip string) ([]string, error) {
	to, err := parseID(tip)
	if err != nil {
		return nil, err
	}
	w := walk{ctx: ctx, flags: map[plumbing.Hash]byte{}}
	if since != "" {
		from, err := parseID(since)
		if err != nil {
			return nil, err
		}
		w.start(from, hidden)
	}
	w.start(to, 0)
	var out []string
	err = r.reading(func(s *store) error {
		return w.run(s, func(c *object.Commit) { out = append(out, approvals(c.Message)...) })
	})
	return out, err
}

// walk visits commits newest first (by their committer's claim, as git does),
// and leaves out what a hidden one reaches.
type walk struct {
	ctx   context.Context
	queue commitQueue
	flags map[plumbing.Hash]byte
	begin []plumbing.Hash
	shown int // queued commits that are not hidden
}

const (
	queued byte = 1 << iota
	hidden
)

func (w *walk) start(id plumbing.Hash, flag byte) {
	w.begin = append(w.begin, id)
	w.flags[id] |= flag
}

func (w *walk) run(s *store, visit func(*object.Commit)) error {
	for _, id := range w.begin {
		if err := w.push(s, id, w.flags[id]&hidden); err != nil {
			return err
		}
	}
	for visited := 0; w.shown > 0; {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		c := heap.Pop(&w.queue).(*object.Commit)
		hide := w.flags[c.Hash] & hidden
		if hide == 0 {
			w.shown--
			if visited++; visited > maxRange {
				return &LimitError{Limit: "commits in one range", What: "commits between two versions", Max: maxRange}
			}
			visit(c)
		} else if visited++; visited > 4*maxRange {
			return &LimitError{Limit: "commits in one range", What: "commits between two versions", Max: maxRange}
		}
		for _, p := range c.ParentHashes {
			if err := w.push(s, p, hide); err != nil {
				return err
			}
		}
	}
	return nil
}

// push queues a commit, or hides one that is queued already.
func (w *walk) push(s *store, id plumbing.Hash, hide byte) error {
	before := w.flags[id]
	w.flags[id] |= hide | queued
	if before&queued != 0 {
		if hide != 0 && before&hidden == 0 && w.queue.has(id) {
			w.shown--
		}
		return nil
	}
	c, err := readCommit(s, id)
	if err != nil {
		return fmt.Errorf("walk history: %w", err)
	}
	if w.flags[id]&hidden == 0 {
		w.shown++
	}
	heap.Push(&w.queue, c)
	return nil
}

// commitQueue is a heap of commits, newest on top; equal times by id, so that
// every run visits them in the same order.
type commitQueue []*object.Commit

func (q commitQueue) Len() int { return len(q) }
func (q commitQueue) Less(i, j int) bool {
	a, b := q[i].Committer.When, q[j].Committer.When
	if !a.Equal(b) {
		return a.After(b)
	}
	return q[i].Hash.String() < q[j].Hash.String()
}
func (q commitQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *commitQueue) Push(x any)   { *q = append(*q, x.(*object.Commit)) }
func (q *commitQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (q commitQueue) has(id plumbing.Hash) bool {
	for _, c := range q {
		if c.Hash == id {
			return true
		}
	}
	return false
}

// haves lists commits of the clone for the remote to build on: the newest one
// by one, then with doubling distance, so that after a force-push something
// old is still common.
func haves(ctx context.Context, c *clone) []plumbing.Hash {
	if c.tip.IsZero() {
		return nil
	}
	var out []plumbing.Hash
	w := walk{ctx: ctx, flags: map[plumbing.Hash]byte{}}
	w.start(c.tip, 0)
	visited, next := 0, 0
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.ctx = ctx
	// An error only ends the list early: less is common, more is downloaded.
	_ = w.run(c.store, func(commit *object.Commit) {
		if visited == next {
			out = append(out, commit.Hash)
			if next++; len(out) > maxHaves/2 {
				next = visited + (visited - maxHaves/2 + 1)
			}
		}
		if visited++; visited == maxHaveWalk || len(out) == maxHaves {
			cancel()
		}
	})
	return out
}
