package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// front is a place that the relay listens at.
type front interface {
	start()
	lead(c *choice)
	expire()
	// close ends listening. Connections that stand are not touched.
	close()
	sockets() []syscall.Conn
}

// listen opens the sockets of a place: one, but two where udp packets to all
// addresses of both families are to be answered from the right one.
func (s *server) listen(p place) ([]front, error) {
	// The next version may listen beside this one, should it get no sockets.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	config.SetMultipathTCP(false)
	if p.protocol == "tcp" {
		l, err := config.Listen(context.Background(), "tcp", p.listen)
		if err != nil {
			return nil, err
		}
		return []front{&tcpFront{relay: s, listener: l.(*net.TCPListener)}}, nil
	}
	networks := []string{"udp"}
	if strings.HasPrefix(p.listen, ":") {
		networks = []string{"udp4", "udp6"}
	}
	var all []front
	for n, network := range networks {
		sock, err := config.ListenPacket(context.Background(), network, p.listen)
		if err != nil && n > 0 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)) {
			break // a machine without IPv6
		}
		var f front
		if err == nil {
			f, err = newUDPFront(s, sock.(*net.UDPConn))
		}
		if err != nil {
			for _, f := range all {
				f.close()
			}
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// frontOf makes a front of a socket that another process listened on.
func (s *server) frontOf(p place, fd int) (front, error) {
	file := os.NewFile(uintptr(fd), p.listen)
	defer file.Close()
	if p.protocol == "tcp" {
		l, err := net.FileListener(file)
		if err != nil {
			return nil, err
		}
		if t, ok := l.(*net.TCPListener); ok {
			return &tcpFront{relay: s, listener: t}, nil
		}
		return nil, errors.Join(fmt.Errorf("%s: not a tcp socket", p.listen), l.Close())
	}
	c, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	if u, ok := c.(*net.UDPConn); ok {
		return newUDPFront(s, u)
	}
	return nil, errors.Join(fmt.Errorf("%s: not a udp socket", p.listen), c.Close())
}
