package relay

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	// sessionIdle is how long a client's packets keep to one target without any.
	sessionIdle = time.Minute
	maxPacket   = 1 << 16
)

var packets = sync.Pool{New: func() any { return new([maxPacket]byte) }}

// udpFront leads each client's packets to one target, and its answers back.
type udpFront struct {
	relay  *server
	sock   *net.UDPConn
	conn   packetConn
	choice atomic.Pointer[choice]
	turn   uint64 // of receive alone

	mu       sync.Mutex
	sessions map[client]*session
	closed   bool
}

// client is where packets come from, and the address of ours that they were
// sent to: answers must come from there.
type client struct {
	from netip.AddrPort
	to   netip.Addr
}

type session struct {
	front    *udpFront
	client   client
	target   *target
	upstream *net.UDPConn
	last     atomic.Int64 // unix nanoseconds of the last packet of either side
}

func newUDPFront(s *server, sock *net.UDPConn) (*udpFront, error) {
	f := &udpFront{relay: s, sock: sock, sessions: map[client]*session{}}
	if sock.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().Is4() {
		c := packetConn4{ipv4.NewPacketConn(sock)}
		f.conn = c
		return f, c.SetControlMessage(ipv4.FlagDst, true)
	}
	c := packetConn6{ipv6.NewPacketConn(sock)}
	f.conn = c
	return f, c.SetControlMessage(ipv6.FlagDst, true)
}

// lead moves the clients of targets that are listed no more: their next packet
// goes elsewhere.
func (f *udpFront) lead(c *choice) {
	f.choice.Store(c)
	f.endWhere(func(s *session) bool { return !slices.Contains(c.targets, s.target) })
}

func (f *udpFront) close() {
	f.sock.Close()
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.endWhere(func(*session) bool { return true })
}

// expire ends sessions without packets.
func (f *udpFront) expire() {
	before := time.Now().Add(-sessionIdle).UnixNano()
	f.endWhere(func(s *session) bool { return s.last.Load() < before })
}

func (f *udpFront) endWhere(is func(*session) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sessions {
		if is(s) {
			f.end(s)
		}
	}
}

// end ends a session; its reader notices. The lock must be held.
func (f *udpFront) end(s *session) {
	if f.sessions[s.client] == s {
		delete(f.sessions, s.client)
		f.relay.sessions.Add(-1)
	}
	s.upstream.Close()
}

func (f *udpFront) sockets() []syscall.Conn { return []syscall.Conn{f.sock} }

func (f *udpFront) start() { f.relay.accepting.Go(f.receive) }

// receive leads packets of clients on until the socket is closed.
func (f *udpFront) receive() {
	buf := make([]byte, maxPacket)
	for {
		n, from, to, err := f.conn.receive(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !from.IsValid() {
			continue // an ICMP error of a client that is gone
		}
		if s := f.session(client{from, to}); s != nil {
			s.last.Store(time.Now().UnixNano())
			s.target.tried.now()
			if _, err := s.upstream.Write(buf[:n]); err != nil {
				s.fail(err)
			}
		}
	}
}

// session is that of a client, a new one if need be; nil = there is no target,
// or no place.
func (f *udpFront) session(c client) *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sessions[c]; s != nil || f.closed {
		return s
	}
	if f.relay.sessions.Load() >= int64(cap(f.relay.places)) && !f.makePlace() {
		return nil
	}
	f.turn++
	for _, t := range f.choice.Load().order(c.from.Addr(), f.turn) {
		up, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(t.addr))
		if err != nil {
			continue
		}
		s := &session{front: f, client: c, target: t, upstream: up}
		s.last.Store(time.Now().UnixNano())
		f.sessions[c] = s
		f.relay.sessions.Add(1)
		f.relay.accepting.Go(s.answer)
		return s
	}
	return nil
}

// makePlace ends the longest silent of a few sessions, if there are any: to find
// the longest silent of all takes longer than packets may wait.
func (f *udpFront) makePlace() bool {
	var oldest *session
	looked := 0
	for _, s := range f.sessions {
		if oldest == nil || s.last.Load() < oldest.last.Load() {
			oldest = s
		}
		if looked++; looked == 16 {
			break
		}
	}
	if oldest != nil {
		f.end(oldest)
	}
	return oldest != nil
}

// answer leads the target's packets back until the session ends. It holds a
// buffer only while there is a packet.
func (s *session) answer() {
	raw, err := s.upstream.SyscallConn()
	if err != nil {
		return
	}
	for {
		var buf *[maxPacket]byte
		var n int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			buf = packets.Get().(*[maxPacket]byte)
			n, failed = unix.Read(int(fd), buf[:])
			if failed == unix.EAGAIN || failed == unix.EINTR {
				packets.Put(buf)
				return false
			}
			return true
		})
		if err != nil {
			return // the session has ended
		}
		if failed == nil {
			s.last.Store(time.Now().UnixNano())
			s.target.answered.now()
			s.front.conn.send(buf[:n], s.client)
		}
		packets.Put(buf)
		if failed != nil {
			s.fail(failed)
			return
		}
	}
}

// fail ends a session whose target has refused a packet: the next one goes to
// another.
func (s *session) fail(err error) {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EMSGSIZE) {
		return
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		s.target.refused.now()
	}
	s.target.failed.now()
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	s.front.end(s)
}

// packetConn receives packets with the address they were sent to, and sends
// from it.
type packetConn interface {
	receive(buf []byte) (n int, from netip.AddrPort, to netip.Addr, err error)
	send(packet []byte, to client)
}

type packetConn4 struct{ *ipv4.PacketConn }

func (p packetConn4) receive(buf []byte) (int, netip.AddrPort, netip.Addr, error) {
	n, cm, from, err := p.ReadFrom(buf)
	if err != nil || cm == nil {
		return n, netip.AddrPort{}, netip.Addr{}, err
	}
	to, _ := netip.AddrFromSlice(cm.Dst)
	return n, from.(*net.UDPAddr).AddrPort(), to, nil
}

// send sends what it can: who waits for the answer asks again.
func (p packetConn4) send(packet []byte, c client) {
	_, _ = p.WriteTo(packet, &ipv4.ControlMessage{Src: c.to.AsSlice()}, net.UDPAddrFromAddrPort(c.from))
}

type packetConn6 struct{ *ipv6.PacketConn }

func (p packetConn6) receive(buf []byte) (int, netip.AddrPort, netip.Addr, error) {
	n, cm, from, err := p.ReadFrom(buf)
	if err != nil || cm == nil {
		return n, netip.AddrPort{}, netip.Addr{}, err
	}
	to, _ := netip.AddrFromSlice(cm.Dst)
	return n, from.(*net.UDPAddr).AddrPort(), to, nil
}

func (p packetConn6) send(packet []byte, c client) {
	_, _ = p.WriteTo(packet, &ipv6.ControlMessage{Src: c.to.AsSlice()}, net.UDPAddrFromAddrPort(c.from))
}
