package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Fake is a driver in memory. Instances run until they are stopped, or end as
// Behave or Exit says. Everything is safe for concurrent use; one Fake given
// to one agent after another is a backend that outlives its agents.
type Fake struct {
	Calls // Start, Stop, Remove, List, Wait, Info, Prepare, Pull, Sweep, Stats, Watch

	name string

	mu          sync.Mutex
	info        runtime.Info
	unavailable bool
	changed     chan struct{} // closed and replaced at every change
	instances   map[string]*fakeInstance
	behave      func(runtime.Workload, runtime.Container) Behaviour
	leavePartly bool
	history     []Event
	images      fakeImages
	exec        func(ctx context.Context, id, container string, argv []string, streams runtime.Streams) (int, error)
	pid         int
}

var (
	_ runtime.Driver  = (*Fake)(nil)
	_ runtime.Watcher = (*Fake)(nil)
	_ runtime.Sweeper = (*Fake)(nil)
	_ runtime.Stats   = (*Fake)(nil)
)

// Behaviour says what a container of a Fake does.
type Behaviour struct {
	// StartDelay is how long Start takes for it.
	StartDelay time.Duration
	// StartError is what Start fails with, after StartDelay.
	StartError error
	// Exit is how it ends by itself, RunFor after its start; nil = never. An
	// init container without Exit ends with code 0 after RunFor.
	Exit   *planner.Exit
	RunFor time.Duration
	// OnSignal is the exit upon its stop signal, StopDelay after it; nil =
	// code 128+15 by signal 15.
	OnSignal  *planner.Exit
	StopDelay time.Duration
	// Deaf: the stop signal does nothing; only the kill ends it.
	Deaf bool
}

// Event is one change of a Fake's instances.
type Event struct {
	At       time.Time
	Instance planner.Instance // as it was listed right after
	Removed  bool             // it is not listed any more
}

// NewFake returns an empty fake that declares every capability.
func NewFake(name string) *Fake {
	return &Fake{
		name: name,
		info: runtime.Info{Name: name, Version: "fake", Capabilities: runtime.Capabilities{
			Images: true, NetNS: true, Mounts: true, Init: true, Users: true, Security: true,
			LimitsCPU: true, LimitsMemory: true, LimitsPIDs: true, OOM: true, Terminal: true,
			UserNames: true, Ulimits: true, Sysctls: true, Reaper: true,
		}},
		changed:   make(chan struct{}),
		instances: map[string]*fakeInstance{},
		images:    newFakeImages(),
		pid:       1000,
	}
}

// SetInfo changes what Info returns. The name cannot be changed.
func (f *Fake) SetInfo(edit func(*runtime.Info)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(&f.info)
	f.info.Name = f.name
}

// SetUnavailable makes every call fail with ErrUnavailable, those under way
// included, as a backend does that was killed. What runs goes on.
func (f *Fake) SetUnavailable(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unavailable = down
	f.notify()
}

// Behave says what containers started from now on do; nil = run until stopped.
func (f *Fake) Behave(behave func(runtime.Workload, runtime.Container) Behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behave = behave
}

// LeavePartial makes a Start that is cut off by its context leave a partial
// instance behind, as one whose agent was killed does.
func (f *Fake) LeavePartial(leave bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leavePartly = leave
}

// Exit ends a running instance: the container that exit names, or the first.
// It reports whether that ran.
func (f *Fake) Exit(id string, exit planner.Exit) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.instances[id]
	return i != nil && f.end(i, exit)
}

// Vanish removes an instance behind the agent's back, as a person does by
// hand. It reports whether there was one.
func (f *Fake) Vanish(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.instances[id]
	if i != nil {
		f.drop(i)
	}
	return i != nil
}

// Reboot ends everything that runs, as a restart of the machine does: exits
// are unknown. Nobody is told.
func (f *Fake) Reboot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(f.instances)) {
		i := f.instances[id]
		for _, c := range i.listed.Containers {
			f.end(i, planner.Exit{Container: c.Name, Code: 255, Unknown: true})
		}
	}
}

// Put places an instance that no Start made: one of an earlier agent. It is
// listed as given, with the fake as its driver.
func (f *Fake) Put(instance planner.Instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	instance.Driver = f.name
	f.instances[instance.ID] = &fakeInstance{listed: copyInstance(instance)}
	f.record(f.instances[instance.ID], false)
}

// Workload returns what the instance was started with; false = not listed, or
// not started by Start.
func (f *Fake) Workload(id string) (runtime.Workload, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.instances[id]
	if i == nil || i.workload.ID == "" {
		return runtime.Workload{}, false
	}
	return i.workload, true
}

// History returns every change so far, in order: what a test needs to prove
// that two instances never ran at once.
func (f *Fake) History() []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.history)
}

// enter begins a call. After a nil error the lock is held.
func (f *Fake) enter(ctx context.Context, c Call) (func(error) error, error) {
	end, err := f.begin(ctx, c)
	if err != nil {
		return end, err
	}
	f.mu.Lock()
	if err := f.available(); err != nil {
		f.mu.Unlock()
		return end, err
	}
	return end, nil
}

// available is the error of a backend that is down. The lock is held.
func (f *Fake) available() error {
	if f.unavailable {
		return fmt.Errorf("%s: %w", f.name, runtime.ErrUnavailable)
	}
	return nil
}

// pause releases the lock until the deadline (zero = none), a change, or the
// end of the context. The lock is held before and after.
func (f *Fake) pause(ctx context.Context, deadline time.Time) error {
	changed := f.changed
	f.mu.Unlock()
	defer f.mu.Lock()
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout:
	case <-changed:
	}
	return nil
}

// pauseUntil is pause until the time has come, the backend goes down or the
// context ends.
func (f *Fake) pauseUntil(ctx context.Context, at time.Time) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.available(); err != nil {
			return err
		}
		if !time.Now().Before(at) {
			return nil
		}
		if err := f.pause(ctx, at); err != nil {
			return err
		}
	}
}

// notify wakes everything that waits. The lock is held.
func (f *Fake) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}
