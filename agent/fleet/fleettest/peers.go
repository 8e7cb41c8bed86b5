package fleettest

import (
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// missesTake is how long a peer does not answer before it counts as down:
// three probes in a row, one a second.
const missesTake = 3 * time.Second

// peer is a node that a process probes.
type peer struct {
	fleet.Peer
	told    fleet.Sighting
	missing time.Duration // true time since when it does not answer
	misses  bool
}

// linksMoved tells every process that something changed about who reaches
// whom, or about what peers say. Probes that show nothing new cost no event.
func (w *World) linksMoved() {
	for _, m := range w.machines {
		if m.proc != nil {
			m.proc.probeSoon(w.between(0, time.Second))
		}
	}
}

// probeSoon plans the next probes whose outcome may be new.
func (p *process) probeSoon(in time.Duration) {
	at := p.w.now + in
	if p.probeAt != 0 && p.probeAt <= at && p.probeAt > p.w.now {
		return
	}
	p.probeAt = at
	p.later(in, func() {
		if p.probeAt == at {
			p.probeAt = 0
			p.probe()
		}
	})
}

// probe looks at every peer of this process as it stands now.
func (p *process) probe() {
	w := p.w
	list := p.member.Peers().Probe
	wanted := map[planner.NodeName]bool{}
	for _, q := range list {
		wanted[q.Node] = true
		if p.peers[q.Node] == nil {
			p.peers[q.Node] = &peer{}
		}
		p.peers[q.Node].Peer = q
	}
	again := time.Duration(0)
	for _, name := range slices.Sorted(maps.Keys(p.peers)) {
		q := p.peers[name]
		s := fleet.Sighting{Node: name}
		if wanted[name] {
			other := w.answers(p.m, q.Peer)
			switch {
			case other != nil:
				q.misses = false
				s.State, s.Suspects, s.Blind = planner.ProbeUp, other.suspects, other.blind
			case !q.misses:
				q.misses, q.missing = true, w.now
				fallthrough
			case w.now < q.missing+missesTake:
				s = q.told
				again = max(again, q.missing+missesTake-w.now)
			default:
				s.State = planner.ProbeDown
			}
		} else {
			delete(p.peers, name)
		}
		if !same(s, q.told) {
			w.say(p.m.called, "probe of %s: %s", name, [...]string{"none", "up", "down"}[s.State])
			q.told = s
			p.member.Heard(s, p.now())
		}
	}
	if again > 0 {
		p.probeSoon(again)
	}
}

func same(a, b fleet.Sighting) bool {
	return a.Node == b.Node && a.State == b.State && a.Blind == b.Blind && slices.Equal(a.Suspects, b.Suspects)
}

// answers is the process that answers a probe; nil = none does.
func (w *World) answers(from *machine, to fleet.Peer) *process {
	for _, m := range w.machines {
		if m.address != "" && m.address == to.Address && m.works() && m.key.public() == to.Key && w.linked(from, m) {
			return m.proc
		}
	}
	return nil
}

// linked reports whether two machines reach each other.
func (w *World) linked(a, b *machine) bool {
	return a.up && b.up && !a.cutPeers && !b.cutPeers && (a.side == b.side || a.side == 0 || b.side == 0)
}

// isProbed reports whether some peer probes this process now.
func (p *process) isProbed() bool {
	for _, m := range p.w.machines {
		if m != p.m && m.works() && m.proc.peers[p.m.node] != nil && m.proc.peers[p.m.node].Address == p.m.address && p.w.linked(m, p.m) {
			return true
		}
	}
	return false
}

// poke tells a peer to look.
func (p *process) poke(to fleet.Peer) {
	p.w.after(p.w.between(time.Millisecond, 10*time.Millisecond), func() {
		if !p.m.works() {
			return
		}
		if other := p.w.answers(p.m, to); other != nil {
			other.deliver(func() { other.member.Poked(other.now()) })
		}
	})
}

// tellPeers makes news of what this process says of others.
func (p *process) tellPeers() {
	v := p.member.View()
	suspects, blind := p.member.Suspected(), p.member.Blind()
	if slices.Equal(suspects, p.suspects) && blind == p.blind && v.NodesSince == p.nodesSince {
		return
	}
	p.suspects, p.blind, p.nodesSince = suspects, blind, v.NodesSince
	p.w.linksMoved()
}
