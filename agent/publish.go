package agent

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	publishTimeout = 10 * time.Second
	sweepInterval  = 5 * time.Minute
	sweepTimeout   = time.Minute
)

// publication is what was published last, and when.
type publication struct {
	ports []runtime.PublishedPort
	at    time.Duration // boot time; 0 = nothing yet in this process
}

// restoreNetwork learns the addresses of the instances of an earlier run.
func (a *Agent) restoreNetwork(ctx context.Context) {
	if a.cfg.Network == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	attached, err := a.cfg.Network.Attachments(ctx)
	a.problem("network", err)
	for id, at := range attached {
		a.attached[id] = at
	}
}

// publish opens the ports of what runs. It comes before the plan's stops are
// carried out, so that an instance gets no new connection once its end is
// decided; the kernel holds the result, whatever becomes of the agent.
func (a *Agent) publish(ctx context.Context, plan planner.Plan) {
	if a.cfg.Network == nil || !a.settled() {
		return
	}
	ports := a.ports(plan)
	now := a.cfg.Clock().Boot
	fresh := a.published.at != 0 && now-a.published.at < a.cfg.Resync
	if fresh && reflect.DeepEqual(ports, a.published.ports) || len(ports) == 0 && a.published.at == 0 && len(a.attached) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := a.cfg.Network.Publish(ctx, ports)
	a.problem("published ports", err)
	if err == nil {
		a.published = publication{ports: ports, at: now}
	}
}

// settled reports whether the drivers in use have been listed in this
// process: before, nobody knows what runs, and the kernel's ports stay.
func (a *Agent) settled() bool {
	for name, d := range a.drivers {
		if !d.listed && a.uses(name) {
			return false
		}
	}
	return true
}

// ports lists the published ports and their targets: the ready instances of
// the service, or all running ones while none is ready.
func (a *Agent) ports(plan planner.Plan) []runtime.PublishedPort {
	ending := map[string]bool{}
	for _, action := range plan.Actions {
		ending[action.Instance] = true
	}
	for id := range a.flights {
		ending[id] = true
	}
	now := a.cfg.Clock()
	all, _ := a.instances()
	ready, running := map[planner.ServiceID][]planner.Instance{}, map[planner.ServiceID][]planner.Instance{}
	for _, i := range all {
		if i.State != planner.StateRunning || ending[i.ID] && !a.justStarted(i.ID) || a.attached[i.ID].Address == "" {
			continue
		}
		id := i.Slot.Service
		running[id] = append(running[id], i)
		if a.ready(i, now) {
			ready[id] = append(ready[id], i)
		}
	}
	var out []runtime.PublishedPort
	for _, id := range sortedServices(a.state.followed.Services) {
		s := a.state.followed.Services[id]
		if _, here := a.state.docs[id]; !here || s.Template.HostNetwork || s.Template.DriverName() == planner.DriverProcess {
			continue
		}
		targets := ready[id]
		if len(targets) == 0 {
			targets = running[id]
		}
		for _, p := range s.Ports {
			if p.Publish != nil {
				out = append(out, a.port(s, p, targets))
			}
		}
	}
	return out
}

// justStarted reports whether the action that keeps an instance busy was its
// start, and has ended.
func (a *Agent) justStarted(id string) bool {
	f := a.flights[id]
	return f != nil && f.over && f.action.Kind != planner.ActionStop && f.action.Kind != planner.ActionRemove
}

func (a *Agent) port(s planner.Service, p planner.Port, targets []planner.Instance) runtime.PublishedPort {
	out := runtime.PublishedPort{Service: s.ID, Address: p.Publish.Address, Port: p.Publish.Port, Protocol: p.Protocol}
	for _, i := range targets {
		out.Targets = append(out.Targets, runtime.Target{
			Address: a.attached[i.ID].Address,
			Port:    containerPort(a.state.specs[i.Revision], p),
		})
	}
	slices.SortFunc(out.Targets, func(a, b runtime.Target) int {
		if c := strings.Compare(a.Address, b.Address); c != 0 {
			return c
		}
		return a.Port - b.Port
	})
	return out
}

// containerPort is where an instance listens: an earlier revision may have
// another number under the same name.
func containerPort(spec planner.Template, p planner.Port) int {
	for _, c := range spec.Containers {
		for _, own := range c.Ports {
			if p.Name != "" && own.Name == p.Name {
				return own.ContainerPort
			}
		}
	}
	return p.Container
}

// describePort is the form people read: "0.0.0.0:80/tcp → 8080".
func describePort(p planner.Port) string {
	address := p.Publish.Address
	if address == "" {
		address = "*"
	}
	return fmt.Sprintf("%s:%d/%s→%d", address, p.Publish.Port, p.Protocol, p.Container)
}

// sweepDue reports whether leftovers of interrupted work should be looked for
// now: only while every driver has been listed and nothing is under way.
func (a *Agent) sweepDue() bool {
	now := a.cfg.Clock().Boot
	return a.allListed() && len(a.flights) == 0 && (a.swept == 0 || now-a.swept >= sweepInterval)
}

// sweep removes what belongs to no instance. It runs on the loop, so that no
// action can begin meanwhile.
func (a *Agent) sweep(ctx context.Context) {
	a.swept = max(a.cfg.Clock().Boot, 1)
	live := map[string]bool{}
	all, _ := a.instances()
	for _, i := range all {
		live[i.ID] = true
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	for name, d := range a.drivers {
		if s, ok := d.driver.(runtime.Sweeper); ok {
			a.problem("sweep "+name, s.Sweep(ctx, live))
		}
	}
	if a.cfg.Network != nil {
		a.problem("sweep network", a.cfg.Network.Sweep(ctx, live))
		for id := range a.attached {
			if !live[id] {
				delete(a.attached, id)
			}
		}
	}
	a.problem("sweep volumes", a.cfg.Volumes.Sweep(ctx, live))
	a.sweepLogs(all)
}
