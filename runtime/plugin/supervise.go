//go:build linux

package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	// quietTime is how long a process must have lived for its end to count as
	// the first.
	quietTime = time.Minute
	// firstBackOff doubles with every failure up to lastBackOff. The first
	// time nobody waits.
	firstBackOff = 500 * time.Millisecond
	lastBackOff  = time.Minute
)

// opening is one attempt to find or start the process, for all who wait.
type opening struct {
	done    chan struct{} // closed when session and err are set
	cancel  context.CancelFunc
	session *session
	err     error
}

// errClosed: the agent has let go of the driver.
var errClosed = fmt.Errorf("the driver is closed: %w", runtime.ErrUnavailable)

// notRunning: there is no process, and why.
type notRunning struct {
	cause error
	next  time.Duration // until it is tried again
}

func (e *notRunning) Error() string {
	return fmt.Sprintf("the plugin does not run and is tried again in %s: %v", e.next.Round(100*time.Millisecond), e.cause)
}

func (e *notRunning) Unwrap() []error { return []error{runtime.ErrUnavailable, e.cause} }

// session returns the connection to the process, which it finds or starts if
// it must.
func (d *Driver) session(ctx context.Context) (*session, error) {
	o, s, err := d.openingOrSession()
	if o == nil {
		return s, err
	}
	select {
	case <-o.done:
		return o.session, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *Driver) openingOrSession() (*opening, *session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, errClosed
	}
	if s := d.current; s != nil {
		if !s.over() {
			return nil, s, nil
		}
		d.current = nil
		s.close()
		if time.Since(s.since) >= quietTime {
			d.failures = 0
		}
		d.failed(errors.New("it ended: see " + filepath.Join(d.config.StateDir, stderrFile)))
		d.log.Warn("driver plugin has ended: what it runs goes on; it is started again", "pid", s.record.Process.PID)
	}
	if d.opening != nil {
		return d.opening, nil, nil
	}
	if wait := time.Until(d.retryAt); wait > 0 {
		return nil, nil, &notRunning{d.lastErr, wait}
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.opening = &opening{done: make(chan struct{}), cancel: cancel}
	go d.open(ctx, d.opening)
	return d.opening, nil, nil
}

// failed notes that there is no process. d.mu is held.
func (d *Driver) failed(err error) {
	d.lastErr = err
	d.retryAt = time.Now()
	if d.failures > 0 {
		d.retryAt = d.retryAt.Add(min(firstBackOff<<min(d.failures-1, 10), lastBackOff))
	}
	d.failures++
}

// open finds or starts the process.
func (d *Driver) open(ctx context.Context, o *opening) {
	defer o.cancel()
	s, err := d.find(ctx)
	if s == nil && err == nil {
		s, err = d.launch(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opening, d.silent = nil, silence{}
	o.session, o.err = s, err
	switch {
	case d.closed:
		o.err = errClosed // Close closes the session
	case err != nil:
		if d.lastErr == nil || d.lastErr.Error() != err.Error() {
			d.log.Warn("driver plugin does not run", "err", err)
		}
		d.failed(err)
		o.err = &notRunning{err, time.Until(d.retryAt)}
	default:
		d.current, d.lastErr = s, nil
		d.forgetBinaries()
		d.log.Info("connected to driver plugin", "pid", s.record.Process.PID)
	}
	close(o.done)
}

// find connects to the process of the record, if it is there and what the
// configuration asks for. One that is ours but is not, or does not answer, is
// ended.
func (d *Driver) find(ctx context.Context) (*session, error) {
	r, err := readRecord(d.config.StateDir)
	if errors.Is(err, errNoRecord) {
		return nil, nil
	}
	if err != nil {
		d.log.Warn("record of the driver plugin is left out: should it still run, end it by hand", "err", err)
		return nil, nil
	}
	if !r.Process.alive() {
		return nil, nil
	}
	have, err := r.Process.executes()
	if err != nil || have != r.SHA256 {
		d.log.Warn("a process is not the driver plugin that was recorded: it is left alone", "pid", r.Process.PID, "err", err)
		return nil, nil
	}
	switch {
	case r.SHA256 != d.config.SHA256 || r.Setup != d.setup:
		d.log.Info("driver plugin is replaced as the configuration asks; what it runs goes on", "pid", r.Process.PID)
	case r.Protocol != ProtocolVersion || r.Socket == "":
		d.log.Info("driver plugin was not started completely: it is started again", "pid", r.Process.PID)
	default:
		s, err := connect(ctx, r)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		d.log.Warn("driver plugin does not answer: it is started again", "pid", r.Process.PID, "err", err)
	}
	if err := end(ctx, r); err != nil {
		return nil, err
	}
	return nil, nil
}

// silence is for how long a process has answered nothing in time.
type silence struct {
	calls int
	since time.Time
}

// A process is silent for good after so many calls in so much time.
const (
	silentCalls = 3
	silentTime  = 2 * time.Minute
)

// heard counts the calls to a process that it did not answer within their
// deadline. One that is silent for good is killed: it can only get better.
func (d *Driver) heard(s *session, err error) {
	if errors.Is(err, context.Canceled) {
		return // says nothing of it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current != s {
		return
	}
	if answer := new(driverError); errors.As(err, &answer) || !errors.Is(err, context.DeadlineExceeded) {
		d.silent = silence{}
		return
	}
	if d.silent.calls++; d.silent.calls == 1 {
		d.silent.since = time.Now()
	}
	if d.silent.calls < silentCalls || time.Since(d.silent.since) < silentTime {
		return
	}
	d.silent = silence{}
	d.log.Warn("driver plugin hangs: it is killed and started again; what it runs goes on", "pid", s.record.Process.PID)
	if err := s.record.Process.kill(); err != nil {
		d.log.Warn("driver plugin cannot be killed", "err", err)
	}
}

// trim keeps the plugin's stderr small.
func (d *Driver) trim() {
	if err := trimStderr(d.config.StateDir); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.log.Warn("stderr of the driver plugin cannot be kept small", "err", err)
	}
}
