package planner

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPropertySuspicion cuts and mends links between peers, hides addresses,
// kills nodes, in any order. A living node that can read and push is never
// fenced, however many challenge it; every dead one is, once links are mended.
func TestPropertySuspicion(t *testing.T) {
	checks(t, 300)
	rapid.Check(t, func(t *rapid.T) {
		w := newSuspicion(t, rapid.IntRange(2, 6).Draw(t, "nodes"))
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			w.change()
			w.run(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * sec)
		}
		clear(w.cut)
		// One minute, ten seconds for each, silence for those without address.
		w.run(3*w.beat + 60*sec + time.Duration(len(w.nodes))*15*sec + 60*sec)
		for _, n := range w.nodes {
			if !n.alive && w.board[n.name].fence == nil && w.living() > 0 {
				t.Fatalf("%s is dead and was not fenced", n.name)
			}
		}
	})
}

// suspicion is a fleet of which only life and death are modelled: a board of
// records with compare-and-swap, members that read it at their own pace and
// whose pushes take their time, and links between peers.
type suspicion struct {
	t     *rapid.T
	now   time.Duration
	beat  time.Duration
	nodes []*mortal
	board map[NodeName]*grave
	cut   map[[2]NodeName]bool // links, in the order of names
	late  []latePush
}

// mortal is one member.
type mortal struct {
	name           NodeName
	alive          bool
	view           View
	probed         time.Duration
	nextRead, beat time.Duration
	pushing        bool
	// What it probes and tells its peers, as of this step.
	watched, suspected []NodeName
}

// grave is what the records say of a node. serial is the value of its beats.
type grave struct {
	address string
	kind    BeatKind
	serial  int
	fence   *Fence
}

// latePush is a push on its way: it is carried out if the value is still the
// one it was made from.
type latePush struct {
	by, of NodeName
	lands  time.Duration
	serial int
	kind   BeatKind
}

func newSuspicion(t *rapid.T, n int) *suspicion {
	w := &suspicion{t: t, now: 100 * sec, beat: BeatInterval, board: map[NodeName]*grave{}, cut: map[[2]NodeName]bool{}}
	for i := range n {
		name := NodeName(fmt.Sprintf("d%02d", i))
		g := &grave{kind: BeatRing, address: string(name) + ":7473"}
		if rapid.IntRange(0, 4).Draw(t, "address") == 0 {
			g.address = ""
		}
		w.board[name] = g
		w.nodes = append(w.nodes, &mortal{name: name, alive: true, view: View{
			Self: name, Nodes: map[NodeName]NodeView{}, Poll: 5 * sec, Beat: w.beat, Health: Health{Started: w.now},
		}})
	}
	return w
}

func (w *suspicion) living() (n int) {
	for _, m := range w.nodes {
		if m.alive {
			n++
		}
	}
	return n
}

func link(a, b NodeName) [2]NodeName { return [2]NodeName{min(a, b), max(a, b)} }

// change does one thing to the fleet; the last node lives.
func (w *suspicion) change() {
	a := rapid.SampledFrom(w.nodes).Draw(w.t, "node")
	b := rapid.SampledFrom(w.nodes).Draw(w.t, "peer")
	switch rapid.SampledFrom([]string{"kill", "cut", "cut", "mend", "cut all", "nothing"}).Draw(w.t, "change") {
	case "kill":
		a.alive = a.alive && w.living() == 1
	case "cut":
		w.cut[link(a.name, b.name)] = true
	case "mend":
		delete(w.cut, link(a.name, b.name))
	case "cut all":
		for _, c := range w.nodes {
			w.cut[link(a.name, c.name)] = true
		}
	}
}

// run lets time pass in steps of half a second.
func (w *suspicion) run(d time.Duration) {
	for end := w.now + d; w.now < end; w.now += sec / 2 {
		w.land()
		for _, m := range w.nodes {
			m.watched, m.suspected = nil, nil
			if m.alive {
				m.watched, m.suspected = Watched(m.view), Suspected(m.view)
			}
		}
		for _, m := range w.nodes {
			if m.alive {
				w.probe(m)
			}
		}
		for _, m := range w.nodes {
			if m.alive {
				w.read(m)
				w.act(m)
			}
		}
	}
}

// land carries out the pushes whose time has come.
func (w *suspicion) land() {
	w.late = slices.DeleteFunc(w.late, func(p latePush) bool {
		if p.lands > w.now {
			return false
		}
		g, by := w.board[p.of], w.member(p.by)
		if g.serial == p.serial && g.fence == nil {
			g.serial, g.kind = g.serial+1, p.kind
			if p.kind == BeatFence {
				if w.member(p.of).alive {
					w.t.Fatalf("%v: %s fences %s, which is alive", w.now, p.by, p.of)
				}
				g.fence = &Fence{Epoch: 2, Fenced: true, By: p.by}
			}
			by.view.Health.Pushed = p.lands - sec
		}
		by.pushing, by.nextRead = false, w.now // a push is followed by a look
		return true
	})
}

func (w *suspicion) member(name NodeName) *mortal {
	return w.nodes[slices.IndexFunc(w.nodes, func(m *mortal) bool { return m.name == name })]
}

// probe sets what a member's probes show, three seconds after the fact, and
// what those say whom it hears.
func (w *suspicion) probe(m *mortal) {
	for _, x := range w.nodes {
		if x == m {
			continue
		}
		n := m.view.Nodes[x.name]
		state := ProbeNone
		switch {
		case !slices.Contains(m.watched, x.name):
		case x.alive && !w.cut[link(m.name, x.name)]:
			state, x.probed = ProbeUp, w.now
		default:
			state = ProbeDown
		}
		if state == ProbeDown && n.Probe == ProbeUp {
			n.Probe, n.ProbeSince = ProbeNone, w.now // misses begin
		} else if state != n.Probe && (state != ProbeDown || w.now-n.ProbeSince >= 3*sec) {
			n.Probe, n.ProbeSince = state, w.now
		}
		n.SuspectedBy = nil
		for _, y := range w.nodes {
			if y != m && slices.Contains(y.suspected, x.name) && w.hears(m, y) {
				n.SuspectedBy = append(n.SuspectedBy, y.name)
			}
		}
		m.view.Nodes[x.name] = n
	}
}

// hears reports whether one of the two probes the other: both then know what
// the other says.
func (w *suspicion) hears(a, b *mortal) bool {
	return !w.cut[link(a.name, b.name)] && (slices.Contains(a.watched, b.name) || slices.Contains(b.watched, a.name))
}

// read looks at the board every 4.5 to 5.5 seconds.
func (w *suspicion) read(m *mortal) {
	if w.now < m.nextRead {
		return
	}
	m.nextRead = w.now + time.Duration(rapid.IntRange(9, 11).Draw(w.t, "poll"))*sec/2
	m.view.Health.Read = w.now
	for name, g := range w.board {
		n := m.view.Nodes[name]
		n.Record = NodeRecord{Node: name, Epoch: 1, Address: g.address, Fence: g.fence}
		value := Hash(fmt.Sprint(g.serial))
		if n.Beats != value {
			if g.kind == BeatRing || g.kind == BeatChallenge && n.BeatsKind == BeatChallenge {
				n.Life = w.now
			}
			n.Beats, n.BeatsKind, n.BeatsSince = value, g.kind, w.now
		}
		m.view.Nodes[name] = n
	}
}

// act answers challenges, beats where it must, and does what Suspects says,
// one push at a time.
func (w *suspicion) act(m *mortal) {
	self, known := m.view.Nodes[m.name]
	if m.pushing || !known {
		return
	}
	now := Time{Boot: w.now}
	if self.BeatsKind == BeatChallenge || OwesBeats(m.view, m.probed, now) && w.now >= m.beat {
		m.beat = w.now + w.beat
		w.push(m, m.name, BeatRing)
		return
	}
	steps, _ := Suspects(Followed{}, m.view, now)
	if len(steps) > 0 {
		w.push(m, steps[0].Node, []BeatKind{StepChallenge: BeatChallenge, StepFence: BeatFence, StepBeat: BeatRing}[steps[0].Step])
	}
}

func (w *suspicion) push(m *mortal, of NodeName, kind BeatKind) {
	var serial int
	fmt.Sscan(string(m.view.Nodes[of].Beats), &serial)
	m.pushing = true
	lands := w.now + time.Duration(rapid.IntRange(0, 2).Draw(w.t, "push"))*sec/2
	w.late = append(w.late, latePush{by: m.name, of: of, lands: lands, serial: serial, kind: kind})
}
