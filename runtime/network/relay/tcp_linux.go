package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// dialTimeout bounds one try; an answer that is lost once takes a second.
	dialTimeout = time.Second
	// dialsTimeout bounds all tries of one connection.
	dialsTimeout = 5 * time.Second
	// lastWords is how long one direction goes on after the other has failed: an
	// answer may be on its way from a target that read no further.
	lastWords = time.Second
)

// tcpFront accepts connections at one place.
type tcpFront struct {
	relay    *server
	listener *net.TCPListener
	choice   atomic.Pointer[choice]
	turn     atomic.Uint64
}

func (f *tcpFront) lead(c *choice) { f.choice.Store(c) }

func (f *tcpFront) close() { f.listener.Close() }

func (f *tcpFront) expire() {}

func (f *tcpFront) sockets() []syscall.Conn { return []syscall.Conn{f.listener} }

func (f *tcpFront) start() { f.relay.accepting.Go(f.accept) }

// accept goes on until the listener is closed. It waits while the relay has as
// many connections as it may: further ones wait in the kernel.
func (f *tcpFront) accept() {
	for {
		conn, err := f.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, or a client that went again
			time.Sleep(5 * time.Millisecond)
			continue
		}
		select {
		case f.relay.places <- struct{}{}:
		case <-f.relay.over.Done():
			conn.Close()
			return
		}
		f.relay.standing.Go(func() {
			defer func() { <-f.relay.places }()
			f.serve(conn)
		})
	}
}

// serve leads one connection to a target until it ends.
func (f *tcpFront) serve(client *net.TCPConn) {
	defer client.Close()
	target := f.dial(client.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	if target == nil {
		client.SetLinger(0) // a reset, as from a port nobody listens on
		return
	}
	defer target.Close()
	join(f.relay.over, client, target)
}

// dial connects to the first target that answers; nil = none does.
func (f *tcpFront) dial(client netip.Addr) *net.TCPConn {
	ctx, cancel := context.WithTimeout(f.relay.over, dialsTimeout)
	defer cancel()
	dialer := net.Dialer{Timeout: dialTimeout}
	for _, t := range f.choice.Load().order(client, f.turn.Add(1)) {
		t.tried.now()
		conn, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, t.addr)
		switch {
		case err == nil:
			t.answered.now()
			return conn
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.ECONNREFUSED):
			t.refused.now()
			t.failed.now()
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL):
			// The fault is ours.
		default:
			t.failed.now()
		}
	}
	return nil
}

// join copies both ways, each until its end, which the other side is told. Where
// a direction fails, its receiver is reset: it must not take what was cut off
// for whole.
func join(over context.Context, a, b *net.TCPConn) {
	end := func() {
		a.Close()
		b.Close()
	}
	defer context.AfterFunc(over, end)()
	one := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			to.SetLinger(0)
			time.AfterFunc(lastWords, end)
			return
		}
		to.CloseWrite()
	}
	var other sync.WaitGroup
	other.Go(func() { one(b, a) })
	one(a, b)
	other.Wait()
}
