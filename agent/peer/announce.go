package peer

import (
	"context"
	"crypto/tls"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// ackPatience is how long a peer may take to go by an announcement before
	// nobody waits for it any more: until it has, it is not waited for again.
	ackPatience = 3 * time.Second
	// maxTellers bounds the peers that are told at once, maxLostTellers those
	// of them that did not answer last, who take their time not to.
	maxTellers     = 32
	maxLostTellers = 8
	// Connections are kept for a while, a bounded number of them; with other
	// peers a new one resumes the session of the last.
	keepLine     = 10 * time.Second
	maxKeptLines = 64
	// maxTellRetry is the longest pause before a peer that cannot be told is
	// tried again, slowAsk before one that does not get to apply what it was
	// told is asked again, deafAsk before one that does not know announcements
	// is: it may have been upgraded.
	maxTellRetry = 10 * time.Second
	slowAsk      = 5 * time.Second
	deafAsk      = 10 * time.Minute
	// Each peer is asked now and then whether it still holds what it was told:
	// every recheck, and so that the whole fleet is asked by one node no more
	// than every recheckPace.
	recheck     = 30 * time.Second
	recheckPace = 500 * time.Millisecond
	// Announcements to one peer follow each other no faster than tellGap, and
	// so that all peers together are sent no more than tellRate bytes a second:
	// those in between are left out.
	tellGap  = 50 * time.Millisecond
	tellRate = 32 << 20
)

// announcer tells peers what instances of this node take connections.
type announcer struct {
	peers    *Peers
	sessions tls.ClientSessionCache

	mu      sync.Mutex
	at      position // of the announcement in force; zero = there is none yet
	frame   []byte
	left    int // instances that it has no room for
	told    map[planner.NodeName]*told
	order   []planner.NodeName // of told, beginning after this node
	tellers int
	lost    int // tellers of peers that did not answer last
	kept    int // lines
	wake    chan struct{}
	acks    chan struct{}
}

// told is one peer as a target of announcements. While busy is set, one teller
// alone uses line.
type told struct {
	peer     fleet.Peer
	heard    position  // what it is known to hold
	applied  uint64    // up to which it goes by announcements of this incarnation
	owes     time.Time // since when it owes an acknowledgement; zero = it owes none
	silent   bool      // it let ackPatience pass: not waited for until it acknowledges
	deaf     bool      // it does not know announcements
	failures int       // in a row
	next     time.Time // when it is told or asked next
	began    time.Time // of the last
	busy     bool
	again    bool // to be asked again as soon as it is not busy
	line     *tls.Conn
	used     time.Time // when line was used last
}

func newAnnouncer(p *Peers) *announcer {
	return &announcer{
		peers: p, sessions: tls.NewLRUClientSessionCache(maxErrands), told: map[planner.NodeName]*told{},
		wake: make(chan struct{}, 1), acks: make(chan struct{}, 1),
	}
}

// Announce says what this node tells from now on, and whom: all other live
// nodes. Each is told until it acknowledges, and again when it forgot; what is
// superseded before it was sent is left out. Serving begins at 1 and rises
// within an incarnation: an announcement that is not newer than the last
// changes only whom to tell.
func (p *Peers) Announce(a planner.Announcement, to []fleet.Peer) {
	p.announcer.set(a, to)
}

// Announcements tells what other nodes announce of themselves, the newest of
// each. The owner says by Applied when it goes by one.
func (p *Peers) Announcements() <-chan fleet.Announced { return p.hearsay.out }

// Applied acknowledges an announcement: connections of this node are led by it.
func (p *Peers) Applied(node planner.NodeName, incarnation string, serving uint64) {
	p.hearsay.applied(node, position{incarnation, serving})
}

// Awaited lists the peers that may still lead connections by what was announced
// before serving, and are worth waiting for: not those of a version that knows
// no announcements, nor those that took longer than three seconds and have
// acknowledged nothing since.
func (p *Peers) Awaited(serving uint64) []planner.NodeName { return p.announcer.awaited(serving) }

// Acknowledgements tells that Awaited may have become shorter.
func (p *Peers) Acknowledgements() <-chan struct{} { return p.announcer.acks }

func (a *announcer) set(n planner.Announcement, to []fleet.Peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	at := position{n.Incarnation, n.Serving}
	news := at.Incarnation != "" && at.Serving > 0 && (at.Incarnation != a.at.Incarnation || at.Serving > a.at.Serving)
	if news {
		frame, left, err := encodeAnnouncement(n)
		if err != nil { // only names that are none of ours could do that
			a.peers.cfg.Log.Error("instances that take connections cannot be announced", "err", err)
			return
		}
		if left > 0 && a.left == 0 {
			a.peers.cfg.Log.Warn("more instances take connections than can be announced", "left out", left)
		}
		a.at, a.frame, a.left = at, frame, left
	}
	aimed := a.aim(to)
	if !news && !aimed {
		return
	}
	for _, t := range a.told {
		if !news || t.deaf {
			continue
		}
		t.owe(a.at, now)
		if t.again = t.busy; t.failures == 0 {
			t.next = now
		}
	}
	signal(a.wake)
	signal(a.acks)
}

// owe notes whether the peer has something to acknowledge.
func (t *told) owe(at position, now time.Time) {
	switch {
	case t.heard.Incarnation == at.Incarnation && t.applied >= at.Serving:
		t.owes, t.silent = time.Time{}, false
	case t.owes.IsZero():
		t.owes = now
	}
}

// aim sets whom to tell, and reports whether that is news; a.mu is held.
func (a *announcer) aim(to []fleet.Peer) bool {
	wanted := map[planner.NodeName]fleet.Peer{}
	for _, peer := range to {
		if peer.Node != a.peers.cfg.Node && peer.Address != "" && peer.Key != "" {
			wanted[peer.Node] = peer
		}
	}
	same := len(wanted) == len(a.told)
	for node, t := range a.told {
		if t.peer != wanted[node] {
			same = false
			a.hangUp(t)
			delete(a.told, node)
		}
	}
	for node, peer := range wanted {
		if a.told[node] == nil {
			a.told[node] = &told{peer: peer}
			a.told[node].owe(a.at, time.Now())
		}
	}
	if !same {
		// Each node begins with the one after itself: not all with the same.
		names := slices.Sorted(maps.Keys(a.told))
		own, _ := slices.BinarySearch(names, a.peers.cfg.Node)
		a.order = slices.Concat(names[own:], names[:own])
	}
	return !same
}

// hangUp ends the line to a peer that nobody uses; a.mu is held.
func (a *announcer) hangUp(t *told) {
	if !t.busy && t.line != nil {
		t.line.Close()
		t.line = nil
		a.kept--
	}
}

func (a *announcer) awaited(serving uint64) []planner.NodeName {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []planner.NodeName
	for node, t := range a.told {
		acknowledged := t.heard.Incarnation == a.at.Incarnation && t.applied >= serving
		if !acknowledged && !t.deaf && !t.silent && !t.owes.IsZero() && time.Since(t.owes) < ackPatience {
			out = append(out, node)
		}
	}
	slices.Sort(out)
	return out
}

// called notes that a peer has called, and what it holds of this node: where
// that is not the announcement in force, or it could not be told, now is the
// time.
func (a *announcer) called(node planner.NodeName, holds position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.told[node]; t != nil && (holds != a.at || t.failures > 0 || t.deaf) {
		a.soon(t)
	}
}

// reached notes that a peer answers probes again.
func (a *announcer) reached(node planner.NodeName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.told[node]; t != nil {
		a.soon(t)
	}
}

// soon has a peer told or asked now; a.mu is held.
func (a *announcer) soon(t *told) {
	t.next, t.again, t.failures = time.Now(), true, 0
	signal(a.wake)
}

// run tells peers until ctx ends.
func (a *announcer) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, t := range a.told {
				a.hangUp(t)
			}
			return
		case <-a.wake:
		case <-timer.C:
		}
		timer.Reset(a.dispatch(ctx))
	}
}

// dispatch begins to tell those whose time has come, and says how long nothing
// else is to do.
func (a *announcer) dispatch(ctx context.Context) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	wait := time.Minute
	for _, node := range a.order {
		t := a.told[node]
		if !t.busy && t.line != nil { // while it is busy the line is its teller's
			if unused := now.Sub(t.used); unused >= keepLine {
				a.hangUp(t)
			} else {
				wait = min(wait, keepLine-unused)
			}
		}
		if !t.owes.IsZero() && !t.silent && !t.deaf {
			if late := now.Sub(t.owes); late >= ackPatience {
				t.silent = true
				signal(a.acks)
			} else {
				wait = min(wait, ackPatience-late)
			}
		}
		if a.at.Incarnation == "" || t.busy {
			continue
		}
		due := t.next
		if gap := t.began.Add(a.gap()); gap.After(due) && t.failures == 0 {
			due = gap
		}
		switch until := due.Sub(now); {
		case until > 0:
			wait = min(wait, until)
		case a.tellers < maxTellers && (t.failures == 0 || a.lost < maxLostTellers):
			a.send(ctx, t)
		}
	}
	return wait
}

// gap is the least time between two announcements to one peer; a.mu is held.
func (a *announcer) gap() time.Duration {
	return tellGap + time.Duration(len(a.frame)*len(a.told))*time.Second/tellRate
}

// send begins to tell a peer; a.mu is held.
func (a *announcer) send(ctx context.Context, t *told) {
	t.busy, t.again, t.began = true, false, time.Now()
	a.tellers++
	lost := t.failures > 0
	if lost {
		a.lost++
	}
	if t.line != nil {
		a.kept--
	}
	at, frame, held := a.at, a.frame, t.heard == a.at
	a.peers.running.Go(func() {
		out := a.tell(ctx, t, at, frame, held)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.tellers--
		if lost {
			a.lost--
		}
		a.note(t, out, time.Now())
		signal(a.wake)
	})
}

// note takes in how telling a peer went, and when to tell it again; a.mu is
// held.
func (a *announcer) note(t *told, out outcome, now time.Time) {
	t.busy, t.used = false, now
	if t.line != nil && (a.told[t.peer.Node] != t || a.kept >= maxKeptLines || a.peers.ctx.Err() != nil) {
		t.line.Close()
		t.line = nil
	}
	if t.line != nil {
		a.kept++
	}
	was := *t
	defer func() {
		if t.heard != was.heard || t.applied != was.applied || t.deaf != was.deaf {
			signal(a.acks)
		}
	}()
	t.deaf = out.deaf
	switch {
	case out.err != nil:
		t.failures++
		t.next = now.Add(jitter(min(tellGap<<min(t.failures, 10), maxTellRetry)))
		return
	case out.deaf:
		t.failures, t.next = 0, now.Add(jitter(deafAsk))
	default:
		t.failures = 0
		t.heard, t.applied = out.Heard, out.Applied
		t.owe(a.at, now)
		switch {
		case t.owes.IsZero():
			t.next = now.Add(jitter(max(recheck, time.Duration(len(a.told))*recheckPace)))
		case t.silent:
			t.next = now.Add(jitter(slowAsk))
		default:
			t.next = now
		}
	}
	if t.again {
		t.next = now
	}
}

// jitter spreads an interval by a quarter to either side.
func jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }
