package resolver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// LogFile is the helper's log in its folder; one older is kept beside it.
	LogFile = "resolver.log"
	// retryInterval is how soon Watch tries again what did not work.
	retryInterval = 200 * time.Millisecond
	// silentTimeout is how long a helper that lives may answer nothing before it
	// is replaced by force.
	silentTimeout = 10 * time.Second
	// stopTimeout is how long Stop waits for a helper to end by itself, which is
	// after its last answer.
	stopTimeout = askAltogether + 3*time.Second
)

// Helper is the name server's process as the agent sees it: one per folder,
// started when there is none, left alone when it is of this version, replaced
// without a gap when it is of another. Methods may be called concurrently.
type Helper struct {
	// Dir is an absolute path of a folder of its own for the agent's user: it
	// holds ZoneFile, which the agent writes, and the helper's log, lock and
	// socket. It is made if need be.
	Dir string
	// Exe is the program; "" = this one, also where its file was replaced.
	Exe string
	// Args are what makes the program call Run, before "--dir" and Dir.
	Args []string
	// Cgroup is the helper's own, as a path below the root of each hierarchy, so
	// that nothing which befalls the agent's befalls it; "" = the agent's.
	// Hierarchies that are not ours to write are left alone.
	Cgroup string
	Log    *slog.Logger // nil = discard

	mu      sync.Mutex
	version string      // of Exe
	hashed  os.FileInfo // the file it is of
	silent  time.Time   // since when a helper that lives says nothing; zero = it does
}

// Ensure makes sure that a helper of this version serves, and says how it is.
// Where the answer comes with an error, one of another version serves still.
func (h *Helper) Ensure(ctx context.Context) (Health, error) {
	health, c, err := h.ensure(ctx)
	if c != nil {
		c.close()
	}
	return health, err
}

// ensure is Ensure, and returns a connection to the helper if there is one.
func (h *Helper) ensure(ctx context.Context) (Health, *control, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !filepath.IsAbs(h.Dir) {
		return Health{}, nil, fmt.Errorf("name server: folder %q: want an absolute path", h.Dir)
	}
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return Health{}, nil, fmt.Errorf("name server: %w", err)
	}
	version, err := h.wanted()
	if err != nil {
		return Health{}, nil, err
	}
	health, c, err := h.meet(ctx)
	if err == nil && health.Version == version {
		return health, c, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Health{}, nil, err
	}
	if c != nil {
		c.close()
	}
	if err := h.start(ctx); err != nil {
		return health, nil, fmt.Errorf("start the name server: %w", err)
	}
	return h.meet(ctx)
}

// wanted is the version of Exe.
func (h *Helper) wanted() (string, error) {
	info, err := os.Stat(h.exe())
	if err != nil {
		return "", fmt.Errorf("name server: find its program: %w", err)
	}
	if h.hashed != nil && os.SameFile(info, h.hashed) && info.ModTime().Equal(h.hashed.ModTime()) && info.Size() == h.hashed.Size() {
		return h.version, nil
	}
	version, err := versionOf(h.exe())
	if err == nil {
		h.version, h.hashed = version, info
	}
	return version, err
}

func (h *Helper) exe() string {
	if h.Exe == "" {
		return "/proc/self/exe"
	}
	return h.Exe
}

func (h *Helper) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// meet connects to the helper that runs. One that lives and is silent for too
// long is killed; then, as where there is none, the error is fs.ErrNotExist.
func (h *Helper) meet(ctx context.Context) (Health, *control, error) {
	c, err := dial(ctx, h.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		h.silent = time.Time{}
		return Health{}, nil, err
	}
	var health Health
	if err == nil {
		if _, err = c.ask(wantHealth, &health); err == nil {
			h.silent = time.Time{}
			return health, c, nil
		}
		c.close()
	}
	if ctx.Err() != nil {
		return Health{}, nil, ctx.Err()
	}
	// A socket that was closed under our hands is that of one that ends.
	if h.silent.IsZero() {
		h.silent = time.Now()
	}
	if time.Since(h.silent) < silentTimeout {
		return Health{}, nil, fmt.Errorf("the name server runs and does not answer: %w", err)
	}
	h.log().Error("the name server is killed: it does not answer", "since", h.silent, "err", err)
	process, err := h.process(ctx)
	if err != nil {
		return Health{}, nil, err
	}
	defer process.Release()
	if err := h.kill(ctx, process); err != nil {
		return Health{}, nil, err
	}
	h.silent = time.Time{}
	return Health{}, nil, fmt.Errorf("the name server was killed: %w", fs.ErrNotExist)
}

// process returns a handle to the helper. That it is this process and no later
// one with its number is sure: it listens before and after the handle is made.
// fs.ErrNotExist: none runs.
func (h *Helper) process(ctx context.Context) (*os.Process, error) {
	for {
		c, err := dial(ctx, h.Dir)
		if err != nil {
			return nil, err
		}
		defer c.close()
		process, err := os.FindProcess(c.pid)
		if err != nil {
			return nil, fmt.Errorf("find process %d: %w", c.pid, err)
		}
		again, err := dial(ctx, h.Dir)
		if err != nil {
			process.Release()
			return nil, err
		}
		defer again.close()
		if again.pid == c.pid {
			return process, nil
		}
		process.Release() // another one serves by now
	}
}

// kill ends a process and waits until it has let go of the folder.
func (h *Helper) kill(ctx context.Context, process *os.Process) error {
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the name server: %w", err)
	}
	return h.awaitEnd(ctx)
}

// awaitEnd waits until no helper has the folder's lock.
func (h *Helper) awaitEnd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	f, err := os.OpenFile(filepath.Join(h.Dir, lockFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return ignoreNotExist(err)
	}
	defer f.Close() // and gives the lock back
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the name server to end: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Watch ensures until ctx ends, once a second and as soon as the helper ends,
// and tells each time.
func (h *Helper) Watch(ctx context.Context, tell func(Health, error)) {
	for ctx.Err() == nil {
		health, c, err := h.ensure(ctx)
		if ctx.Err() == nil {
			tell(health, err)
		}
		h.linger(ctx, c)
	}
}

// linger waits a second, or until the helper on c has ended, and closes c;
// less where there is none.
func (h *Helper) linger(ctx context.Context, c *control) {
	if c == nil {
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
		return
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var nothing struct{}
	_, _ = receive(c.conn, &nothing) // nobody sends: it is the end, or time
}

// ReadHealth asks the helper of a folder how it is, without starting one.
// fs.ErrNotExist: none runs.
func ReadHealth(ctx context.Context, dir string) (Health, error) {
	c, err := dial(ctx, dir)
	if err != nil {
		return Health{}, err
	}
	defer c.close()
	var health Health
	if _, err := c.ask(wantHealth, &health); err != nil {
		return Health{}, fmt.Errorf("ask the name server: %w", err)
	}
	return health, nil
}

// Stop ends the helper, if one runs. The folder stays.
func (h *Helper) Stop(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	process, err := h.process(ctx)
	if err != nil {
		return ignoreNotExist(err)
	}
	defer process.Release()
	c, err := dial(ctx, h.Dir)
	if err == nil {
		err = send(c.conn, request{wantStop}, nil)
		c.close()
	}
	if ignoreNotExist(err) == nil {
		err = h.awaitEnd(ctx)
	}
	if err != nil && ctx.Err() == nil {
		err = h.kill(ctx, process)
	}
	return err
}
