package peer

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxGreetings bounds the handshakes under way. A further one ends the
	// oldest: that of a peer takes milliseconds, one that is slow on purpose
	// becomes the oldest.
	maxGreetings = 64
	// Where handshakes failed, further ones from the same address are refused
	// unseen until tokens are back. There are enough for the nodes of a new
	// fleet behind one address, who do not know each other at first.
	failureRate  = 20
	failureBurst = 100
	maxFailures  = 1024 // addresses remembered
)

// gate makes strangers cheap.
type gate struct {
	mu       sync.Mutex
	greeting []net.Conn // oldest first
	failures map[netip.Addr]*bucket
}

func newGate() *gate { return &gate{failures: map[netip.Addr]*bucket{}} }

// enter lets a handshake begin; leave is to be called at its end.
func (g *gate) enter(conn net.Conn, now time.Time) (leave func(known bool, now time.Time), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := origin(conn)
	if b := g.failures[from]; b != nil && b.empty(now) {
		return nil, false
	}
	if len(g.greeting) == maxGreetings {
		g.greeting[0].Close()
		g.greeting = slices.Delete(g.greeting, 0, 1)
	}
	g.greeting = append(g.greeting, conn)
	return func(known bool, now time.Time) { g.leave(conn, from, known, now) }, true
}

func (g *gate) leave(conn net.Conn, from netip.Addr, known bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.greeting = slices.DeleteFunc(g.greeting, func(o net.Conn) bool { return o == conn })
	if known {
		return
	}
	b := g.failures[from]
	if b == nil {
		if len(g.failures) >= maxFailures {
			clear(g.failures) // a flood from everywhere: nobody is remembered
		}
		b = &bucket{rate: failureRate, burst: failureBurst}
		g.failures[from] = b
	}
	b.take(1, now)
}

// origin is where a connection comes from; of IPv6 the network, which is what
// one machine usually has.
func origin(conn net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	from := at.Addr().Unmap().WithZone("")
	if from.Is6() {
		if network, err := from.Prefix(64); err == nil {
			from = network.Masked().Addr()
		}
	}
	return from
}
