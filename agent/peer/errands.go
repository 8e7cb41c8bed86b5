package peer

import (
	"context"
	"slices"

	"github.com/orpheus-cd/orpheus/agent/fleet"
)

const (
	// maxRunners bounds the connections made at once only to poke.
	maxRunners = 8
	// maxErrands bounds the pokes that wait: nodes beyond look by themselves.
	maxErrands = 500
)

// errands are pokes to nodes that are not probed, first come, first served.
type errands struct {
	waiting []fleet.Peer
	runners int
}

// Poke tells nodes to look now, without waiting for them. Pokes of one node
// that are not sent yet are one.
func (p *Peers) Poke(nodes []fleet.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx == nil || p.ended {
		return
	}
	for _, peer := range nodes {
		if r := p.probers[peer.Node]; r != nil {
			signal(r.poke)
			continue
		}
		reachable := peer.Address != "" && peer.Key != "" && peer.Node != p.cfg.Node
		if !reachable || len(p.errands.waiting) == maxErrands || slices.Contains(p.errands.waiting, peer) {
			continue
		}
		p.errands.waiting = append(p.errands.waiting, peer)
		if p.errands.runners < maxRunners {
			p.errands.runners++
			p.running.Go(func() { p.runErrands(p.ctx) })
		}
	}
}

// runErrands pokes until no poke waits.
func (p *Peers) runErrands(ctx context.Context) {
	for {
		peer, ok := p.nextErrand()
		if !ok {
			return
		}
		p.pokesSent.Add(1)
		l := line{peers: p, peer: peer}
		if said, err := l.ask(ctx, *p.pokeFrame.Load()); err == nil {
			p.notes.again(peer.Node, said)
		}
		l.close()
	}
}

func (p *Peers) nextErrand() (fleet.Peer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &p.errands
	if len(e.waiting) == 0 || p.ended {
		e.runners--
		return fleet.Peer{}, false
	}
	peer := e.waiting[0]
	e.waiting = e.waiting[1:]
	return peer, true
}
