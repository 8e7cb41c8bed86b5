package agent

import (
	"slices"
	"sync"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// tidings are what the nodes of a band announce to each other: it arrives at
// once where both can be reached, and once they can.
type tidings struct {
	mu   sync.Mutex
	said planner.Announcement
	to   []fleet.Peer
	// applied is what others go by, of the announcements of this process.
	applied map[planner.NodeName]uint64
	heard   chan fleet.Announced
	acks    chan struct{}
	told    map[planner.NodeName]heardOf
	log     []planner.Announcement
}

func newTidings() *tidings {
	return &tidings{
		applied: map[planner.NodeName]uint64{}, told: map[planner.NodeName]heardOf{},
		heard: make(chan fleet.Announced, 100), acks: make(chan struct{}, 1),
	}
}

func (f *fakePeers) Announce(a planner.Announcement, to []fleet.Peer) {
	f.news.mu.Lock()
	if a.Serving > f.news.said.Serving {
		f.news.said = a
		f.news.log = append(f.news.log, a)
	}
	f.news.to = slices.Clone(to)
	f.news.mu.Unlock()
	f.spread()
}

// spread tells those that have not heard and can be reached.
func (f *fakePeers) spread() {
	f.news.mu.Lock()
	defer f.news.mu.Unlock()
	for _, peer := range f.news.to {
		other := f.player.band.player(peer.Node)
		theirs := other.peers.Load()
		now := heardOf{f.news.said.Incarnation, f.news.said.Serving}
		if f.news.said.Incarnation == "" || !f.reaches(other) || f.news.told[peer.Node] == now && !theirs.fresh(f.player.name) {
			continue
		}
		f.news.told[peer.Node] = now
		theirs.known(f.player.name)
		select {
		case theirs.news.heard <- fleet.Announced{Node: f.player.name, Announcement: f.news.said}:
		default:
		}
	}
}

func (f *fakePeers) Announcements() <-chan fleet.Announced { return f.news.heard }
func (f *fakePeers) Acknowledgements() <-chan struct{}     { return f.news.acks }

func (f *fakePeers) Applied(node planner.NodeName, incarnation string, serving uint64) {
	other := f.player.band.player(node)
	if !f.reaches(other) || f.player.deaf.Load() {
		return
	}
	theirs := other.peers.Load().news
	theirs.mu.Lock()
	defer theirs.mu.Unlock()
	if theirs.said.Incarnation == incarnation {
		theirs.applied[f.player.name] = max(theirs.applied[f.player.name], serving)
	}
	select {
	case theirs.acks <- struct{}{}:
	default:
	}
}

func (f *fakePeers) Awaited(serving uint64) []planner.NodeName {
	f.news.mu.Lock()
	defer f.news.mu.Unlock()
	var out []planner.NodeName
	for _, peer := range f.news.to {
		if other := f.player.band.player(peer.Node); f.reaches(other) && f.news.applied[peer.Node] < serving {
			out = append(out, peer.Node)
		}
	}
	return out
}

// fresh reports whether this process has heard nothing of a node yet.
func (f *fakePeers) fresh(of planner.NodeName) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.heardOf[of]
}

func (f *fakePeers) known(of planner.NodeName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heardOf[of] = true
}

// announced lists what the node's agent has announced so far.
func (p *player) announced() []planner.Announcement {
	n := p.peers.Load().news
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.log)
}
