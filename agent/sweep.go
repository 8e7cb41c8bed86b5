package agent

import (
	"context"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	sweepInterval = 5 * time.Minute
	sweepRetry    = 30 * time.Second
	sweepTimeout  = time.Minute
)

// sweepDue reports whether leftovers of interrupted work should be looked for
// now: only while every driver's listing can be trusted.
func (a *Agent) sweepDue() bool {
	now := a.cfg.Clock().Boot
	return a.sweeping == nil && a.allListed() && (a.swept == 0 || now-a.swept >= sweepInterval)
}

// sweep has what belongs to no instance removed. It spares what is listed,
// leased or under way; while it runs no action begins for anything else.
func (a *Agent) sweep(ctx context.Context) {
	a.swept = max(a.cfg.Clock().Boot, 1)
	a.sweepLogs()
	live := a.live()
	a.sweeping = live
	a.work(func() {
		results := a.sweepAll(ctx, live)
		a.post(func() { a.sweptAll(live, results) })
	})
}

// live names all instances that exist or may come to exist without a new
// lease.
func (a *Agent) live() map[string]bool {
	live := map[string]bool{}
	all, _ := a.instances()
	for _, i := range all {
		live[i.ID] = true
	}
	for id := range a.flights {
		live[id] = true
	}
	for id, doc := range a.state.docs {
		for _, l := range doc.Leases {
			live[planner.InstanceID(planner.SlotID{Service: id, Name: l.Slot}, l)] = true
		}
	}
	return live
}

// sweepAll runs on a worker; the results are by what was swept.
func (a *Agent) sweepAll(ctx context.Context, live map[string]bool) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	results := map[string]error{}
	for name, d := range a.drivers {
		if s, ok := d.driver.(runtime.Sweeper); ok {
			results["sweep "+name] = s.Sweep(ctx, live)
		}
	}
	if a.cfg.Network != nil {
		results["sweep network"] = a.cfg.Network.Sweep(ctx, live)
	}
	results["sweep volumes"] = a.cfg.Volumes.Sweep(ctx, live)
	results["sweep probes"] = a.probes.Forget(live)
	return results
}

func (a *Agent) sweptAll(live map[string]bool, results map[string]error) {
	a.sweeping = nil
	for what, err := range results {
		a.problem(what, err)
		if err != nil {
			a.swept = max(a.cfg.Clock().Boot-sweepInterval+sweepRetry, 1)
		}
	}
	for id := range a.attached {
		if !live[id] {
			delete(a.attached, id)
		}
	}
}
