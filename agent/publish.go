package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	publishTimeout = 10 * time.Second
	publishRetry   = 2 * time.Second
	// drainTime is how long an instance goes on after other instances took its
	// place behind a published port: what was connected just before is
	// answered, also by programs that end at once when told to.
	drainTime = 500 * time.Millisecond
	// publishPatience is how long an instance's end waits for the kernel to take
	// it out of published ports. After it, what holds up a rollout does more
	// harm than the connections that are lost.
	publishPatience = time.Minute
)

// publication is what was published last, and when.
type publication struct {
	ports []runtime.PublishedPort
	at    time.Duration // boot time; 0 = nothing yet in this process
	retry time.Duration // boot time of the next try after a failure
	fails time.Duration // boot time since when it fails; 0 = it does not
}

func (p *publication) failed(now time.Duration) {
	p.retry = now + publishRetry
	if p.fails == 0 {
		p.fails = now
	}
}

// watchNetwork asks the network now and then how it fares.
func (a *Agent) watchNetwork(ctx context.Context) {
	for {
		asked, cancel := context.WithTimeout(ctx, publishTimeout)
		info, err := a.cfg.Network.Info(asked)
		cancel()
		told := &api.Network{Bridge: info.Bridge, Subnet: info.Subnet, Notes: info.Notes}
		if err != nil {
			told.Error = err.Error()
		}
		a.post(func() { a.network = told })
		if !pause(ctx, sweepInterval) {
			return
		}
	}
}

// restoreNetwork learns the addresses of instances this process did not
// attach. Until it has succeeded the kernel's ports stay as they are.
func (a *Agent) restoreNetwork(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	attached, err := a.cfg.Network.Attachments(ctx)
	a.problem("network", err)
	maps.Copy(a.attached, attached)
	a.restored = err == nil
}

// publish opens the ports of what runs. It comes before the plan's stops are
// carried out, so that an instance gets no new connection once its end is
// decided; the kernel holds the result, whatever becomes of the agent.
func (a *Agent) publish(ctx context.Context, plan planner.Plan) {
	if a.cfg.Network == nil || !a.settled() {
		return
	}
	now := a.cfg.Clock().Boot
	if !a.restored {
		a.restoreNetwork(ctx)
	}
	if !a.restored {
		a.published.failed(now)
		return
	}
	ports := a.ports(plan)
	fresh := a.published.at != 0 && now-a.published.at < a.cfg.Resync
	if fresh && reflect.DeepEqual(ports, a.published.ports) || len(ports) == 0 && a.published.at == 0 && len(a.attached) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := a.cfg.Network.Publish(ctx, ports)
	a.problem("published ports", err)
	if err != nil && !errors.Is(err, runtime.ErrInvalid) {
		a.published.failed(now)
		return
	}
	// What is refused is asked for again with the next listing without a hint.
	a.published = publication{ports: ports, at: now}
}

// connected reports whether the kernel may still lead new connections to an
// instance that is to end: it could not be told otherwise, and may yet.
func (a *Agent) connected(action planner.Action) bool {
	p := a.published
	if action.Kind != planner.ActionStop || action.Ordered || p.fails == 0 || a.cfg.Clock().Boot-p.fails > publishPatience {
		return false
	}
	if p.at == 0 { // a former process may have led them there
		ports := a.state.followed.Services[action.Slot.Service].Ports
		return slices.ContainsFunc(ports, func(p planner.Port) bool { return p.Publish != nil })
	}
	address := a.attached[action.Instance].Address
	return slices.ContainsFunc(p.ports, func(p runtime.PublishedPort) bool {
		return slices.ContainsFunc(p.Targets, func(t runtime.Target) bool { return t.Address == address })
	})
}

// relieved reports whether other instances take the connections to a
// service's published ports: publish has left out those that are ending.
func (a *Agent) relieved(id planner.ServiceID) bool {
	return slices.ContainsFunc(a.published.ports, func(p runtime.PublishedPort) bool {
		return p.Service == id && len(p.Targets) > 0
	})
}

// settled reports whether a commit was ever accepted and the drivers in use
// have been listed in this process: before, nobody knows which ports are
// wanted and what runs, and the kernel's ports stay.
func (a *Agent) settled() bool {
	if a.state.followed.Commit.Hash == "" {
		return false
	}
	for name, d := range a.drivers {
		if !d.listed && a.uses(name) {
			return false
		}
	}
	return true
}

// ports lists the published ports and their targets: the ready instances of
// the service, or, while none is ready, those that run and have no probes to
// say whether they are.
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
		if !a.state.specs[i.Revision].Gated() {
			running[id] = append(running[id], i)
		}
		if a.ready(i, now) {
			ready[id] = append(ready[id], i)
		}
	}
	var out []runtime.PublishedPort
	for _, id := range sortedServices(a.state.docs) {
		s, followed := a.state.followed.Services[id]
		if !followed || s.Template.HostNetwork || s.Template.DriverName() == planner.DriverProcess {
			continue
		}
		targets := ready[id]
		if len(targets) == 0 {
			targets = running[id]
		}
		for _, p := range s.Ports {
			if p.Publish == nil || slices.Contains(a.cfg.Policy.ReservedPorts, p.Publish.Port) {
				continue
			}
			out = append(out, a.port(s, p, targets))
		}
	}
	return a.withoutClashes(out)
}

// withoutClashes drops ports that two services claim, which one commit cannot
// contain but a service kept from an earlier one can bring about: who has a
// port keeps it, and nobody else's ports suffer.
func (a *Agent) withoutClashes(ports []runtime.PublishedPort) []runtime.PublishedPort {
	type front struct {
		address, protocol string
		port              int
	}
	of := func(p runtime.PublishedPort) front { return front{p.Address, p.Protocol, p.Port} }
	owner := map[front]planner.ServiceID{}
	for _, list := range [][]runtime.PublishedPort{ports, a.published.ports} {
		claimed := map[front]bool{}
		for _, p := range list {
			wanted := slices.ContainsFunc(ports, func(q runtime.PublishedPort) bool { return of(q) == of(p) && q.Service == p.Service })
			if wanted && !claimed[of(p)] {
				owner[of(p)], claimed[of(p)] = p.Service, true
			}
		}
	}
	var clash error
	kept := ports[:0]
	for _, p := range ports {
		if has := owner[of(p)]; has != p.Service {
			clash = fmt.Errorf("port %d/%s of service %s is not opened: service %s has it", p.Port, p.Protocol, p.Service, has)
			continue
		}
		kept = append(kept, p)
	}
	a.problem("port clash", clash)
	return kept
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
