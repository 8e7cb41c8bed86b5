package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// flight is an action under way. It stays, and keeps its instance busy, until
// a listing that began after its end has come in.
type flight struct {
	action  planner.Action
	driver  *driverState
	cancel  context.CancelFunc
	pull    pullProgress // of a start that fetches its images
	unasked bool         // it was cancelled because nobody wants it any more
	over    bool
	after   int64 // the newest listing that had begun when it ended
}

// instance is the instance the action is about, as the planner counts it.
func (f *flight) instance() planner.Instance {
	return planner.Instance{
		ID: f.action.Instance, Driver: f.driver.name, Slot: f.action.Slot,
		Token: f.action.Lease.Token, Revision: f.action.Lease.Revision,
	}
}

// launch hands an action to a worker.
func (a *Agent) launch(ctx context.Context, action planner.Action) {
	d := a.drivers[action.Driver]
	if d == nil {
		return // an instance of a driver this node does not have any more
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &flight{action: action, driver: d, cancel: cancel}
	a.flights[action.Instance] = f
	a.log.Info("action", "action", string(action.Kind), "slot", action.Slot, "instance", action.Instance, "reason", action.Reason)
	run := a.ending(action, d)
	switch action.Kind {
	case planner.ActionStart, planner.ActionRestart:
		run = a.starting(action, d, &f.pull)
	case planner.ActionKill:
		a.condemn(action)
		run = a.killing(action, d)
	}
	a.work(func() {
		begin := time.Now()
		at, err := run(ctx)
		cancelled := ctx.Err() != nil
		cancel()
		a.cfg.Metrics.acted(action.Kind, time.Since(begin), err)
		after := d.begun.Load()
		a.post(func() { a.landed(f, at, err, cancelled, after) })
		d.list() // after the message: what this listing finds is taken in later
	})
}

// landed takes in the outcome of an action.
func (a *Agent) landed(f *flight, at *runtime.Attachment, err error, cancelled bool, after int64) {
	f.over, f.after = true, after
	id := f.action.Instance
	t := a.track(id)
	switch {
	case err == nil && f.action.Kind == planner.ActionKill:
		a.killed(id, t)
	case err == nil:
		if at != nil {
			a.attached[id] = *at
		}
		if at != nil && t.lastExit != "" {
			t.restarts++
		}
		t.exitSeen, t.running, t.waitAt, t.noRoom = false, false, 0, false
	case cancelled: // nobody wants it any more, or the agent stops
	default:
		t.backoff = a.backOff(t.backoff, f.action.Slot, f.action.Lease.Revision, err.Error())
		if t.backoff.Failures == 1 {
			t.backoff.NotBefore += time.Second
		}
		t.exitSeen, t.running, t.noRoom = true, false, pullWithoutRoom(err)
		a.notStarted(f.action, err)
		a.log.Warn("action failed", "action", string(f.action.Kind), "slot", f.action.Slot, "instance", id,
			"failures", t.backoff.Failures, "err", err)
		a.countLanding(f, err)
		if errors.Is(err, runtime.ErrNotFound) {
			a.unprepare(f.action)
		}
		if errors.Is(err, runtime.ErrUnavailable) {
			a.restored = false // it may run, at an address nobody told us
		}
	}
}

// unprepare has the images of a revision made ready again: they are gone.
func (a *Agent) unprepare(action planner.Action) {
	delete(a.prepares, planner.RevisionKey{Service: action.Slot.Service, Revision: action.Lease.Revision})
}

// release lets go of the flights that listing n has seen the end of.
func (a *Agent) release(d *driverState, n int64) {
	for id, f := range a.flights {
		if f.driver == d && f.over && n > f.after {
			delete(a.flights, id)
		} else if f.driver == d && f.over {
			d.list()
		}
	}
}

// cancelSuperseded ends starts that no lease asks for any more, so that an
// init container that never ends does not hold anything up.
func (a *Agent) cancelSuperseded() {
	for id, f := range a.flights {
		starts := f.action.Kind == planner.ActionStart || f.action.Kind == planner.ActionRestart
		if f.over || f.unasked || !starts {
			continue
		}
		wanted := false
		if h, held := planner.HoldOf(a.holds(), f.action.Slot, a.cfg.Clock()); held && h.Stop {
			a.giveUp(f, id, "a person holds it down")
			continue
		}
		for _, l := range a.state.docs[f.action.Slot.Service].Leases {
			wanted = wanted || l.Slot == f.action.Slot.Name && a.heldAt(f.action.Slot, l).Revision == f.action.Lease.Revision
		}
		if !wanted {
			a.giveUp(f, id, "no lease asks for it any more")
		}
	}
}

func (a *Agent) giveUp(f *flight, id, why string) {
	a.log.Info("start given up", "slot", f.action.Slot, "instance", id, "reason", why)
	f.unasked = true
	f.cancel()
}

// starting returns the work of a start or restart. All it needs of the loop's
// state it takes now.
func (a *Agent) starting(action planner.Action, d *driverState, pull *pullProgress) func(context.Context) (*runtime.Attachment, error) {
	id, l := action.Instance, action.Lease
	s := a.state.followed.Services[action.Slot.Service]
	content := a.contentOf(action.Slot.Service, l.Revision)
	s.ID = action.Slot.Service
	s.Template = a.state.specs[l.Revision]
	if s.Template.Once {
		s.Ports = nil // it takes no connections
	}
	caps := d.info.Capabilities
	w := workload(a.cfg, s, a.state.docs[s.ID], l, id)
	key := planner.RevisionKey{Service: s.ID, Revision: l.Revision}
	all, _ := a.instances()
	pinUnpinned(w, listedDigests(all, key))
	alive := slices.ContainsFunc(all, func(i planner.Instance) bool { return i.ID == id && i.Alive() })
	farewell := a.farewellOf(id)
	prepared := a.prepares[key]
	ready := prepared != nil && prepared.done
	return func(ctx context.Context) (*runtime.Attachment, error) {
		if reasons := planner.Admit(a.cfg.Policy, s); len(reasons) > 0 {
			return nil, fmt.Errorf("%w: refused by this node: %s", runtime.ErrInvalid, reasons[0])
		}
		if action.Kind == planner.ActionRestart {
			if err := d.takeAway(ctx, id, alive, action.Grace, farewell); err != nil {
				return nil, fmt.Errorf("remove what is left of %s: %w", id, err)
			}
		}
		if !ready {
			digests, err := a.fetch(ctx, d, w, pull.note)
			pull.forget()
			if err != nil {
				return nil, pullError{err}
			}
			pinUnpinned(w, digests) // what is prepared now is what starts; the listing makes pins of them
		}
		leave, err := a.starts.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
		at, err := a.start(ctx, d, w, s, caps, content)
		if err != nil {
			if errors.Is(err, runtime.ErrUnavailable) {
				// It may have come to life: what it needs stays until a listing tells.
				return nil, err
			}
			return nil, errors.Join(err, a.leave(context.WithoutCancel(ctx), id))
		}
		return at, nil
	}
}

// start attaches, mounts and starts; what it made before a failure is taken
// away by its caller.
func (a *Agent) start(ctx context.Context, d *driverState, w runtime.Workload, s planner.Service, caps runtime.Capabilities, content *content) (*runtime.Attachment, error) {
	t := s.Template
	var at runtime.Attachment
	var err error
	if caps.NetNS && !t.HostNetwork {
		if at, err = a.cfg.Network.Attach(ctx, w.ID, runtime.Names{Hostname: w.Hostname, Namespace: w.Slot.Service.Namespace, Aliases: t.HostAliases, DNS: t.DNS}); err != nil {
			return nil, fmt.Errorf("attach to the node's network: %w", err)
		}
	}
	owner, err := ownerOf(ctx, d.driver, w, t)
	if err != nil {
		return nil, fmt.Errorf("find whom volumes are for: %w", err)
	}
	volumes, err := content.mount(ctx, a.cfg.Volumes, w, t, owner)
	if err != nil {
		return nil, fmt.Errorf("make volumes ready: %w", err)
	}
	if reasons := planner.Admit(a.cfg.Policy, resolved(s, volumes)); len(reasons) > 0 {
		return nil, fmt.Errorf("%w: refused by this node: %s", runtime.ErrInvalid, reasons[0])
	}
	if err := os.MkdirAll(logDir(a.cfg.StateDir, w.Slot), 0o700); err != nil {
		return nil, fmt.Errorf("make log folder: %w", err)
	}
	place(&w, t, caps, withNames(at, t), volumes)
	start := d.driver.Start
	if t.Once {
		start = func(ctx context.Context, w runtime.Workload) error { return a.startOnce(ctx, d, w) }
	}
	if err := start(ctx, w); err != nil {
		return nil, err
	}
	return &at, nil
}

// ending returns the work of a stop or remove.
func (a *Agent) ending(action planner.Action, d *driverState) func(context.Context) (*runtime.Attachment, error) {
	id := action.Instance
	drain := action.Kind == planner.ActionStop && a.relieved(action.Slot.Service, id)
	farewell := a.farewellOf(id)
	return func(ctx context.Context) (*runtime.Attachment, error) {
		if drain && !pause(ctx, drainTime) {
			return nil, ctx.Err()
		}
		leave, err := a.stops.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
		if err := d.takeAway(ctx, id, action.Kind == planner.ActionStop, action.Grace, farewell); err != nil {
			return nil, err
		}
		return nil, a.leave(ctx, id)
	}
}

// takeAway removes an instance. What is alive of it has its grace, which begins
// with what it asks for before the stop signal.
func (d *driverState) takeAway(ctx context.Context, id string, alive bool, grace time.Duration, f farewell) error {
	if alive {
		if err := d.driver.Stop(ctx, id, f.say(ctx, grace)); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
	if err := d.driver.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// leave takes away what network and volumes made for one instance.
func (a *Agent) leave(ctx context.Context, id string) error {
	var errs []error
	if a.cfg.Network != nil {
		if err := a.cfg.Network.Detach(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("detach from the node's network: %w", err))
		}
	}
	if err := a.cfg.Volumes.Release(ctx, id); err != nil {
		errs = append(errs, fmt.Errorf("release volumes: %w", err))
	}
	return errors.Join(errs...)
}
