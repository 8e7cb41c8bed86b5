package agent

import (
	"errors"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// maxFailures bounds what is remembered of one instance.
const maxFailures = 1000

// countFailure notes that a run of an instance ended, or that its start failed.
// What runs once is not counted: it is not started again.
func (a *Agent) countFailure(id string, slot planner.SlotID, rev planner.Revision, reason string) {
	if a.runsOnce(planner.Instance{Slot: slot, Revision: rev}) {
		return
	}
	t, now := a.track(id), a.cfg.Clock().Boot
	within := a.state.followed.Services[slot.Service].Reschedule.WithDefaults().Within
	t.failures = append(slices.DeleteFunc(t.failures, func(at time.Duration) bool { return at < now-within }), now)
	t.failures = t.failures[max(0, len(t.failures)-maxFailures):]
	t.failure = reason
	a.progress.news = true
	if !t.worked {
		a.countStart(startFailure{At: now, Slot: slot, Revision: rev, Reason: reason})
	}
}

// countEnd counts a run that ended, unless nobody knows how: what took the
// machine or the driver with it is no failure of what ran.
func (a *Agent) countEnd(i planner.Instance) {
	if i.Exit != nil && !i.Exit.Unknown {
		a.countFailure(i.ID, i.Slot, i.Revision, planner.DescribeExit(i.Exit))
	}
}

// countLanding counts a start that failed, unless it says nothing of the
// instance: its images could not be had, or its driver does not answer.
func (a *Agent) countLanding(f *flight, err error) {
	var pull pullError
	starts := f.action.Kind == planner.ActionStart || f.action.Kind == planner.ActionRestart
	if !starts || errors.As(err, &pull) || errors.Is(err, runtime.ErrUnavailable) || errors.Is(err, runtime.ErrNotFound) {
		return
	}
	a.track(f.action.Instance).worked = false
	a.countFailure(f.action.Instance, f.action.Slot, f.action.Lease.Revision, err.Error())
}

// backOff is the back-off of an instance after one more failure. It waits as if it
// had failed once more for each node on which its slot was given up: one that is
// bad everywhere moves less and less often.
func (a *Agent) backOff(b planner.Backoff, slot planner.SlotID, rev planner.Revision, reason string) planner.Backoff {
	next := planner.Backoff{Failures: b.Failures + a.givenUpOn(slot, rev)}.Failed(a.cfg.Clock().Boot, reason)
	next.Failures = b.Failures + 1
	return next
}

// givenUpOn is the number of nodes on which a slot was given up at a revision
// that are not forgotten yet; 0 on a node alone.
func (a *Agent) givenUpOn(slot planner.SlotID, rev planner.Revision) int {
	return a.state.docs[slot.Service].GivenUpOn(slot.Name, rev)
}

// failuresSince counts the failures from an instant on.
func failuresSince(failures []time.Duration, from time.Duration) int {
	n := 0
	for _, at := range failures {
		if at >= from {
			n++
		}
	}
	return n
}
