//go:build linux

package containerd

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/api/services/tasks/v1"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Wait blocks until the first main container of the instance has ended.
func (d *Driver) Wait(ctx context.Context, id string) (planner.Exit, error) {
	ctx, cancel := context.WithCancel(d.context(ctx))
	defer cancel()
	what := "wait for " + id
	records := d.seen.of(id)
	if len(records) == 0 { // asking for one makes containerd read all
		var err error
		if records, err = d.records(ctx, instanceFilter(id)); err != nil {
			return planner.Exit{}, fmt.Errorf("%s: %w", what, err)
		}
	}
	if len(records) == 0 {
		return planner.Exit{}, fmt.Errorf("%s: %w", what, runtime.ErrNotFound)
	}
	type end struct {
		exit planner.Exit
		err  error
	}
	ends := make(chan end, len(records))
	for _, rec := range records {
		if rec.Init {
			continue
		}
		go func() {
			answer, err := d.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: rec.ID})
			if err != nil {
				ends <- end{err: err}
				return
			}
			ends <- end{exit: d.exitOf(rec, answer.ExitStatus, answer.ExitedAt.AsTime())}
		}()
	}
	select {
	case e := <-ends:
		if isGone(e.err) {
			return d.vanished(ctx, what, id)
		}
		return e.exit, d.fail(what, e.err)
	case <-ctx.Done():
		return planner.Exit{}, fmt.Errorf("%s: %w", what, ctx.Err())
	}
}

// vanished answers for an instance one of whose processes is not there: it may
// have been lost for good, or be an instance that never was complete.
func (d *Driver) vanished(ctx context.Context, what, id string) (planner.Exit, error) {
	instances, err := d.list(ctx, instanceFilter(id))
	if err != nil {
		return planner.Exit{}, fmt.Errorf("%s: %w", what, err)
	}
	if len(instances) == 0 {
		return planner.Exit{}, fmt.Errorf("%s: %w", what, runtime.ErrNotFound)
	}
	in := instances[0]
	if in.Exit == nil {
		return planner.Exit{}, fmt.Errorf("%s: it is %s", what, in.State)
	}
	return *in.Exit, nil
}
