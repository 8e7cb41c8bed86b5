package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	listTimeout = 20 * time.Second
	retryDriver = 2 * time.Second
	// readyAfter is how long an instance without startup and readiness probe
	// must have been running to count as ready.
	readyAfter = time.Second
)

// driverState is what the loop knows of one driver.
type driverState struct {
	name   string
	driver runtime.Driver
	kick   chan struct{} // list now

	info      runtime.Info
	infoErr   error
	instances []planner.Instance // of the last successful listing
	listed    bool               // a listing has succeeded in this process
	err       error              // of the last listing
	begun     atomic.Int64       // number of the newest listing that was begun
}

func newDriverState(name string, d runtime.Driver) *driverState {
	return &driverState{name: name, driver: d, kick: make(chan struct{}, 1), err: errNotListed}
}

var errNotListed = errors.New("not listed yet")

// list asks for a listing soon.
func (d *driverState) list() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// follow lists a driver on every hint and now and then without one.
func (a *Agent) follow(ctx context.Context, d *driverState) {
	a.work(func() { a.listings(ctx, d) })
	if w, ok := d.driver.(runtime.Watcher); ok {
		a.work(func() { watch(ctx, d, w) })
	}
}

// listings is the only goroutine that lists a driver.
func (a *Agent) listings(ctx context.Context, d *driverState) {
	informed, pace := false, listPace{}
	for n := int64(1); ; n++ {
		begin := time.Now()
		d.begun.Store(n)
		instances, err := listOnce(ctx, d.driver)
		if ctx.Err() != nil {
			return
		}
		var info runtime.Info
		infoErr := err
		if !informed || err != nil || n%16 == 0 {
			info, infoErr = infoOnce(ctx, d.driver)
			informed = infoErr == nil
		}
		a.post(func() { a.listed(ctx, d, n, instances, err, info, infoErr) })
		took := time.Since(begin)
		a.cfg.Metrics.listed(d.name, took, err)
		if !pause(ctx, pace.rest(took, time.Now())) {
			return
		}
		wait := a.cfg.Resync
		if err != nil {
			wait = retryDriver
		}
		timer := time.NewTimer(wait)
		select {
		case <-d.kick:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

func listOnce(ctx context.Context, d runtime.Driver) ([]planner.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return d.List(ctx)
}

func infoOnce(ctx context.Context, d runtime.Driver) (runtime.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return d.Info(ctx)
}

// watch turns a driver's events into listings; where they end it begins anew.
func watch(ctx context.Context, d *driverState, w runtime.Watcher) {
	for ctx.Err() == nil {
		hints, err := w.Watch(ctx)
		if err == nil {
			for range hints {
				d.list()
			}
			d.list()
		}
		if !pause(ctx, retryDriver) {
			return
		}
	}
}

// pause waits and reports whether ctx still stands.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// track is what the loop remembers of an instance between listings.
type track struct {
	driver   string
	slot     planner.SlotID
	running  bool
	since    time.Duration // boot time since when it has been seen running
	told     time.Time     // when the run began that was last told of
	exitSeen bool          // the exit of this run has been counted
	waiting  bool          // a worker waits for its exit
	waitAt   time.Duration // boot time before which no worker waits again
	restarts int
	backoff  planner.Backoff
	noRoom   bool          // its last failure: the disk had no room for its images
	lastExit string        // how its last run ended, for people
	lastLog  []string      // what its last run wrote last
	doom     string        // for what its probes had it stopped; "" = they had not
	doomed   time.Duration // boot time at which that began
	revision planner.Revision
	worked   bool            // this run of it was ready
	failures []time.Duration // boot times of those that count: see countFailure
	failure  string          // the last of them, for people
}

func (a *Agent) track(id string) *track {
	t := a.tracks[id]
	if t == nil {
		t = &track{}
		a.tracks[id] = t
	}
	return t
}

// listed takes a listing in.
func (a *Agent) listed(ctx context.Context, d *driverState, n int64, instances []planner.Instance, err error, info runtime.Info, infoErr error) {
	if infoErr == nil && info.Name != "" {
		d.info = info
	}
	d.infoErr = infoErr
	a.problem("driver "+d.name, err)
	d.err = err
	if err != nil {
		return
	}
	d.listed, d.instances = true, instances
	a.release(d, n)
	now := a.cfg.Clock()
	seen := map[string]bool{}
	for _, i := range instances {
		seen[i.ID] = true
		a.observe(ctx, d, i, now)
	}
	for id, t := range a.tracks {
		if t.driver == d.name && !seen[id] {
			a.vanished(id, t, now)
		}
	}
}

// observe notes what one entry of a listing says that was not known before.
func (a *Agent) observe(ctx context.Context, d *driverState, i planner.Instance, now planner.Time) {
	t := a.track(i.ID)
	t.driver, t.slot, t.revision = d.name, i.Slot, i.Revision
	switch i.State {
	case planner.StateRunning:
		if !t.running {
			t.running, t.exitSeen, t.doom, t.worked = true, false, "", false
			t.since = now.Boot - min(max(0, now.Wall.Sub(i.StartedAt)), now.Boot)
			if i.StartedAt.IsZero() {
				t.since = now.Boot
			}
			if i.StartedAt.IsZero() || !i.StartedAt.Equal(t.told) { // a listing may come before its start has landed
				t.told = i.StartedAt
				a.log.Info("instance runs", "slot", i.Slot, "instance", i.ID, "revision", i.Revision.Short())
			}
		}
		a.await(ctx, d, i.ID, t, now)
	case planner.StateExited:
		if !t.exitSeen && a.flights[i.ID] == nil {
			if a.runsOnce(i) { // it is not tried again: see followOnce
				t.exitSeen, t.lastExit = true, planner.DescribeExit(i.Exit)
			} else {
				a.exited(i.ID, t, planner.DescribeExit(i.Exit), now)
				a.countEnd(i)
			}
			a.remember(i, t)
		}
		t.running = false
	default:
		t.running = false
	}
}

// vanished notes that an instance is not listed any more although no action of
// ours took it away. One that a person removed comes back at once; where
// something removes it as soon as it runs, the back-off keeps the two apart.
func (a *Agent) vanished(id string, t *track, now planner.Time) {
	if t.running && a.flights[id] == nil {
		const reason = "it was removed by hand"
		if now.Boot-t.since < readyAfter {
			a.exited(id, t, reason, now)
			a.countFailure(id, t.slot, t.revision, reason)
		} else {
			t.lastExit = reason
			a.log.Warn("instance is gone", "slot", t.slot, "instance", id, "reason", reason)
		}
	}
	t.running = false
}

// exited counts the end of a run towards the instance's back-off.
func (a *Agent) exited(id string, t *track, reason string, now planner.Time) {
	t.exitSeen, t.lastExit, t.noRoom = true, reason, false
	if t.running && now.Boot-t.since >= planner.BackoffReset {
		t.backoff, t.failures = planner.Backoff{}, nil
	}
	t.backoff = a.backOff(t.backoff, t.slot, t.revision, t.lastExit)
	a.log.Warn("instance ended", "slot", t.slot, "instance", id, "reason", reason, "failures", t.backoff.Failures)
}

// await holds the driver's Wait for a running instance: the exit signal. Its
// result only makes the driver list again.
func (a *Agent) await(ctx context.Context, d *driverState, id string, t *track, now planner.Time) {
	if t.waiting || t.waitAt > now.Boot {
		return
	}
	t.waiting = true
	a.work(func() {
		_, _ = d.driver.Wait(ctx, id) // whatever it says, the listing is the truth
		a.post(func() {
			t.waiting = false
			// Also after an exit: a driver that tells of one but lists the
			// instance as running must not keep the node busy.
			t.waitAt = a.cfg.Clock().Boot + time.Second
			d.list()
		})
	})
}

// instances lists everything the drivers listed last, and names the drivers
// whose listing cannot be trusted now.
func (a *Agent) instances() (all []planner.Instance, unlisted map[string]bool) {
	unlisted = map[string]bool{}
	for name, d := range a.drivers {
		if d.err != nil {
			if d.listed || a.uses(name) {
				unlisted[name] = true
			}
		}
		all = append(all, d.instances...)
	}
	return all, unlisted
}

// uses reports whether a leased or wanted revision runs on a driver: if not,
// a driver that never answered (containerd not installed) is in nobody's way.
func (a *Agent) uses(driver string) bool {
	for _, spec := range a.state.specs {
		if spec.DriverName() == driver {
			return true
		}
	}
	for id := range a.state.docs {
		if s, ok := a.state.followed.Services[id]; ok && s.Template.DriverName() == driver {
			return true
		}
	}
	return false
}

// allListed reports whether every driver's last listing succeeded.
func (a *Agent) allListed() bool {
	for _, d := range a.drivers {
		if d.err != nil {
			return false
		}
	}
	return true
}
