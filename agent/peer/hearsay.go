package peer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// errOldProcess ends a line whose other end was replaced by a newer process.
var errOldProcess = errors.New("a newer process of this peer has announced since")

// hearsay is what other nodes announced of themselves. However slow the owner
// is, at most the newest announcement of each node waits for it.
type hearsay struct {
	mu    sync.Mutex
	nodes map[planner.NodeName]*heardOf
	queue []planner.NodeName // with something to be told, first come first
	wake  chan struct{}
	out   chan fleet.Announced
}

// heardOf is what one node announced.
type heardOf struct {
	at      position
	line    uint64                // that brought the incarnation
	waiting *planner.Announcement // not told to the owner yet; nil = it was
	applied uint64                // up to which the owner goes by it
	moved   chan struct{}         // closed when something of this changes
}

func newHearsay() *hearsay {
	return &hearsay{
		nodes: map[planner.NodeName]*heardOf{}, wake: make(chan struct{}, 1), out: make(chan fleet.Announced),
	}
}

// take notes an announcement that came over a line; lines are numbered in the
// order in which they were made. Of one incarnation only what is newer counts;
// another incarnation counts if its line is newer than that of the one before,
// since of one node's processes the last is in force.
func (h *hearsay) take(node planner.NodeName, line uint64, a planner.Announcement) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.nodes[node]
	if was == nil {
		was = &heardOf{moved: make(chan struct{})}
		h.nodes[node] = was
	}
	another := was.at.Incarnation != a.Incarnation
	switch {
	case another && line < was.line:
		return errOldProcess
	case !another && a.Serving <= was.at.Serving:
		return nil
	case another:
		was.line, was.applied = line, 0
	}
	was.at = position{a.Incarnation, a.Serving}
	was.stir()
	if was.waiting == nil {
		h.queue = append(h.queue, node)
		signal(h.wake)
	}
	was.waiting = &a
	return nil
}

// stir wakes who waits for the node; h.mu is held.
func (n *heardOf) stir() {
	close(n.moved)
	n.moved = make(chan struct{})
}

// applied notes that the owner goes by what a node announced.
func (h *hearsay) applied(node planner.NodeName, at position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[node]; n != nil && n.at.Incarnation == at.Incarnation && at.Serving > n.applied && at.Serving <= n.at.Serving {
		n.applied = at.Serving
		n.stir()
	}
}

// holds is the newest announcement that is known of a node.
func (h *hearsay) holds(node planner.NodeName) position {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[node]; n != nil {
		return n.at
	}
	return position{}
}

// await waits, at most for long, until the owner goes by an announcement of a
// node, and says how far it has come. What is not known is not waited for.
func (h *hearsay) await(ctx context.Context, node planner.NodeName, at position, long time.Duration) receipt {
	late := time.NewTimer(long)
	defer late.Stop()
	for {
		r, moved := h.receipt(node)
		if r.Heard != at || r.Applied >= at.Serving {
			return r
		}
		select {
		case <-moved:
		case <-late.C:
			return r
		case <-ctx.Done():
			return r
		}
	}
}

func (h *hearsay) receipt(node planner.NodeName) (receipt, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.nodes[node]
	if n == nil {
		return receipt{}, nil
	}
	return receipt{Heard: n.at, Applied: n.applied}, n.moved
}

// forget forgets a node that is listened to no more.
func (h *hearsay) forget(node planner.NodeName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[node]; n != nil {
		close(n.moved)
		delete(h.nodes, node)
	}
}

// tell hands announcements to the owner until ctx ends.
func (h *hearsay) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
		for {
			next, ok := h.next()
			if !ok {
				break
			}
			select {
			case <-ctx.Done():
				return
			case h.out <- next:
			}
		}
	}
}

// next takes the next announcement out of the queue.
func (h *hearsay) next() (fleet.Announced, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.queue) > 0 {
		node := h.queue[0]
		h.queue = h.queue[1:]
		if n := h.nodes[node]; n != nil && n.waiting != nil {
			a := fleet.Announced{Node: node, Announcement: *n.waiting}
			n.waiting = nil
			return a, true
		}
	}
	return fleet.Announced{}, false
}
