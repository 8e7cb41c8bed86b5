package peer

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// heard takes what the notebook tells until nothing is left to tell.
func heard(n *notebook) string {
	var all string
	for {
		synctest.Wait()
		select {
		case s := <-n.out:
			all += fmt.Sprintf("%s %s %v %v; ", s.Node, []string{"none", "up", "down"}[s.State], s.Suspects, s.Blind)
		default:
			return all
		}
	}
}

// TestNotebook: only changes are told, of each peer the latest, and words that
// are not repeated are taken back.
func TestNotebook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := newNotebook(5 * time.Second)
		go n.tell(ctx)
		expect := func(want string) {
			t.Helper()
			if got := heard(n); got != want {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		n.probed("a", planner.ProbeUp)
		n.said("a", words{})
		expect("a up [] false; ")
		// Nothing new: nothing told.
		n.probed("a", planner.ProbeUp)
		n.again("a", words{})
		expect("")
		// The owner is slow: of each, the first that waits to be taken and the latest.
		n.probed("b", planner.ProbeUp)
		n.probed("c", planner.ProbeUp)
		synctest.Wait()
		n.probed("c", planner.ProbeDown)
		n.said("b", words{Blind: true})
		n.said("b", words{Suspects: []planner.NodeName{"c"}})
		expect("b up [] false; c down [] false; b up [c] false; ")
		// Back to what was told before it was taken: nothing told.
		n.probed("a", planner.ProbeDown)
		n.probed("d", planner.ProbeNone)
		expect("a down [] false; ")
		// b repeats itself, then falls silent.
		for range 4 {
			time.Sleep(3 * time.Second)
			n.again("b", words{Suspects: []planner.NodeName{"c"}})
			n.expire()
		}
		expect("")
		time.Sleep(6 * time.Second)
		n.expire()
		expect("b up [] false; ")
		// What is not probed any more and says nothing leaves no page.
		for _, node := range []planner.NodeName{"a", "b", "c", "d"} {
			n.probed(node, planner.ProbeNone)
		}
		heard(n)
		n.expire()
		if len(n.pages) > 0 {
			t.Errorf("%d pages left", len(n.pages))
		}
	})
}

func TestBucket(t *testing.T) {
	now := time.Unix(1000, 0)
	b := bucket{rate: 2, burst: 3}
	for range 3 {
		if wait := b.take(1, now); wait != 0 {
			t.Fatalf("waits %v within the burst", wait)
		}
	}
	if wait := b.take(1, now); wait != 500*time.Millisecond || !b.empty(now) {
		t.Errorf("the fourth waits %v", wait)
	}
	// Credit has an end, and so have savings.
	if wait := b.take(100, now); wait != 1500*time.Millisecond {
		t.Errorf("a hundred more wait %v", wait)
	}
	now = now.Add(time.Hour)
	if b.empty(now) || b.take(3, now) != 0 || b.take(1, now) == 0 {
		t.Error("an hour brings the burst, no more")
	}
}

// TestAttackGate: strangers that stay are the first to go, those that come
// again and again are not looked at any more, and all of that costs the others
// nothing.
func TestAttackGate(t *testing.T) {
	g := newGate()
	now := time.Unix(1000, 0)
	var conns []*from
	for i := range maxGreetings + 5 {
		c := &from{address: fmt.Sprintf("192.0.2.%d:99", i)}
		conns = append(conns, c)
		if _, ok := g.enter(c, now); !ok {
			t.Fatalf("%d refused", i)
		}
	}
	for i, c := range conns {
		if c.closed != (i < 5) {
			t.Errorf("connection %d: closed %v", i, c.closed)
		}
	}
	g = newGate()
	tries := 0
	for ; tries < 2*failureBurst; tries++ {
		leave, ok := g.enter(&from{address: fmt.Sprintf("[2001:db8::%d]:99", tries+1)}, now)
		if !ok {
			break
		}
		leave(false, now)
	}
	if tries != failureBurst {
		t.Errorf("refused after %d failures", tries)
	}
	if _, ok := g.enter(&from{address: "[2001:db8:0:1::1]:99"}, now); !ok {
		t.Error("another network is refused as well")
	}
	if _, ok := g.enter(&from{address: "[2001:db8::1]:99"}, now.Add(2*time.Second)); !ok {
		t.Error("refused for good")
	}
	for i := range 10 * maxFailures {
		leave, _ := g.enter(&from{address: fmt.Sprintf("10.%d.%d.1:99", i/256, i%256)}, now)
		leave(false, now)
	}
	if len(g.failures) > maxFailures {
		t.Errorf("%d addresses remembered", len(g.failures))
	}
}

// from is a connection of which only the origin is known.
type from struct {
	net.Conn
	address string
	closed  bool
}

func (f *from) RemoteAddr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", f.address)
	return a
}
func (f *from) Close() error { f.closed = true; return nil }
