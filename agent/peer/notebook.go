package peer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// notebook holds what is known of each peer, and tells the owner of changes
// only: however slow the owner is, at most the latest of each peer waits.
type notebook struct {
	mu     sync.Mutex
	pages  map[planner.NodeName]*page
	queue  []planner.NodeName // to be told, in the order of their first change
	wake   chan struct{}
	out    chan fleet.Sighting
	expiry time.Duration // of words
}

// page is what is known of one peer.
type page struct {
	state  planner.ProbeState
	words  words
	heard  time.Time // when it last said them
	told   fleet.Sighting
	queued bool
}

func newNotebook(expiry time.Duration) *notebook {
	return &notebook{
		pages: map[planner.NodeName]*page{}, wake: make(chan struct{}, 1), out: make(chan fleet.Sighting), expiry: expiry,
	}
}

// probed notes the outcome of own probes.
func (n *notebook) probed(node planner.NodeName, s planner.ProbeState) {
	n.change(node, func(p *page) { p.state = s })
}

// said notes the words of a peer.
func (n *notebook) said(node planner.NodeName, w words) {
	n.change(node, func(p *page) { p.words, p.heard = w, time.Now() })
}

// again notes that a peer still says what it said last.
func (n *notebook) again(node planner.NodeName, w words) {
	n.mu.Lock()
	p := n.pages[node]
	if p != nil && p.words.equal(w) {
		p.heard = time.Now()
		n.mu.Unlock()
		return
	}
	n.mu.Unlock()
	n.said(node, w)
}

// expire forgets words that were not repeated, and pages with nothing on them.
func (n *notebook) expire() {
	n.mu.Lock()
	var silent []planner.NodeName
	for node, p := range n.pages {
		switch {
		case !p.words.equal(words{}) && time.Since(p.heard) > n.expiry:
			silent = append(silent, node)
		case p.blank() && !p.queued:
			delete(n.pages, node)
		}
	}
	n.mu.Unlock()
	slices.Sort(silent)
	for _, node := range silent {
		n.said(node, words{})
	}
}

func (p *page) blank() bool {
	return p.state == planner.ProbeNone && p.words.equal(words{}) && p.told.State == planner.ProbeNone
}

func (n *notebook) change(node planner.NodeName, change func(*page)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pages[node]
	if p == nil {
		p = &page{told: fleet.Sighting{Node: node}}
		n.pages[node] = p
	}
	change(p)
	if p.queued || same(p.told, p.sighting(node)) {
		return
	}
	p.queued = true
	n.queue = append(n.queue, node)
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (p *page) sighting(node planner.NodeName) fleet.Sighting {
	return fleet.Sighting{Node: node, State: p.state, Suspects: slices.Clone(p.words.Suspects), Blind: p.words.Blind}
}

func same(a, b fleet.Sighting) bool {
	return a.State == b.State && a.Blind == b.Blind && slices.Equal(a.Suspects, b.Suspects)
}

// tell hands changes to the owner until ctx ends.
func (n *notebook) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		for {
			s, ok := n.next()
			if !ok {
				break
			}
			select {
			case <-ctx.Done():
				return
			case n.out <- s:
			}
		}
	}
}

// next takes the next change out of the queue.
func (n *notebook) next() (fleet.Sighting, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.queue) > 0 {
		node := n.queue[0]
		n.queue = n.queue[1:]
		p := n.pages[node]
		p.queued = false
		if s := p.sighting(node); !same(s, p.told) {
			p.told = s
			return s, true
		}
	}
	return fleet.Sighting{}, false
}
