package resolver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile is locked by the helper of a folder. The lock belongs to the open
// file, which goes to the next helper with the sockets: it is never free while
// one of them lives.
const lockFile = "resolver.lock"

// startTimeout bounds everything until a helper serves.
const startTimeout = 10 * time.Second

// partsOverlap is how long the parts of a helper go on beside those of the next.
const partsOverlap = time.Second

// memoryLimit keeps the runtime from letting its heap grow for speed's sake.
const memoryLimit = 64 << 20

// errServed says that a helper of the same version serves already.
var errServed = errors.New("a name server of this version runs already")

// Part is something else that is to outlive the agent, in the same process.
type Part struct {
	Name string
	// File is the name of a file in the folder: the part is started as soon as it
	// exists.
	File string
	// Serve does the part's work until ctx ends; when it returns earlier it is
	// called again. In an upgrade ctx ends partsOverlap after the new process has
	// begun: both run at once, and Serve may finish what stands in its own time.
	Serve func(ctx context.Context, dir string, log *slog.Logger) error
}

// Run is the helper's process: it serves the zone in dir until ctx ends or a
// helper of another version has taken over. ready is called once, as soon as it serves or
// with the reason why it will not.
func Run(ctx context.Context, dir, version string, log *slog.Logger, ready func(Health, error), parts ...Part) error {
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(memoryLimit)
	r, err := start(ctx, dir, version, log)
	if err != nil {
		ready(Health{}, err)
		return err
	}
	defer r.lock.Close()
	r.server.serve()
	if r.former != nil {
		// From here on it is the former's turn to end; it goes on when this fails.
		if err := send(r.former.conn, request{wantEnd}, nil); err != nil {
			log.Warn("tell the former name server to end", "err", err)
		}
		r.former.close()
	}
	log.Info("name server serves", "pid", os.Getpid(), "version", r.server.version)
	ready(r.server.health(), nil)
	forgetProgram()
	r.run(ctx, parts)
	log.Info("name server ends", "pid", os.Getpid())
	return nil
}

// running is a helper between start and end.
type running struct {
	server  *server
	lock    *os.File
	control *net.UnixListener
	former  *control // whose sockets these are; nil = nobody's
	log     *slog.Logger
}

// start takes the folder's lock and opens all sockets, or takes both over from
// the helper that has them. It fails with errServed where that is of the same
// version.
func start(ctx context.Context, dir, version string, log *slog.Logger) (*running, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	r := &running{server: newServer(dir, version, log), log: log}
	if err := r.acquire(ctx, dir); err != nil {
		return nil, err
	}
	r.server.look()
	var err error
	if r.control, err = listenControl(dir); err != nil {
		r.lock.Close()
		return nil, err
	}
	return r, nil
}

// acquire gets the lock, and the sockets of who has it.
func (r *running) acquire(ctx context.Context, dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("lock the name server's folder: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			r.lock = f
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return fmt.Errorf("lock the name server's folder: %w", err)
		}
		// Who has it either serves, is about to, or is about to end.
		if err = r.takeOver(ctx, dir); err == nil || errors.Is(err, errServed) {
			f.Close()
			return err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return fmt.Errorf("take over from the name server that runs: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// takeOver gets lock and sockets from the helper that has them.
func (r *running) takeOver(ctx context.Context, dir string) error {
	c, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	var h handover
	if _, err := c.ask(wantHealth, &h.Health); err != nil {
		c.close()
		return err
	}
	if h.Version == r.server.version {
		c.close()
		return errServed
	}
	fds, err := c.ask(wantSockets, &h)
	if err == nil && len(fds) != 2*len(h.Sockets)+1 {
		closeAll(fds)
		err = fmt.Errorf("%d descriptors for %d sockets", len(fds), len(h.Sockets))
	}
	if err != nil {
		c.close()
		return err
	}
	r.lock, r.former = os.NewFile(uintptr(fds[0]), lockFile), c
	for i, addr := range h.Sockets {
		sock, err := socketOf(addr, fds[2*i+1], fds[2*i+2])
		if err != nil {
			r.log.Warn("a socket is opened anew", "address", addr, "err", err)
			continue
		}
		r.server.sockets[addr] = sock
	}
	return nil
}

// run serves until ctx ends or the next helper has taken over.
func (r *running) run(ctx context.Context, parts []Part) {
	partsCtx, endParts := context.WithCancel(ctx)
	ctx, endServing := context.WithCancel(ctx)
	var handedOver atomic.Bool
	end := func(after time.Duration) {
		handedOver.Store(after > 0)
		endServing()
		time.AfterFunc(after, endParts)
	}
	defer end(0)
	var serving, working sync.WaitGroup
	for _, p := range parts {
		working.Go(func() { p.keep(partsCtx, r.server.dir, r.log) })
	}
	serving.Go(func() { r.server.follow(ctx) })
	serving.Go(func() { r.answerControl(ctx, end) })
	<-ctx.Done()
	r.control.Close()
	serving.Wait()
	r.server.close()
	if handedOver.Load() {
		// The next helper's alone, however long the parts take to finish.
		r.lock.Close()
	}
	working.Wait()
}

// keep runs the part from when its file exists.
func (p Part) keep(ctx context.Context, dir string, log *slog.Logger) {
	log = log.With("part", p.Name)
	said := ""
	for ctx.Err() == nil {
		if _, err := os.Stat(filepath.Join(dir, p.File)); err == nil {
			err := p.Serve(ctx, dir, log)
			if text := fmt.Sprint(err); ctx.Err() == nil && text != said {
				said = text
				log.Error("ended, starting again", "err", err)
			}
		} else if !errors.Is(err, fs.ErrNotExist) && err.Error() != said {
			said = err.Error()
			log.Error("cannot start", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookInterval):
		}
	}
}

// answerControl answers on the control socket; end is called when the next
// helper serves, or somebody wants the end, with how long the parts go on.
func (r *running) answerControl(ctx context.Context, end func(parts time.Duration)) {
	var conns sync.WaitGroup
	defer conns.Wait()
	places := make(chan struct{}, 32)
	for {
		conn, err := r.control.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(5 * time.Millisecond) // it passes: too many open files
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		conns.Go(func() {
			defer func() { <-places }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			r.converse(conn, end)
		})
	}
}

// converse answers one client until it goes.
func (r *running) converse(conn *net.UnixConn, end func(parts time.Duration)) {
	if peer, err := peerOf(conn); err != nil || int(peer.Uid) != os.Geteuid() && peer.Uid != 0 {
		return
	}
	for {
		var q request
		fds, err := receive(conn, &q)
		closeAll(fds)
		if err != nil {
			return
		}
		conn.SetWriteDeadline(time.Now().Add(controlTimeout))
		switch q.Want {
		case wantHealth:
			err = send(conn, r.server.health(), nil)
		case wantSockets:
			err = r.handOver(conn)
		case wantEnd:
			end(partsOverlap)
			return
		case wantStop:
			end(0)
			return
		default:
			return
		}
		if err != nil {
			r.log.Warn("answer the agent", "want", q.Want, "err", err)
			return
		}
	}
}

// handOver sends lock and sockets. This helper goes on until it is told to end.
func (r *running) handOver(conn *net.UnixConn) error {
	lock, err := unix.FcntlInt(r.lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	fds := []int{lock}
	defer func() { closeAll(fds) }()
	h := handover{Health: r.server.health()}
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	for addr, sock := range r.server.sockets {
		more, err := sock.files()
		fds = append(fds, more...)
		if err != nil {
			return err
		}
		h.Sockets = append(h.Sockets, addr)
	}
	return send(conn, h, fds)
}
