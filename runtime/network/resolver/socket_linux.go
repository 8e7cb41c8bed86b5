package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer keeps questions while the machine is busy.
	receiveBuffer = 2 << 20
	// idleStream is how long a TCP connection may be silent. When the socket
	// closes that is lastStream, but firstStream where nothing was asked yet.
	idleStream  = 10 * time.Second
	firstStream = 4 * time.Second
	lastStream  = 100 * time.Millisecond
)

// socket is an address that is answered on, over UDP and TCP.
type socket struct {
	addr netip.AddrPort
	udp  *net.UDPConn
	tcp  *net.TCPListener

	readers sync.WaitGroup
	work    sync.WaitGroup // connections, and questions that others were asked
	closing atomic.Bool
	conns   sync.Map // *net.TCPConn to *atomic.Bool: something was asked
}

// listen opens a socket. The address need not be there yet.
func listen(addr netip.AddrPort) (*socket, error) {
	c := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		return onFD(conn, func(fd int) error {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) // or what is usual
			if addr.Addr().Is4() {
				return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
			}
			return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
		})
	}}
	udp, err := c.ListenPacket(context.Background(), "udp", addr.String())
	if err != nil {
		return nil, listenError(addr, err)
	}
	tcp, err := c.Listen(context.Background(), "tcp", udp.LocalAddr().String())
	if err != nil {
		udp.Close()
		return nil, listenError(addr, err)
	}
	return &socket{addr: addr, udp: udp.(*net.UDPConn), tcp: tcp.(*net.TCPListener)}, nil
}

func listenError(addr netip.AddrPort, err error) error {
	remedy := ""
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		remedy = ": another program answers there; make it leave out this address (dnsmasq: bind-dynamic, except-interface)"
	case errors.Is(err, unix.EACCES):
		remedy = ": run the agent as root, or take a port above 1023"
	}
	return fmt.Errorf("listen on %s: %w%s", addr, err, remedy)
}

// onFD calls f with the descriptor of conn.
func onFD(conn syscall.RawConn, f func(fd int) error) error {
	var err error
	return errors.Join(conn.Control(func(fd uintptr) { err = f(int(fd)) }), err)
}

// serve answers until the socket is paused or closed.
func (s *socket) serve(h *handler, log *slog.Logger) {
	// Two, so that one goes on while the other sends.
	for range 2 {
		s.readers.Go(func() { s.answerPackets(h, log) })
	}
	s.readers.Go(func() { s.acceptStreams(h, log) })
}

// pause makes serve return without losing what was read or waits to be read.
func (s *socket) pause() {
	past := time.Unix(1, 0)
	s.udp.SetReadDeadline(past)
	s.tcp.SetDeadline(past)
	s.readers.Wait()
}

// close finishes the answers under way and closes the socket, which has been
// paused. Another process that has it goes on with it.
func (s *socket) close() {
	s.tcp.Close()
	s.closing.Store(true)
	s.conns.Range(func(conn, asked any) bool {
		wait := firstStream
		if asked.(*atomic.Bool).Load() {
			wait = lastStream
		}
		conn.(*net.TCPConn).SetReadDeadline(time.Now().Add(wait))
		return true
	})
	s.work.Wait()
	s.udp.Close()
}

func (s *socket) answerPackets(h *handler, log *slog.Logger) {
	in, out := make([]byte, maxQuery), make([]byte, 0, maxQuery)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(in)
		if err != nil {
			if s.ended(err, log) {
				return
			}
			continue
		}
		reply, t := h.handle(in[:n], from.Addr(), false, out)
		if reply != nil {
			_, _ = s.udp.WriteToUDPAddrPort(reply, from) // who is gone needs none
		}
		if t != nil {
			s.work.Go(func() {
				if reply := h.do(context.Background(), t); reply != nil {
					_, _ = s.udp.WriteToUDPAddrPort(reply, from)
				}
			})
		}
	}
}

// ended reports whether a socket is to be read no more. Other errors, such as a
// lack of memory, pass.
func (s *socket) ended(err error, log *slog.Logger) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	log.Debug("read a question", "address", s.addr, "err", err)
	time.Sleep(5 * time.Millisecond)
	return false
}

func (s *socket) acceptStreams(h *handler, log *slog.Logger) {
	for {
		conn, err := s.tcp.AcceptTCP()
		if err != nil {
			if s.ended(err, log) {
				return
			}
			continue
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if !h.mayAsk(from) { // nor take the place of who may
			conn.Close()
			continue
		}
		leave, ok := h.sources.stream(from.Unmap(), time.Now())
		if !ok {
			conn.Close()
			continue
		}
		s.work.Go(func() {
			var asked atomic.Bool
			s.conns.Store(conn, &asked)
			s.answerStream(h, conn, from, &asked)
			s.conns.Delete(conn)
			conn.Close()
			leave()
		})
	}
}

// answerStream answers the questions of a connection one after the other.
func (s *socket) answerStream(h *handler, conn *net.TCPConn, from netip.Addr, asked *atomic.Bool) {
	for {
		conn.SetDeadline(time.Now().Add(idleStream))
		if s.closing.Load() {
			if asked.Load() {
				return
			}
			conn.SetDeadline(time.Now().Add(firstStream))
		}
		msg, err := readFrame(conn, maxQuery)
		if err != nil {
			return // also io.EOF: it has no more questions
		}
		asked.Store(true)
		conn.SetDeadline(time.Now().Add(idleStream))
		reply, t := h.handle(msg, from, true, nil)
		if t != nil {
			reply = h.do(context.Background(), t)
		}
		if reply == nil {
			return
		}
		if _, err := conn.Write(framed(reply)); err != nil {
			return
		}
	}
}

// files returns copies of the socket's descriptors, for another process.
func (s *socket) files() (fds []int, err error) {
	for _, c := range []syscall.Conn{s.udp, s.tcp} {
		raw, err := c.SyscallConn()
		if err == nil {
			err = onFD(raw, func(fd int) error {
				dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
				fds = append(fds, dup)
				return err
			})
		}
		if err != nil {
			return fds, fmt.Errorf("copy socket %s: %w", s.addr, err)
		}
	}
	return fds, nil
}

// socketOf makes a socket of what files returned in another process. It closes
// both descriptors in any case.
func socketOf(addr netip.AddrPort, udp, tcp int) (*socket, error) {
	packets, listener := os.NewFile(uintptr(udp), "udp"), os.NewFile(uintptr(tcp), "tcp")
	defer packets.Close()
	defer listener.Close()
	p, err := net.FilePacketConn(packets)
	if err != nil {
		return nil, fmt.Errorf("take over %s: %w", addr, err)
	}
	l, err := net.FileListener(listener)
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("take over %s: %w", addr, err)
	}
	u, isUDP := p.(*net.UDPConn)
	t, isTCP := l.(*net.TCPListener)
	if !isUDP || !isTCP {
		err := errors.Join(p.Close(), l.Close(), errors.New("not a socket for udp and one for tcp"))
		return nil, fmt.Errorf("take over %s: %w", addr, err)
	}
	return &socket{addr: addr, udp: u, tcp: t}, nil
}
