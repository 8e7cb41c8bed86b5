package agent

import (
	"cmp"
	"context"
	"errors"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	// measureTime bounds how long the instances of a node are measured.
	measureTime = 5 * time.Second
	// measurers is how many instances are measured at once.
	measurers = 8
)

// gauge is one instance that is to be measured, and the driver that can.
type gauge struct {
	usage  *api.InstanceUsage
	driver runtime.Stats // nil = it cannot
}

// Usage measures what the instances of this node use. An instance that cannot be
// measured says so in its own row. It may be called from any goroutine.
func (a *Agent) Usage(ctx context.Context) (*api.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, measureTime)
	defer cancel()
	var out *api.Usage
	var gauges []gauge
	err := a.onLoop(ctx, func() error {
		out, gauges = a.gauges()
		return nil
	})
	if err != nil {
		return nil, err // the loop may write them still
	}
	if a.cfg.Pressure != nil {
		for _, r := range a.cfg.Pressure.Read(nil) {
			if r.Resource == planner.ResourceMemory && r.Place == "" && r.Free <= r.Total {
				out.MemoryUsed, out.MemoryTotal = r.Total-r.Free, r.Total
			}
		}
	}
	var group sync.WaitGroup
	places := make(chan struct{}, measurers)
	for _, g := range gauges {
		places <- struct{}{}
		group.Go(func() {
			g.measure(ctx)
			<-places
		})
	}
	group.Wait()
	return out, nil
}

// gauges lists what is to be measured, and all that is known without. The loop
// calls it.
func (a *Agent) gauges() (*api.Usage, []gauge) {
	out := &api.Usage{Node: a.cfg.Node.Name, At: a.cfg.Clock().Wall, Cores: goruntime.NumCPU()}
	if a.fleet != nil {
		out.Capacity = a.fleet.cfg.Member.Self.Capacity
	}
	all, _ := a.instances()
	all = slices.DeleteFunc(all, func(i planner.Instance) bool { return !i.Alive() })
	slices.SortFunc(all, func(x, y planner.Instance) int {
		return cmp.Or(x.Slot.Compare(y.Slot), cmp.Compare(x.ID, y.ID))
	})
	out.Instances = make([]api.InstanceUsage, len(all))
	gauges := make([]gauge, len(all))
	for k, i := range all {
		u := &out.Instances[k]
		*u = api.InstanceUsage{
			Namespace: i.Slot.Service.Namespace, Name: i.Slot.Service.Name, Slot: i.Slot.Name, ID: i.ID,
			Driver: i.Driver, Revision: i.Revision, StartedAt: i.StartedAt, Restarts: a.track(i.ID).restarts,
		}
		if template, known := a.state.specs[i.Revision]; known {
			u.Asked, u.Limits = template.Asked(), template.Limits()
		}
		gauges[k] = gauge{usage: u}
		if d := a.drivers[i.Driver]; d != nil {
			gauges[k].driver, _ = d.driver.(runtime.Stats)
		}
	}
	return out, gauges
}

// measure fills in what one instance uses.
func (g gauge) measure(ctx context.Context) {
	if g.driver == nil {
		g.usage.Error = "driver " + g.usage.Driver + " does not measure"
		return
	}
	u, err := g.driver.Stats(ctx, g.usage.ID)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		g.usage.Error = "driver " + g.usage.Driver + " does not measure"
	case err != nil:
		g.usage.Error = planner.OneLine(err.Error(), maxUsageError)
	default:
		g.usage.CPU, g.usage.MemoryBytes, g.usage.PIDs = u.CPU, u.MemoryBytes, u.PIDs
	}
}

// maxUsageError bounds what a driver says of one instance.
const maxUsageError = 200
