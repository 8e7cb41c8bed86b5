package agent

import (
	"context"
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// condemn counts the failure of an instance that its probes have stopped, as
// if it had ended by itself now.
func (a *Agent) condemn(action planner.Action) {
	now := a.cfg.Clock()
	t := a.track(action.Instance)
	a.exited(action.Instance, t, action.Reason, now)
	a.countFailure(action.Instance, action.Slot, action.Lease.Revision, action.Reason)
	t.doom, t.doomed = action.Reason, now.Boot
}

// killing returns the work of a kill: what is left of the instance stays
// listed.
func (a *Agent) killing(action planner.Action, d *driverState) func(context.Context) (*runtime.Attachment, error) {
	farewell := a.farewellOf(action.Instance)
	return func(ctx context.Context) (*runtime.Attachment, error) {
		leave, err := a.stops.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
		if err := d.driver.Stop(ctx, action.Instance, farewell.say(ctx, action.Grace)); err != nil {
			return nil, fmt.Errorf("stop: %w", err)
		}
		return nil, nil
	}
}

// killed takes in that a condemned instance has stopped: its back-off begins
// now, however long that took.
func (a *Agent) killed(id string, t *track) {
	t.backoff.NotBefore += a.cfg.Clock().Boot - t.doomed
	all, _ := a.instances()
	for _, i := range all {
		if i.ID == id {
			a.remember(i, t)
		}
	}
}
