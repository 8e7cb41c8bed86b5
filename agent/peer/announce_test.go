package peer

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// hears takes announcements until one is a node's with a number, and goes by
// all of them.
func (m *member) hears(t testing.TB, node planner.NodeName, incarnation string, number uint64) planner.Announcement {
	t.Helper()
	for {
		a := m.listens(t, node, incarnation, number)
		m.Applied(node, incarnation, number)
		return a
	}
}

// listens takes announcements until one is a node's with a number.
func (m *member) listens(t testing.TB, node planner.NodeName, incarnation string, number uint64) planner.Announcement {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case a := <-m.Announcements():
			if a.Node == node && a.Incarnation == incarnation && a.Serving == number {
				return a.Announcement
			}
			if a.Node == node && a.Serving > number && a.Incarnation == incarnation {
				t.Fatalf("%s hears %d of %s, and never %d", m.node, a.Serving, node, number)
			}
		case <-deadline:
			t.Fatalf("%s never hears %d of %s; log:\n%s", m.node, number, node, m.logs)
		}
	}
}

// patience bounds waits for what itself takes seconds.
const patience = time.Minute

func (m *member) acknowledged(t testing.TB, number uint64) {
	t.Helper()
	for deadline := time.After(patience); len(m.Awaited(number)) > 0; {
		select {
		case <-m.Acknowledgements():
		case <-deadline:
			t.Fatalf("%s still waits for %v to acknowledge %d; log:\n%s", m.node, m.Awaited(number), number, m.logs)
		}
	}
}

// know lets every one of these listen to all others.
func know(members ...*member) (peers []fleet.Peer) {
	var ids []identity
	for _, m := range members {
		ids = append(ids, m.identity)
		peers = append(peers, m.peer())
	}
	for _, m := range members {
		m.Watch(nil, knowing(ids...))
	}
	return peers
}

func TestAnnounce(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	peers := know(a, b)
	a.Announce(serving("x", 1, 2, 1), peers)
	if got := a.Awaited(1); !slices.Equal(got, []planner.NodeName{"b"}) {
		t.Fatalf("awaits %v", got)
	}
	heard := b.listens(t, "a", "x", 1)
	if len(heard.Instances) != 2 || heard.Instances[1].Slot.Service.Name != "web-service-1" {
		t.Errorf("hears %+v", heard)
	}
	if got := a.Awaited(1); len(got) != 1 {
		t.Error("acknowledged before it was applied")
	}
	b.Applied("a", "x", 1)
	a.acknowledged(t, 1)
	// An announcement that takes the place of another before that was sent is
	// all that arrives; who goes by it goes by what it took the place of, too.
	begin, sent := time.Now(), a.Stats().Announced
	for n := uint64(2); n <= 50; n++ {
		a.Announce(serving("x", n, int(n), 1), peers)
	}
	if got := b.hears(t, "a", "x", 50); len(got.Instances) != 50 {
		t.Errorf("hears %d instances", len(got.Instances))
	}
	a.acknowledged(t, 20)
	a.acknowledged(t, 50)
	if n, most := a.Stats().Announced-sent, uint64(1+time.Since(begin)/tellGap); n > most {
		t.Errorf("%d announcements were sent, more than %d", n, most)
	}
	if n := a.Stats().Greeted; n != 1 {
		t.Errorf("%d connections were greeted", n)
	}
	// One that is not newer changes nothing, but whom to tell.
	c := start(t, "c")
	peers = know(a, b, c)
	a.Announce(serving("x", 50, 0, 0), peers)
	if got := c.hears(t, "a", "x", 50); len(got.Instances) != 50 {
		t.Errorf("c hears %d instances", len(got.Instances))
	}
	a.acknowledged(t, 50)
}

// TestAnnounceLarge: as large as a node may become.
func TestAnnounceLarge(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	a.Announce(serving("x", 1, 500, 3), know(a, b))
	if got := b.hears(t, "a", "x", 1); len(got.Instances) != 500 {
		t.Errorf("hears %d instances", len(got.Instances))
	}
	a.acknowledged(t, 1)
}

// TestAnnounceOlderVersion: a peer that knows no announcements is recognised in
// the handshake, sees no junk, and is not waited for.
func TestAnnounceOlderVersion(t *testing.T) {
	a, old := start(t, "a"), newIdentity(t, "old")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{old.cert}, NextProtos: []string{protocol},
		ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
	}
	var calls, said atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n, _ := tls.Server(conn, config).Read(make([]byte, 100))
			said.Add(int64(n))
			conn.Close()
			calls.Add(1)
		}
	}()
	peers := []fleet.Peer{{Node: "old", Address: listener.Addr().String(), Key: old.key}}
	for n := uint64(1); n <= 5; n++ {
		a.Announce(serving("x", n, 1, 1), peers)
		a.acknowledged(t, n)
	}
	if calls.Load() > 2 || said.Load() > 0 {
		t.Errorf("it was called %d times and told %d bytes", calls.Load(), said.Load())
	}
}

// TestAnnounceSilent: who hears but does not get to apply it is waited for once,
// and again when it has caught up; so is who does not answer at all.
func TestAnnounceSilent(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	peers := know(a, b)
	gone := newIdentity(t, "gone")
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	peers = append(peers, fleet.Peer{Node: "gone", Address: listener.Addr().String(), Key: gone.key})
	begin := time.Now()
	a.Announce(serving("x", 1, 1, 1), peers)
	b.listens(t, "a", "x", 1)
	a.acknowledged(t, 1)
	if took := time.Since(begin); took < ackPatience {
		t.Errorf("they were waited for %v", took)
	}
	a.Announce(serving("x", 2, 1, 1), peers)
	if got := a.Awaited(2); len(got) > 0 {
		t.Errorf("%v are waited for again", got)
	}
	b.hears(t, "a", "x", 2)
	eventually(t, "b has caught up", func() bool {
		a.announcer.mu.Lock()
		defer a.announcer.mu.Unlock()
		return a.announcer.told["b"].applied == 2
	})
	a.Announce(serving("x", 3, 1, 1), peers)
	if got := a.Awaited(3); !slices.Equal(got, []planner.NodeName{"b"}) {
		t.Errorf("awaits %v, want b", got)
	}
}

// TestAnnounceRestart: whichever side begins anew, both soon know of each other
// what they announce, although nothing changed.
func TestAnnounceRestart(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	know(a, b)
	a.Announce(serving("x", 7, 1, 1), []fleet.Peer{b.peer()})
	b.Announce(serving("y", 3, 2, 1), []fleet.Peer{a.peer()})
	b.hears(t, "a", "x", 7)
	a.hears(t, "b", "y", 3)
	a.acknowledged(t, 7)

	address := b.Address()
	b.stop()
	b = run(t, b.identity, address)
	know(a, b)
	b.Announce(serving("z", 1, 0, 0), []fleet.Peer{a.peer()})
	a.hears(t, "b", "z", 1)
	b.hears(t, "a", "x", 7)
	a.acknowledged(t, 7)
	b.acknowledged(t, 1)
}

// TestAnnounceUnreachable: a peer that cannot be reached is told once it can be.
func TestAnnounceUnreachable(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	peers, address := know(a, b), b.Address()
	b.stop()
	a.Announce(serving("x", 1, 1, 1), peers)
	eventually(t, "it was tried", func() bool {
		a.announcer.mu.Lock()
		defer a.announcer.mu.Unlock()
		return a.announcer.told["b"].failures > 2
	})
	b = run(t, b.identity, address)
	know(a, b)
	b.hears(t, "a", "x", 1)
	a.acknowledged(t, 1)
}

// TestAnnounceResumes: connections that are made anew need no signatures, and
// the key is compared all the same.
func TestAnnounceResumes(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	peers := know(a, b)
	a.Announce(serving("x", 1, 1, 1), peers)
	b.hears(t, "a", "x", 1)
	a.acknowledged(t, 1)
	greeted := a.Stats().Greeted
	other := &told{peer: b.peer()}
	if deaf, err := a.announcer.dial(t.Context(), other); err != nil || deaf {
		t.Fatal(deaf, err)
	}
	defer other.line.Close()
	if n := a.Stats().Greeted; n != greeted {
		t.Errorf("the session was not resumed")
	}
	// Who is listened to no more is refused, with or without a session.
	b.Watch(nil, nil)
	refused := &told{peer: b.peer()}
	if _, err := a.announcer.dial(t.Context(), refused); err == nil {
		out := a.announcer.converse(t.Context(), refused, position{"x", 1}, nil, true)
		if out.err == nil {
			t.Error("a session outlives the right to call")
		}
	}
}

// TestAttackAnnouncer: what a node of the fleet can do by announcing.
func TestAttackAnnouncer(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	evil := start(t, "evil")
	know(a, b, evil)
	a.Announce(serving("x", 1, 1, 1), []fleet.Peer{b.peer()})
	b.hears(t, "a", "x", 1)

	line := func() net.Conn {
		t.Helper()
		to := &told{peer: b.peer()}
		if deaf, err := evil.announcer.dial(t.Context(), to); err != nil || deaf {
			t.Fatal(deaf, err)
		}
		t.Cleanup(func() { to.line.Close() })
		return to.line
	}
	announcement := func(n uint64, as planner.Announcement) []byte {
		t.Helper()
		header, err := long(telling{At: position{"e", n}, Told: true})
		if err != nil {
			t.Fatal(err)
		}
		frame, _, err := encodeAnnouncement(as)
		if err != nil {
			t.Fatal(err)
		}
		return append(header, frame...)
	}

	for name, junk := range map[string][]byte{
		"no JSON":                         {0, 0, 0, 4, 'j', 'u', 'n', 'k'},
		"oversized call":                  {0, 0, 255, 255},
		"oversized announcement":          append(mustLong(t, telling{At: position{"e", 1}, Told: true}), 255, 255, 255, 255),
		"a call of another announcement":  announcement(2, serving("e", 1, 1, 1)),
		"a call of no announcement":       mustLong(t, telling{}),
		"a number that nothing is above":  mustLong(t, telling{At: position{"e", maxServing + 1}}),
		"an announcement with no numbers": announcement(1, planner.Announcement{Incarnation: "e"}),
	} {
		conn := line()
		conn.Write(junk)
		if !ended(conn) {
			t.Errorf("%s: was not hung up on", name)
		}
	}
	// It speaks of nobody but itself: what it says counts as its own.
	conn := line()
	conn.Write(announcement(1, serving("e", 1, 1, 1)))
	if got := b.listens(t, "evil", "e", 1); got.Incarnation != "e" {
		t.Errorf("heard %v", got)
	}
	if got := b.hearsay.holds("a"); got != (position{"x", 1}) {
		t.Errorf("b holds %v of a", got)
	}
	// More connections than it needs: the oldest end.
	line()
	line()
	if !ended(conn) {
		t.Error("three connections at once")
	}
	// A flood waits; who announces beside it does not.
	flood := line()
	go func() {
		for n := uint64(2); n < 1000; n++ {
			if _, err := flood.Write(announcement(n, serving("e", n, 200, 3))); err != nil {
				return
			}
			if _, err := readLong(flood, maxCall); err != nil {
				return
			}
		}
	}()
	a.Announce(serving("x", 2, 1, 1), []fleet.Peer{b.peer()})
	b.hears(t, "a", "x", 2)
	a.acknowledged(t, 2)
	// Who is listened to no more is forgotten, and so is what it said.
	b.Watch(nil, knowing(a.identity))
	if !ended(flood) {
		t.Error("its connection goes on")
	}
	if got := b.hearsay.holds("evil"); got != (position{}) {
		t.Errorf("b still holds %v of it", got)
	}
}

func mustLong(t *testing.T, what any) []byte {
	t.Helper()
	frame, err := long(what)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// BenchmarkAnnounce is one change told to many peers until all have
// acknowledged it.
func BenchmarkAnnounce(b *testing.B) {
	for _, n := range []int{10, 100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			from := start(b, "a")
			var members []*member
			for k := range n {
				m := start(b, planner.NodeName(fmt.Sprintf("n%d", k)))
				go func() {
					for {
						select {
						case a := <-m.Announcements():
							m.Applied(a.Node, a.Incarnation, a.Serving)
						case <-b.Context().Done():
							return
						}
					}
				}()
				members = append(members, m)
			}
			peers := know(append(members, from)...)
			number := uint64(0)
			announce := func() {
				number++
				from.Announce(serving("x", number, 20, 1), peers)
				for applied := 0; applied < n; {
					<-from.Acknowledgements()
					from.announcer.mu.Lock()
					applied = 0
					for _, t := range from.announcer.told {
						if t.applied >= number {
							applied++
						}
					}
					from.announcer.mu.Unlock()
				}
			}
			announce() // the first connections
			for b.Loop() {
				announce()
			}
			b.ReportMetric(float64(from.Stats().Greeted), "full-handshakes")
			b.ReportMetric(float64(from.Stats().Announced)/float64(number), "sent/op")
		})
	}
}

// BenchmarkGreeting is a connection to announce, with and without a session to
// resume; both ends are in this process.
func BenchmarkGreeting(b *testing.B) {
	for name, sessions := range map[string]tls.ClientSessionCache{"full": nil, "resumed": tls.NewLRUClientSessionCache(1)} {
		b.Run(name, func(b *testing.B) {
			from, to := start(b, "a"), start(b, "b")
			know(from, to)
			from.announcer.sessions = sessions
			to.mu.Lock()
			to.callers[from.key].hearing = bucket{rate: 1e9, burst: 1e9} // nobody is held up here
			to.mu.Unlock()
			for b.Loop() {
				t := &told{peer: to.peer()}
				if deaf, err := from.announcer.dial(b.Context(), t); err != nil || deaf {
					b.Fatal(deaf, err)
				}
				if _, err := from.announcer.exchange(t.line, telling{At: position{"x", 1}}, nil); err != nil {
					b.Fatal(err)
				}
				t.line.Close()
			}
		})
	}
}
