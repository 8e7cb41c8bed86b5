package agent

import (
	"context"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/probe"
	"github.com/orpheus-cd/orpheus/planner"
)

// minGrace is what a container always has after its stop signal when its hook
// has used up the grace period, as in Kubernetes.
const minGrace = 2 * time.Second

// farewell is what the containers of an instance ask for before their stop
// signal.
type farewell struct {
	agent    *Agent
	instance planner.Instance
	hooks    []hook
}

type hook struct {
	target probe.Target
	do     planner.PreStop
}

// farewellOf collects the hooks of the containers of an instance that run.
func (a *Agent) farewellOf(id string) farewell {
	f := farewell{agent: a}
	all, _ := a.instances()
	for _, i := range all {
		if i.ID != id {
			continue
		}
		f.instance = i
		place, known := a.placeOf(i)
		running := map[string]bool{}
		for _, c := range i.Containers {
			running[c.Name] = c.State == planner.StateRunning
		}
		for _, c := range a.state.specs[i.Revision].Containers {
			if known && running[c.Name] && c.HasPreStop() {
				f.hooks = append(f.hooks, hook{probe.Target{Instance: id, Container: c, Place: place}, *c.Lifecycle.PreStop})
			}
		}
	}
	return f
}

// say does what was asked for, all containers at once, within the grace
// period, and returns what is left of that.
func (f farewell) say(ctx context.Context, grace time.Duration) time.Duration {
	if len(f.hooks) == 0 || grace <= 0 {
		return grace
	}
	begin := time.Now()
	within, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	var hooks sync.WaitGroup
	for _, h := range f.hooks {
		hooks.Go(func() {
			if err := probe.Hook(within, h.target, h.do); err != nil && ctx.Err() == nil {
				f.agent.log.Warn("preStop failed: the container is stopped all the same", "slot", f.instance.Slot, "instance", f.instance.ID,
					"container", h.target.Container.Name, "hook", h.do.String(), "err", err)
			}
		})
	}
	hooks.Wait()
	return max(grace-time.Since(begin), min(grace, minGrace))
}
