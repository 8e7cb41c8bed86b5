package runtimetest

import (
	"context"
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.Execer = (*Fake)(nil)

// OnExec says what commands run in instances do; nil = they end with 0 at
// once. It is called with the lock released, and must heed its context.
func (f *Fake) OnExec(run func(ctx context.Context, id, container string, argv []string, streams runtime.Streams) (int, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exec = run
}

// Exec implements runtime.Execer.
func (f *Fake) Exec(ctx context.Context, id, container string, argv []string, streams runtime.Streams) (int, error) {
	end, err := f.enter(ctx, Call{Verb: "Exec", ID: id})
	if err != nil {
		return 0, end(err)
	}
	run, runs := f.exec, f.runs(id, container)
	f.mu.Unlock()
	switch {
	case !runs:
		return 0, end(fmt.Errorf("run a command in %s: container %q: %w", id, container, runtime.ErrNotFound))
	case run == nil:
		return 0, end(nil)
	}
	code, err := run(ctx, id, container, argv, streams)
	return code, end(err)
}

// runs reports whether a container ("" = the first) runs. The lock is held.
func (f *Fake) runs(id, container string) bool {
	i := f.instances[id]
	if i == nil {
		return false
	}
	for _, c := range i.listed.Containers {
		if container == "" || c.Name == container {
			return c.State == planner.StateRunning
		}
	}
	return false
}
