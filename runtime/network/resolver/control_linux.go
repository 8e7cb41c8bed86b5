package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// controlFile is the unix socket (SOCK_SEQPACKET) in the helper's folder, for
// agents and for the next helper. One message asks, one answers; the words are
// the same in all versions, fields are only added.
//
// The connection stays open as long as the helper lives: who keeps it learns of
// its end.
const controlFile = "resolver.sock"

const (
	maxControl     = 64 << 10
	controlTimeout = 2 * time.Second
)

// request is what a client of the control socket asks: one of the words.
type request struct {
	Want string `json:"want"`
}

const (
	wantHealth = "health" // answered with Health
	// wantSockets is answered with handover and the descriptors. wantEnd in the
	// same connection then says that the sockets are served.
	wantSockets = "sockets"
	wantEnd     = "end"
	// wantStop ends the helper without another in its place.
	wantStop = "stop"
)

// handover lists what the descriptors are that come with it: the lock of the
// folder, and udp and tcp of each address.
type handover struct {
	Health
	Sockets []netip.AddrPort `json:"sockets"`
}

// throughFolder calls f with a path of a file in dir that is short enough for a
// socket's address.
func throughFolder(dir, file string, f func(path string) error) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), file))
}

// listenControl opens the control socket in place of one that is there.
func listenControl(dir string) (*net.UnixListener, error) {
	var l *net.UnixListener
	temporary := fmt.Sprintf(".resolver-%d.sock", os.Getpid())
	os.Remove(filepath.Join(dir, temporary))
	err := throughFolder(dir, temporary, func(path string) (err error) {
		l, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for the agent: %w", err)
	}
	l.SetUnlinkOnClose(false) // the name may be the next helper's
	err = errors.Join(
		os.Chmod(filepath.Join(dir, temporary), 0o600),
		os.Rename(filepath.Join(dir, temporary), filepath.Join(dir, controlFile)))
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("listen for the agent: %w", err)
	}
	return l, nil
}

// control is a connection to a helper.
type control struct {
	conn *net.UnixConn
	pid  int // of the helper
}

// dial connects to the helper of a folder. fs.ErrNotExist: none runs.
func dial(ctx context.Context, dir string) (*control, error) {
	var conn net.Conn
	err := throughFolder(dir, controlFile, func(path string) (err error) {
		d := net.Dialer{Timeout: controlTimeout}
		conn, err = d.DialContext(ctx, "unixpacket", path)
		return err
	})
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("connect to the name server: %w: nobody listens on its socket", fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the name server: %w", err)
	}
	c := &control{conn: conn.(*net.UnixConn)}
	peer, err := peerOf(c.conn)
	if err == nil && int(peer.Uid) != os.Geteuid() {
		err = fmt.Errorf("user %d listens there", peer.Uid)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to the name server: %w", err)
	}
	c.pid = int(peer.Pid)
	return c, nil
}

func (c *control) close() { c.conn.Close() }

// peerOf is who listens on, or connected to, the other end.
func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	err = onFD(raw, func(fd int) (err error) {
		peer, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	return peer, err
}

// ask sends a word and reads the answer, and the descriptors that come with it,
// which are the caller's.
func (c *control) ask(want string, answer any) (fds []int, err error) {
	c.conn.SetDeadline(time.Now().Add(controlTimeout))
	defer c.conn.SetDeadline(time.Time{})
	if err := send(c.conn, request{want}, nil); err != nil {
		return nil, err
	}
	return receive(c.conn, answer)
}

// send writes one message.
func send(conn *net.UnixConn, v any, fds []int) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(text, rights, nil)
	return err
}

// receive reads one message. On an error there are no descriptors.
func receive(conn *net.UnixConn, v any) ([]int, error) {
	text, rights := make([]byte, maxControl), make([]byte, unix.CmsgSpace(4*(2*maxListen+1)))
	n, rn, flags, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil {
		return nil, err
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	for i := range messages {
		more, parseErr := unix.ParseUnixRights(&messages[i])
		fds, err = append(fds, more...), errors.Join(err, parseErr)
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("the message is too long")
	}
	if err == nil {
		err = json.Unmarshal(text[:n], v)
	}
	if err != nil {
		closeAll(fds)
		return nil, err
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
