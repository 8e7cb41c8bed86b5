package api

import (
	"net"
	"sync"
)

// limitedListener accepts only as many connections at once as free has room
// for; others wait in the kernel's queue.
type limitedListener struct {
	net.Listener
	free   chan struct{}
	closed chan struct{}
	close  func()
}

func limitListener(l net.Listener, connections int) net.Listener {
	closed := make(chan struct{})
	return &limitedListener{l, make(chan struct{}, connections), closed, sync.OnceFunc(func() { close(closed) })}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &limitedConn{conn, sync.OnceFunc(func() { <-l.free })}, nil
}

func (l *limitedListener) Close() error {
	l.close()
	return l.Listener.Close()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
