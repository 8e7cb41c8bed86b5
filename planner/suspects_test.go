package planner

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const sec = time.Second

// seen is a fleet of n nodes d00, d01 … as d00 sees it at rest after 1000 s:
// all have addresses and answer the probes of those who observe them, and beat
// last when they registered, 900 s ago.
func seen(n int) View {
	v := View{
		Self: "d00", Nodes: map[NodeName]NodeView{}, Poll: 5 * sec, Beat: 15 * sec,
		Health: Health{Started: 50 * sec, Read: 998 * sec, Pushed: 100 * sec},
	}
	for i := range n {
		name := NodeName(fmt.Sprintf("d%02d", i))
		v.Nodes[name] = NodeView{
			Record:   NodeRecord{Node: name, Epoch: 1, Address: string(name) + ":7473"},
			Sighting: Sighting{BeatsKind: BeatRing, BeatsSince: 100 * sec, Life: 100 * sec},
		}
	}
	for _, x := range v.live() {
		if slices.Contains(v.Observers(x), v.Self) {
			v.see(x, func(n *NodeView) { n.Probe, n.ProbeSince = ProbeUp, 100*sec })
		}
	}
	return v
}

var seenAt = Time{Boot: 1000 * sec}

func (v View) see(x NodeName, change func(*NodeView)) {
	n := v.Nodes[x]
	change(&n)
	v.Nodes[x] = n
}

// unreached makes self's probes of nodes fail, and those of every other
// observer that is not among them.
func (v View) unreached(since time.Duration, nodes ...NodeName) {
	for _, x := range nodes {
		v.see(x, func(n *NodeView) {
			n.Probe, n.ProbeSince, n.SuspectedBy = ProbeDown, since, nil
			for _, y := range v.Observers(x) {
				if y != v.Self && !slices.Contains(nodes, y) {
					n.SuspectedBy = append(n.SuspectedBy, y)
				}
			}
			slices.Sort(n.SuspectedBy)
		})
	}
	for _, y := range Watched(v) {
		if v.Nodes[y].Probe == ProbeNone {
			v.see(y, func(n *NodeView) { n.Probe, n.ProbeSince = ProbeUp, since })
		}
	}
}

// observed lists nodes that self observes, by its rank among their observers.
func (v View) observed(rank int) []NodeName {
	var names []NodeName
	for _, x := range v.live() {
		if x != v.Self && slices.Index(v.Observers(x), v.Self) == rank {
			names = append(names, x)
		}
	}
	return names
}

func (v View) challenged(x NodeName, since time.Duration) {
	v.see(x, func(n *NodeView) { n.BeatsKind, n.BeatsSince = BeatChallenge, since })
}

func said(steps []Suspicion) string {
	var out string
	for _, s := range steps {
		out += fmt.Sprintf("%s%s%s ", []string{"challenge ", "fence ", "beat "}[s.Step], s.Node, map[bool]string{true: " fast"}[s.Fast])
	}
	return out[:max(0, len(out)-1)]
}

// TestSuspects goes through the rules in a fleet of three: d00 is self, d01
// observes d02 with it. Self ranks first for d02.
func TestSuspects(t *testing.T) {
	const down = 996 * sec // when the probes of d02 began to fail
	fast := Followed{Fleet: Fleet{FastFailover: true}}
	tests := []struct {
		name   string
		f      Followed
		change func(v View) View
		want   string
		next   time.Duration
	}{
		// Nothing happens in a healthy fleet, and nothing is waited for.
		{"rest", Followed{}, func(v View) View { return v }, "", Never},
		// Down for self and the other observer: challenged at once.
		{"dead", Followed{}, func(v View) View { v.unreached(down, "d02"); return v }, "challenge d02", Never},
		// The other observer reaches it: a link is cut, not a node.
		{"one link", Followed{}, func(v View) View {
			v.unreached(down, "d02")
			v.see("d02", func(n *NodeView) { n.SuspectedBy = nil })
			return v
		}, "", Never},
		// The other observer has an address, but no probe of it has ended yet.
		{"witness not asked yet", Followed{}, func(v View) View {
			v.unreached(down, "d02")
			v.see("d02", func(n *NodeView) { n.SuspectedBy = nil })
			v.see("d01", func(n *NodeView) { n.Probe = ProbeNone })
			return v
		}, "", Never},
		// No other observer can be asked, since it has no address: one is enough.
		{"no witness", Followed{}, func(v View) View {
			v.unreached(down, "d02")
			v.see("d02", func(n *NodeView) { n.SuspectedBy = nil })
			v.see("d01", func(n *NodeView) { n.Record.Address, n.Probe, n.Life = "", ProbeNone, 990*sec })
			return v
		}, "challenge d02", 1040 * sec},
		// Only the word of one who is no node: nobody.
		{"word of a stranger", Followed{}, func(v View) View {
			v.unreached(down, "d02")
			v.see("d02", func(n *NodeView) { n.SuspectedBy = []NodeName{"d77"} })
			return v
		}, "", Never},
		// The others say so, but self reaches it.
		{"hearsay", Followed{}, func(v View) View {
			v.see("d02", func(n *NodeView) { n.SuspectedBy = []NodeName{"d01"} })
			return v
		}, "", Never},
		// It answered a challenge after the probes failed: alive, cut from peers.
		{"answered", Followed{}, func(v View) View {
			v.unreached(940*sec, "d02")
			v.see("d02", func(n *NodeView) { n.Life, n.BeatsSince = 951*sec, 951*sec })
			return v
		}, "", 1001 * sec},
		// And then three beats and a poll of silence.
		{"answered, then silent", Followed{}, func(v View) View {
			v.unreached(900*sec, "d02")
			v.see("d02", func(n *NodeView) { n.Life, n.BeatsSince = 950*sec, 950*sec })
			return v
		}, "challenge d02", Never},
		// A challenge stands, anybody's: it has a poll and three seconds.
		{"challenged", Followed{}, func(v View) View {
			v.unreached(down, "d02")
			v.challenged("d02", 993*sec)
			return v
		}, "", 1001 * sec},
		{"challenged, time is up", Followed{}, func(v View) View {
			v.unreached(980*sec, "d02")
			v.challenged("d02", 992*sec)
			return v
		}, "fence d02", Never},
		// A fence that somebody began is carried out in the same way.
		{"half a fence", Followed{}, func(v View) View {
			v.unreached(980*sec, "d02")
			v.see("d02", func(n *NodeView) { n.BeatsKind, n.BeatsSince = BeatFence, 992*sec })
			return v
		}, "fence d02", Never},
		// A challenge left over by somebody, of a node that answers probes.
		{"challenged by mistake", Followed{}, func(v View) View { v.challenged("d02", 900*sec); return v }, "", Never},
		// Nothing that could be challenged: it would have replaced it by itself.
		{"no beats at all", Followed{}, func(v View) View {
			v.unreached(960*sec, "d02")
			v.see("d02", func(n *NodeView) { n.BeatsKind = BeatMissing })
			return v
		}, "", 1010 * sec},
		{"no beats for long", Followed{}, func(v View) View {
			v.unreached(950*sec, "d02")
			v.see("d02", func(n *NodeView) { n.BeatsKind = BeatMissing })
			return v
		}, "fence d02", Never},
		{"junk in the place of beats", Followed{}, func(v View) View {
			v.unreached(800*sec, "d02")
			v.see("d02", func(n *NodeView) { n.BeatsKind, n.BeatsSince = BeatForeign, 960*sec })
			return v
		}, "", 1010 * sec},
		// failover: fast fences from a ring value that stood long enough …
		{"fast", fast, func(v View) View { v.unreached(down, "d02"); return v }, "fence d02 fast", Never},
		// … waits for it while the node has just beaten …
		{"fast, just beaten", fast, func(v View) View {
			v.unreached(down, "d02")
			v.see("d02", func(n *NodeView) { n.BeatsSince, n.Life = 995*sec, 995*sec })
			return v
		}, "", 1003 * sec},
		// … never without a second observer, nor for exclusive holders.
		{"fast, one observer", fast, func(v View) View {
			v.unreached(down, "d02")
			v.see("d02", func(n *NodeView) { n.SuspectedBy = nil })
			v.see("d01", func(n *NodeView) { n.Record.Address, n.Probe, n.Life = "", ProbeNone, 990*sec })
			return v
		}, "challenge d02", 1040 * sec},
		{"fast, exclusive", fast, func(v View) View {
			v.unreached(down, "d02")
			v.Docs = map[ServiceID]DocView{{"default", "db"}: {Doc: LeaseDoc{Leases: []Lease{{Slot: "0", Node: "d02", Exclusive: &Exclusive{}}}}}}
			return v
		}, "challenge d02", Never},
		// Without an address: silence is all there is.
		{"no address, beats", Followed{}, func(v View) View { v.hide("d02", 960*sec); return v }, "", 1010 * sec},
		{"no address, silent", Followed{}, func(v View) View { v.hide("d02", 950*sec); return v }, "challenge d02", Never},
		// Not seen alive since self began to look: it counts from there.
		{"no address, never seen", Followed{}, func(v View) View { v.hide("d02", 0); v.Health.Started = 960 * sec; return v }, "", 1010 * sec},
		// fast is of peers: who has none is asked.
		{"no address, fast", fast, func(v View) View { v.hide("d02", 900*sec); return v }, "challenge d02", Never},
		// Those who do not take part.
		{"fenced", Followed{}, func(v View) View {
			v.unreached(down, "d02")
			v.see("d02", func(n *NodeView) { n.Record.Fence = &Fence{Epoch: 2, Fenced: true} })
			return v
		}, "", Never},
		{"retired", Followed{}, func(v View) View {
			v.unreached(down, "d02")
			v.see("d02", func(n *NodeView) { n.Record.Retired = true })
			return v
		}, "", Never},
		{"self is fenced", Followed{}, func(v View) View {
			v.unreached(down, "d02")
			v.see("d00", func(n *NodeView) { n.Record.Fence = &Fence{Epoch: 2, Fenced: true} })
			return v
		}, "", Never},
		{"alarm", Followed{}, func(v View) View { v.unreached(down, "d02"); v.Alarm = "records went back"; return v }, "", Never},
		// L5: who fares badly itself judges nobody.
		{"read failed", Followed{}, func(v View) View { v.unreached(down, "d02"); v.Health.ReadFailed = 991 * sec; return v }, "", 1001 * sec},
		{"read failed long ago", Followed{}, func(v View) View { v.unreached(down, "d02"); v.Health.ReadFailed = 990 * sec; return v }, "challenge d02", Never},
		{"push failed", Followed{}, func(v View) View { v.unreached(down, "d02"); v.Health.PushFailed = 999 * sec; return v }, "", 1009 * sec},
		{"read nothing of late", Followed{}, func(v View) View { v.unreached(down, "d02"); v.Health.Read = 989 * sec; return v }, "", Never},
		{"read nothing at all", Followed{}, func(v View) View { v.unreached(down, "d02"); v.Health.Read = 0; return v }, "", Never},
		{"just started", Followed{}, func(v View) View { v.unreached(down, "d02"); v.Health.Started = 993 * sec; return v }, "", 1001 * sec},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := seen(3)
			v.rankFirst(t, "d02")
			steps, next := Suspects(tt.f, tt.change(v), seenAt)
			if said(steps) != tt.want || next != tt.next {
				t.Errorf("%q, next %v; want %q, %v", said(steps), next, tt.want, tt.next)
			}
		})
	}
}

// hide takes a node's address away; it beat last at life.
func (v View) hide(x NodeName, life time.Duration) {
	v.see(x, func(n *NodeView) {
		n.Record.Address, n.Probe, n.ProbeSince = "", ProbeNone, 0
		n.Life, n.BeatsSince = life, life
	})
}

// rankFirst checks what a test takes for granted.
func (v View) rankFirst(t *testing.T, x NodeName) {
	t.Helper()
	if v.Observers(x)[0] != v.Self {
		t.Fatalf("observers of %s are %v: choose another name", x, v.Observers(x))
	}
}

// TestSuspectsRank: the second observer acts two seconds after the first would,
// at once if the first is dead as well.
func TestSuspectsRank(t *testing.T) {
	v := seen(10)
	x := v.observed(1)[0]
	first := v.Observers(x)[0]
	v.unreached(999*sec, x)
	if steps, next := Suspects(Followed{}, v, seenAt); len(steps) > 0 || next != 1001*sec {
		t.Errorf("%q, next %v", said(steps), next)
	}
	if steps, _ := Suspects(Followed{}, v, Time{Boot: 1001 * sec}); said(steps) != "challenge "+string(x) {
		t.Errorf("two seconds later: %q", said(steps))
	}
	v.unreached(999*sec, x, first)
	if steps, _ := Suspects(Followed{}, v, seenAt); !slices.ContainsFunc(steps, func(s Suspicion) bool { return s.Node == x }) {
		t.Errorf("the first is dead: %q", said(steps))
	}
}

// TestSuspectsWhy: what stands in the log of the records.
func TestSuspectsWhy(t *testing.T) {
	v := seen(3)
	v.unreached(990*sec, "d02")
	steps, _ := Suspects(Followed{}, v, seenAt)
	if len(steps) != 1 || steps[0].Why != "not reached by d00, d01" {
		t.Errorf("%+v", steps)
	}
	v.challenged("d02", 991*sec)
	steps, _ = Suspects(Followed{}, v, seenAt)
	if len(steps) != 1 || steps[0].Why != "not reached by d00, d01, did not answer a challenge" {
		t.Errorf("%+v", steps)
	}
	v = seen(3)
	v.hide("d02", 900*sec)
	steps, _ = Suspects(Followed{}, v, seenAt)
	if len(steps) != 1 || steps[0].Why != "no beat for 1m40s" {
		t.Errorf("%+v", steps)
	}
}

// TestSuspectsTwo: of two, one is left to observe; half of the fleet is not
// more than half.
func TestSuspectsTwo(t *testing.T) {
	v := seen(2)
	v.unreached(996*sec, "d01")
	if steps, _ := Suspects(Followed{Fleet: Fleet{FastFailover: true}}, v, seenAt); said(steps) != "challenge d01" {
		t.Errorf("%q", said(steps))
	}
	v.challenged("d01", 992*sec)
	if steps, _ := Suspects(Followed{}, v, seenAt); said(steps) != "fence d01" {
		t.Errorf("%q", said(steps))
	}
}

// TestSuspectsMass: to the last of five, four seem dead. They are challenged
// at once; the first fence comes after a minute and a proof that its pushes
// are accepted, each further one ten seconds later, to the last.
func TestSuspectsMass(t *testing.T) {
	v := seen(5)
	dead := []NodeName{"d01", "d02", "d03", "d04"}
	v.unreached(996*sec, dead...)
	at := func(s int) Time {
		v.Health.Read = time.Duration(s) * sec
		return Time{Boot: v.Health.Read}
	}
	if steps, _ := Suspects(Followed{Fleet: Fleet{FastFailover: true}}, v, at(1010)); len(steps) == 0 || steps[0].Step != StepChallenge {
		t.Fatalf("at first: %q", said(steps))
	}
	for _, x := range dead {
		v.challenged(x, 1001*sec)
	}
	if steps, next := Suspects(Followed{}, v, at(1055)); len(steps) > 0 || next != 1056*sec {
		t.Fatalf("before a minute is over: %q, next %v", said(steps), next)
	}
	if steps, _ := Suspects(Followed{}, v, at(1056)); said(steps) != "beat d00" {
		t.Fatalf("no push was accepted since: %q", said(steps))
	}
	v.Health.Pushed = 996*sec + 1
	for s := 1056; s < 1096; s += 10 {
		steps, _ := Suspects(Followed{}, v, at(s))
		if len(steps) != 1 || steps[0].Step != StepFence {
			t.Fatalf("at %d: %q", s, said(steps))
		}
		v.see(steps[0].Node, func(n *NodeView) {
			n.Record.Fence, n.BeatsKind, n.BeatsSince = &Fence{Epoch: 2, Fenced: true}, BeatFence, at(s).Boot
		})
		if steps, next := Suspects(Followed{}, v, at(s+9)); len(steps) > 0 || s < 1086 && next != at(s+10).Boot {
			t.Fatalf("nine seconds after the fence at %d: %q, next %v", s, said(steps), next)
		}
	}
	// Even with a second observer nothing is fast among many.
	v = seen(5)
	v.unreached(996*sec, dead[:3]...)
	if steps, _ := Suspects(Followed{Fleet: Fleet{FastFailover: true}}, v, at(1010)); len(steps) == 0 || steps[0].Step != StepChallenge {
		t.Errorf("three of five: %q", said(steps))
	}
	// One death after another is no mass: the fenced count for a minute only.
	v = seen(3)
	v.see("d01", func(n *NodeView) { n.Record.Fence, n.BeatsSince = &Fence{Epoch: 2}, 930*sec })
	v.unreached(980*sec, "d02")
	v.challenged("d02", 985*sec)
	if steps, _ := Suspects(Followed{}, v, seenAt); said(steps) != "fence d02" {
		t.Errorf("the second death, later: %q", said(steps))
	}
}

// TestSuspectsFifty: in a large fleet, self judges its share.
func TestSuspectsFifty(t *testing.T) {
	v := seen(50)
	mine := slices.Concat(v.observed(0), v.observed(1), v.observed(2))
	if len(mine) < 2 || len(v.observed(0)) == 0 {
		t.Fatalf("d00 observes %v: choose another name", mine)
	}
	x := v.observed(0)[0]
	// All the fleet says that a node is dead which is not self's to observe.
	for _, y := range v.live() {
		if y != v.Self && !slices.Contains(mine, y) {
			v.see(y, func(n *NodeView) { n.SuspectedBy, n.Probe, n.ProbeSince = v.Observers(y), ProbeDown, 900*sec })
			break
		}
	}
	if steps, _ := Suspects(Followed{}, v, seenAt); len(steps) > 0 {
		t.Errorf("not its own: %q", said(steps))
	}
	// One of its own dies.
	v = seen(50)
	v.unreached(996*sec, x)
	v.challenged(x, 990*sec)
	if steps, _ := Suspects(Followed{}, v, Time{Boot: 1001 * sec}); said(steps) != "fence "+string(x) {
		t.Errorf("%q", said(steps))
	}
	// All it probes are down: it takes itself for the one that is cut off.
	v = seen(50)
	for range 2 { // then it probes their observers, too
		v.unreached(990*sec, Watched(v)...)
	}
	for _, y := range mine {
		v.challenged(y, 990*sec)
	}
	if steps, next := Suspects(Followed{}, v, seenAt); len(steps) > 0 || next < 1050*sec {
		t.Errorf("cut off itself: %q, next %v", said(steps), next)
	}
	// Pushes at once are few.
	v = seen(50)
	for _, y := range v.live() {
		v.hide(y, 900*sec)
	}
	if steps, _ := Suspects(Followed{}, v, seenAt); len(steps) > maxSuspicions {
		t.Errorf("%d steps at once", len(steps))
	}
}

func TestWatched(t *testing.T) {
	v := seen(50)
	mine := slices.Concat(v.observed(0), v.observed(1), v.observed(2))
	slices.Sort(mine)
	// At rest: those it observes.
	if got := Watched(v); !slices.Equal(got, mine) {
		t.Errorf("%v, want %v", got, mine)
	}
	// Of one it cannot reach, the other observers as well.
	x := mine[0]
	v.see(x, func(n *NodeView) { n.Probe = ProbeDown })
	want := slices.Concat(mine, slices.DeleteFunc(v.Observers(x), func(y NodeName) bool { return y == v.Self }))
	slices.Sort(want)
	if got := Watched(v); !slices.Equal(got, slices.Compact(want)) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Suspected(v); !slices.Equal(got, []NodeName{x}) {
		t.Errorf("suspected %v", got)
	}
	// Nobody can probe a node without an address, a fenced node probes nobody.
	v.hide(x, 900*sec)
	if slices.Contains(Watched(v), x) {
		t.Error("probes a node without address")
	}
	v.see("d00", func(n *NodeView) { n.Record.Fence = &Fence{} })
	if got := Watched(v); len(got) > 0 {
		t.Errorf("fenced, but probes %v", got)
	}
}

func TestOwesBeats(t *testing.T) {
	tests := []struct {
		name   string
		v      View
		probed time.Duration
		want   bool
	}{
		{"probed", seen(3), 991 * sec, false},
		{"not probed any more", seen(3), 989 * sec, true},
		{"never probed", seen(3), Never, true},
		// There was no time yet for peers to find it.
		{"just started", func() View { v := seen(3); v.Health.Started = 995 * sec; return v }(), Never, false},
		// Without an address nobody can probe it.
		{"no address", func() View { v := seen(3); v.hide("d00", 990*sec); return v }(), 999 * sec, true},
		// Alone: nobody looks.
		{"alone", seen(1), Never, false},
		{"fenced", func() View {
			v := seen(3)
			v.see("d00", func(n *NodeView) { n.Record.Fence = &Fence{} })
			return v
		}(), Never, false},
	}
	for _, tt := range tests {
		if got := OwesBeats(tt.v, tt.probed, seenAt); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
