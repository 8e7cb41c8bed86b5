package probe

import (
	"context"
	"errors"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Hook does what a container asks for before its stop signal, until ctx ends.
// The error says why it was not done as asked; the container is stopped all
// the same.
func Hook(ctx context.Context, t Target, hook planner.PreStop) error {
	var out outcome
	switch {
	case hook.Sleep != nil:
		timer := time.NewTimer(time.Duration(hook.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case hook.HTTPGet != nil:
		out = httpGet(ctx, t, hook.HTTPGet)
	default:
		out = command(ctx, t, hook.Command)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case out.result != planner.CheckSuccess:
		return errors.New(planner.OneLine(out.said, maxSaid))
	}
	return nil
}
