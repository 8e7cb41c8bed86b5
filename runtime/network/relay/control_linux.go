package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The control socket: packets, so that a descriptor comes with its own text.
// Who connects sends one request; "status" is answered by packets of JSON and
// the end, "sockets" by one packet per socket and "{}". The sockets are
// the asker's once it has said "taken".
const (
	socketFile  = "relay.sock"
	wantStatus  = "status"
	wantSockets = "sockets"
	sayTaken    = "taken"

	packetSize     = 32 << 10
	maxStatus      = 64 << 20
	controlTimeout = 5 * time.Second
	maxAskers      = 32
)

// inFolder calls f with a path of the socket that is short enough for one,
// wherever the folder lies.
func inFolder(dir, name string, f func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), name))
}

// ask connects to the relay of a folder and sends a request.
func ask(ctx context.Context, dir, want string) (conn *net.UnixConn, err error) {
	err = inFolder(dir, socketFile, func(path string) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unixpacket", path)
		if err != nil {
			return err
		}
		conn = c.(*net.UnixConn)
		conn.SetDeadline(time.Now().Add(controlTimeout))
		_, err = conn.Write([]byte(want))
		return err
	})
	if err != nil && conn != nil {
		conn.Close()
	}
	return conn, err
}

// askStatus asks a relay how it is.
func askStatus(ctx context.Context, dir string) (status, error) {
	var st status
	conn, err := ask(ctx, dir, wantStatus)
	if err != nil {
		return st, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var text []byte
	buf := make([]byte, packetSize)
	for len(text) < maxStatus {
		n, err := conn.Read(buf)
		if n == 0 && (err == nil || errors.Is(err, io.EOF)) {
			return st, json.Unmarshal(text, &st)
		}
		if err != nil {
			return st, err
		}
		text = append(text, buf[:n]...)
	}
	return st, fmt.Errorf("more than %d bytes", maxStatus)
}

// listenControl takes the place of the control socket that another relay, or
// one that died, has there.
func (s *server) listenControl() (l *net.UnixListener, err error) {
	fresh := socketFile + ".new"
	err = inFolder(s.dir, fresh, func(path string) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if l, err = net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: path}); err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		return errors.Join(os.Chmod(path, 0o600), os.Rename(path, filepath.Join(filepath.Dir(path), socketFile)))
	})
	if err != nil && l != nil {
		l.Close()
	}
	return l, err
}

// answerControl answers until the listener is closed, and returns after the last
// answer: a hand-over that has begun is not broken off.
func (s *server) answerControl(l *net.UnixListener) {
	var asked sync.WaitGroup
	defer asked.Wait()
	askers := make(chan struct{}, maxAskers)
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		select {
		case askers <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		asked.Go(func() {
			defer func() { <-askers }()
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(controlTimeout))
			if err := s.answer(conn); err != nil {
				s.log.Warn("answer who asked the relay", "err", err)
			}
		})
	}
}

func (s *server) answer(conn *net.UnixConn) error {
	if !sameUser(conn) {
		return errors.New("another user asked")
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil || n == 0 {
		return nil // it went away
	}
	switch want := string(buf[:n]); want {
	case wantStatus:
		s.look()
		text, err := json.Marshal(s.status())
		for err == nil && len(text) > 0 {
			n := min(len(text), packetSize)
			_, err = conn.Write(text[:n])
			text = text[n:]
		}
		return err
	case wantSockets:
		return s.handOver(conn)
	default:
		return fmt.Errorf("unknown request %q", want)
	}
}

// handOver gives the sockets to who asks, and stops listening once they are
// taken. Until then both listen.
func (s *server) handOver(conn *net.UnixConn) error {
	if err := s.sendSockets(conn); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	buf := make([]byte, 64)
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != sayTaken {
		return errors.Join(errors.New("hand over: the next relay did not take the sockets"), err)
	}
	s.mu.Lock()
	select {
	case <-s.handedOver:
	default:
		close(s.handedOver)
	}
	s.mu.Unlock()
	s.release()
	s.log.Info("handed over to the next relay", "connections", len(s.places))
	return nil
}

// handedPlace is the text that comes with a socket.
type handedPlace struct {
	Listen   string `json:"listen"`
	Protocol string `json:"protocol"`
}

func (s *server) sendSockets(conn *net.UnixConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, fronts := range s.fronts {
		text, err := json.Marshal(handedPlace{p.listen, p.protocol})
		if err != nil {
			return err
		}
		for _, f := range fronts {
			for _, sock := range f.sockets() {
				raw, err := sock.SyscallConn()
				if err != nil {
					return err
				}
				// Not by File and Fd: that would make the shared socket block.
				var sent error
				if err := raw.Control(func(fd uintptr) {
					_, _, sent = conn.WriteMsgUnix(text, unix.UnixRights(int(fd)), nil)
				}); err != nil || sent != nil {
					return errors.Join(err, sent)
				}
			}
		}
	}
	_, err := conn.Write([]byte("{}"))
	return err
}

// former is the relay that served before; nil = there is none.
type former struct{ conn *net.UnixConn }

// takeOver gets the sockets of the relay that serves, if there is one. They are
// its own, too, until finish.
func (s *server) takeOver(ctx context.Context) *former {
	conn, err := ask(ctx, s.dir, wantSockets)
	if err != nil {
		return nil // nobody serves
	}
	for {
		p, fd, err := receiveSocket(conn)
		if err != nil {
			s.log.Warn("sockets of the relay before are opened anew", "err", err)
			conn.Close()
			return nil
		}
		if fd < 0 {
			return &former{conn}
		}
		f, err := s.frontOf(p, fd)
		if err != nil {
			s.log.Warn("a socket of the relay before is opened anew", "address", p.listen, "err", err)
			continue
		}
		s.adopted[p] = append(s.adopted[p], f)
	}
}

// receiveSocket reads one packet; a descriptor below 0 = that was all.
func receiveSocket(conn *net.UnixConn) (place, int, error) {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return place{}, -1, err
	}
	fd := -1
	if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			fd = fds[0]
			unix.CloseOnExec(fd)
		}
	}
	var p handedPlace
	if err := json.Unmarshal(buf[:n], &p); err != nil || (p.Listen == "") != (fd < 0) {
		if fd >= 0 {
			unix.Close(fd)
		}
		return place{}, -1, errors.Join(errors.New("a packet that is no socket"), err)
	}
	return place{p.Listen, p.Protocol}, fd, nil
}

// finish tells the relay before that this one listens.
func (f *former) finish() {
	if f == nil {
		return
	}
	_, _ = f.conn.Write([]byte(sayTaken)) // one that died meanwhile need not know
	f.conn.Close()
}

// close leaves the sockets to the relay before.
func (f *former) close() {
	if f != nil {
		f.conn.Close()
	}
}

// sameUser reports whether the other end is of this user, or root.
func sameUser(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return err == nil && failed == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}
