package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// What runs once (a hook of a service) is begun at most once under its lease,
// whatever happens: that it begins is on disk before the driver is asked, and a
// start that the driver says did not begin is the only one that is tried again.
// From then on the driver's listing tells how it goes, and how it ended is
// written down as soon as it is listed. What was begun and cannot be found any
// more has failed: nobody knows how far it came.

// beginTime is how long a start that may have begun goes on although nobody
// wants it any more, or the agent stops: cut off, its outcome would not be known.
// As long a new agent waits for what the last one, which was killed, may have
// asked of a driver that is still about to do it.
const beginTime = 5 * time.Second

const (
	outcomeUnknown = "its outcome is not known: "
	notFoundAgain  = outcomeUnknown + "it was begun, and nothing of it is there any more (it was removed by hand, or the node or its agent ended in the middle)"
	cutOff         = outcomeUnknown + "its start was cut off, or a part of it was removed by hand"
)

// keyOfOnce names a lease in what is remembered of what runs once.
func keyOfOnce(id planner.ServiceID, l planner.Lease) onceKey {
	return onceKey{Service: id, Token: l.Token, Revision: l.Revision}
}

// isOnce reports whether what a lease asks for runs once.
func (a *Agent) isOnce(l planner.Lease) bool {
	return l.Hook != "" || a.state.specs[l.Revision].Once
}

// runsOnce reports whether an instance is of something that runs once: it takes
// no connections and is never started again.
func (a *Agent) runsOnce(i planner.Instance) bool {
	if spec, known := a.state.specs[i.Revision]; known {
		return spec.Once
	}
	s := a.state.followed.Services[i.Slot.Service]
	return !s.EveryNode && isHookSlot(i.Slot.Name)
}

func isHookSlot(name string) bool { return slices.Contains(planner.HookKinds, planner.HookKind(name)) }

// onceLeases goes through the leases of this node under which something runs
// once, in order.
func (a *Agent) onceLeases(do func(id planner.ServiceID, l planner.Lease)) {
	for _, id := range sortedServices(a.state.docs) {
		for _, l := range a.state.docs[id].Leases {
			if a.isOnce(l) {
				do(id, l)
			}
		}
	}
}

// loadOnceRuns reads what the last process began.
func (a *Agent) loadOnceRuns(path string) (err error) {
	var standing []onceKey
	a.onceLeases(func(id planner.ServiceID, l planner.Lease) { standing = append(standing, keyOfOnce(id, l)) })
	a.once, err = loadOnce(path, standing)
	a.onceKnown = a.cfg.Clock().Boot + beginTime
	return err
}

// refusedOnce has the refusals of the last process stand: others were told.
func (a *Agent) refusedOnce() {
	a.onceLeases(func(id planner.ServiceID, l planner.Lease) {
		if run, _ := a.once.of(keyOfOnce(id, l)); run.Refused != "" {
			a.fleet.refused[planner.RevisionKey{Service: id, Revision: l.Revision}] = run.Refused
		}
	})
}

// neverBegin is to be called before others are told that this node refuses a
// revision: of what runs once it never begins it from then on, for another node
// may. After an error they are not told.
func (a *Agent) neverBegin(key planner.RevisionKey, why string) error {
	var errs []error
	for _, l := range a.state.docs[key.Service].Leases {
		if l.Revision == key.Revision && a.isOnce(l) {
			errs = append(errs, a.once.refuse(keyOfOnce(key.Service, l), why))
		}
	}
	return errors.Join(errs...)
}

// startedOnce are the leases under which something was begun that runs once.
func (a *Agent) startedOnce() map[planner.LeaseKey]bool {
	started := map[planner.LeaseKey]bool{}
	a.onceLeases(func(id planner.ServiceID, l planner.Lease) {
		if _, begun := a.once.of(keyOfOnce(id, l)); begun {
			started[planner.LeaseKey{Service: id, Token: l.Token}] = true
		}
	})
	return started
}

// endedHooks are the outcomes of the hooks that have ended: why one failed, "" =
// it succeeded.
func (a *Agent) endedHooks() map[planner.LeaseKey]string {
	ended := map[planner.LeaseKey]string{}
	a.onceLeases(func(id planner.ServiceID, l planner.Lease) {
		if run, begun := a.once.of(keyOfOnce(id, l)); begun && run.Ended {
			ended[planner.LeaseKey{Service: id, Token: l.Token}] = run.Failed
		}
	})
	return ended
}

// followOnce writes down how what runs once has ended, as far as the drivers
// list it.
func (a *Agent) followOnce() {
	all, _ := a.instances()
	early := a.cfg.Clock().Boot < a.onceKnown
	stands := map[onceKey]bool{}
	var trouble []error
	a.onceLeases(func(id planner.ServiceID, l planner.Lease) {
		key := keyOfOnce(id, l)
		stands[key] = true
		run, begun := a.once.of(key)
		if run.Ended {
			return
		}
		slot := planner.SlotID{Service: id, Name: l.Slot}
		instance := planner.InstanceID(slot, l)
		k := slices.IndexFunc(all, func(i planner.Instance) bool {
			return i.ID == instance || i.Slot == slot && i.Token == l.Token && i.Revision == l.Revision
		})
		if a.flights[instance] != nil || k < 0 && (!begun || !a.tellsAll(l.Revision)) {
			return
		}
		if early && (k < 0 || all[k].State == planner.StatePartial) {
			return
		}
		failed, over := notFoundAgain, true
		if h, held := planner.HoldOf(a.holds(), slot, a.cfg.Clock()); held && h.Stop {
			failed = outcomeUnknown + "it was stopped: " + h.String()
		}
		if k >= 0 {
			failed, over = outcomeOf(all[k])
			if all[k].State == planner.StatePartial && !begun {
				over = false // what a start left that did not begin: it is made anew
			} else if !begun {
				trouble = append(trouble, a.once.begin(key)) // what is remembered was lost; this tells
			}
		}
		if over {
			trouble = append(trouble, a.endOnce(slot, l, failed))
		}
	})
	a.problem("hooks", errors.Join(trouble...))
	if a.fleet != nil {
		for id, leases := range a.fleet.standing.Keep {
			for _, l := range leases {
				stands[keyOfOnce(id, l)] = true
			}
		}
	}
	a.once.trim(func(key onceKey) bool { return stands[key] })
}

// tellsAll reports whether an instance of a revision is listed if there is one.
func (a *Agent) tellsAll(rev planner.Revision) bool {
	spec, known := a.state.specs[rev]
	for name, d := range a.drivers {
		if d.err != nil && (!known || spec.DriverName() == name) {
			return false
		}
	}
	return !known || a.drivers[spec.DriverName()] != nil
}

// outcomeOf is how an instance that runs once has ended: well, if all its
// containers ended by themselves with 0, badly as soon as one did not.
func outcomeOf(i planner.Instance) (failed string, over bool) {
	switch i.State {
	case planner.StatePartial:
		return cutOff, true
	case planner.StateRunning:
		return "", false
	}
	for _, c := range i.Containers {
		if c.State != planner.StateExited {
			continue
		}
		if failed := badEnd(c.Exit); failed != "" {
			return failed, true
		}
	}
	return badEnd(i.Exit), !i.Alive()
}

// badEnd says why an exit is none of a success; "" = it is one.
func badEnd(e *planner.Exit) string {
	switch {
	case e == nil || e.Unknown:
		return outcomeUnknown + planner.DescribeExit(e)
	case e.Code != 0 || e.Signal != 0 || e.OOM:
		return planner.DescribeExit(e)
	}
	return ""
}

// endOnce writes an outcome down. What cannot be written is tried again: until
// then nobody is told of it.
func (a *Agent) endOnce(slot planner.SlotID, l planner.Lease, failed string) error {
	if err := a.once.end(keyOfOnce(slot.Service, l), failed); err != nil {
		return err
	}
	if failed == "" {
		a.log.Info("hook succeeded", "slot", slot, "revision", l.Revision.Short())
	} else {
		a.log.Warn("hook failed", "slot", slot, "revision", l.Revision.Short(), "reason", failed)
	}
	return nil
}

// oncePhase is where an instance that runs once is in its life.
func oncePhase(i planner.Instance) (planner.Phase, string) {
	failed, over := outcomeOf(i)
	switch {
	case i.State == planner.StatePartial:
		return planner.PhaseStarting, ""
	case !over:
		return planner.PhaseRunning, ""
	case failed != "":
		return planner.PhaseFailed, failed
	}
	return planner.PhaseSucceeded, ""
}

// tellOnce is the phase of a lease under which something runs once, in place of
// what it would be of one that is to run on. Whoever decides takes an end for
// final: it is told once it is written down, and never of what is still tried.
func (a *Agent) tellOnce(id planner.ServiceID, l planner.Lease, phase *planner.Phase, reason *string) {
	if !a.isOnce(l) {
		return
	}
	run, begun := a.once.of(keyOfOnce(id, l))
	switch {
	case !run.Ended && *phase != planner.PhaseSucceeded && *phase != planner.PhaseFailed:
	case !run.Ended && begun:
		*phase, *reason = planner.PhaseRunning, a.failing(planner.LeaseKey{Service: id, Token: l.Token})
	case !run.Ended:
		*phase = planner.PhasePending
	case run.Failed == "":
		*phase, *reason = planner.PhaseSucceeded, ""
	default:
		*phase, *reason = planner.PhaseFailed, run.Failed
	}
}

// begunError is the failure of a start of something that runs once, after which
// it is not tried again.
type begunError struct{ error }

func (e begunError) Unwrap() error { return e.error }

// startOnce has a driver start what runs once.
func (a *Agent) startOnce(ctx context.Context, d *driverState, w runtime.Workload) error {
	key := onceKey{Service: w.Slot.Service, Token: w.Token, Revision: w.Revision}
	if err := a.once.begin(key); err != nil {
		return fmt.Errorf("note that it begins: %w", err)
	}
	ctx, cancel := linger(ctx, beginTime)
	defer cancel()
	err := d.driver.Start(ctx, w)
	switch {
	case err == nil, errors.Is(err, runtime.ErrUnavailable) && !errors.Is(err, runtime.ErrNotBegun):
		return err // the listing tells
	case errors.Is(err, runtime.ErrInvalid), !errors.Is(err, runtime.ErrNotBegun):
		return begunError{err}
	}
	return errors.Join(err, a.once.takeBack(key))
}

// linger is a context that ends so long after another.
func linger(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		pause(lasting, d)
		cancel()
	})
	return lasting, func() {
		stop()
		cancel()
	}
}

// notStarted notes that the start of something that runs once has failed for
// good.
func (a *Agent) notStarted(action planner.Action, err error) {
	var begun begunError
	if errors.As(err, &begun) {
		a.problem("hooks", a.endOnce(action.Slot, action.Lease, oneLine(err)))
	}
}

// onceEnv is what something that runs once finds in its environment beside what
// every instance does.
func onceEnv(t planner.Template, doc planner.LeaseDoc, l planner.Lease) []runtime.Env {
	if !t.Once {
		return nil
	}
	return []runtime.Env{
		{Name: "ORPHEUS_HOOK", Value: l.Hook.Field()},
		{Name: "ORPHEUS_REVISION", Value: string(t.Of)},
		{Name: "ORPHEUS_COMMIT", Value: doc.Commit},
	}
}

// releasePins are the digests that another part of a release was given, the
// service or one of its hooks: one reference means one image in all of it.
func (a *Agent) releasePins(key planner.RevisionKey) map[string]string {
	s := a.state.followed.Services[key.Service]
	if _, wanted := s.TemplateOf(key.Revision); !wanted {
		return nil
	}
	images := a.state.docs[key.Service].Images
	pins := merge(nil, images[s.Revision])
	for _, kind := range planner.HookKinds {
		pins = merge(pins, images[s.Hooks[kind].Revision])
	}
	return pins
}
