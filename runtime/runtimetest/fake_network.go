package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/orpheus-cd/orpheus/runtime"
)

// FakeNetwork is a runtime.Network, Balancer and HostPorts in memory. Addresses
// and ports are given once and kept until Detach; nothing is reachable at them.
type FakeNetwork struct {
	Calls // Info, Attach, Detach, Attachments, Sweep, Balance, Traffic, Forget, HostPorts

	mu        sync.Mutex
	attached  map[string]runtime.Attachment
	hostPorts map[string]map[runtime.ContainerPort]int
	balancing runtime.Balancing
	history   []runtime.Balancing
	traffic   []runtime.Traffic
	forgotten []runtime.Target
	given     int
	ports     int
	six       bool
	leave     func(runtime.Front) string
	blocking  []string
}

var (
	_ runtime.Network   = (*FakeNetwork)(nil)
	_ runtime.Balancer  = (*FakeNetwork)(nil)
	_ runtime.HostPorts = (*FakeNetwork)(nil)
)

// NewFakeNetwork returns a network without attachments.
func NewFakeNetwork() *FakeNetwork {
	return &FakeNetwork{attached: map[string]runtime.Attachment{}, hostPorts: map[string]map[runtime.ContainerPort]int{}}
}

// enter begins a call. After a nil error the lock is held.
func (n *FakeNetwork) enter(ctx context.Context, c Call) (func(error) error, error) {
	end, err := n.begin(ctx, c)
	if err == nil {
		n.mu.Lock()
	}
	return end, err
}

// Info implements runtime.Network.
func (n *FakeNetwork) Info(ctx context.Context) (runtime.NetworkInfo, error) {
	end, err := n.enter(ctx, Call{Verb: "Info"})
	if err != nil {
		return runtime.NetworkInfo{}, end(err)
	}
	defer n.mu.Unlock()
	info := runtime.NetworkInfo{Bridge: "fake0", Subnet: "10.99.0.0/16", Blocking: n.blocking}
	if n.six {
		info.Subnet6 = "fd99::/64"
	}
	return info, end(nil)
}

// Attach implements runtime.Network.
func (n *FakeNetwork) Attach(ctx context.Context, id string, _ runtime.Names) (runtime.Attachment, error) {
	end, err := n.enter(ctx, Call{Verb: "Attach", ID: id})
	if err != nil {
		return runtime.Attachment{}, end(err)
	}
	defer n.mu.Unlock()
	a, ok := n.attached[id]
	if !ok {
		n.given++
		a = runtime.Attachment{
			NetNS:   "/run/netns/" + id,
			Address: fmt.Sprintf("10.99.%d.%d", n.given/250, n.given%250+2),
			Gateway: "10.99.0.1",
		}
		if n.six {
			a.Address6, a.Gateway6 = fmt.Sprintf("fd99::%x", n.given+1), "fd99::1"
		}
		n.attached[id] = a
	}
	return a, end(nil)
}

// Detach implements runtime.Network.
func (n *FakeNetwork) Detach(ctx context.Context, id string) error {
	end, err := n.enter(ctx, Call{Verb: "Detach", ID: id})
	if err != nil {
		return end(err)
	}
	defer n.mu.Unlock()
	delete(n.hostPorts, id)
	delete(n.attached, id)
	return end(nil)
}

// Attachments implements runtime.Network.
func (n *FakeNetwork) Attachments(ctx context.Context) (map[string]runtime.Attachment, error) {
	end, err := n.enter(ctx, Call{Verb: "Attachments"})
	if err != nil {
		return nil, end(err)
	}
	defer n.mu.Unlock()
	return maps.Clone(n.attached), end(nil)
}

// Balance implements runtime.Balancer.
func (n *FakeNetwork) Balance(ctx context.Context, b runtime.Balancing) error {
	end, err := n.enter(ctx, Call{Verb: "Balance"})
	if err != nil {
		return end(err)
	}
	defer n.mu.Unlock()
	n.balancing = copyBalancing(b)
	var left runtime.LeftOutError
	if n.leave != nil {
		n.balancing.Fronts = slices.DeleteFunc(n.balancing.Fronts, func(f runtime.Front) bool {
			reason := n.leave(f)
			if reason != "" {
				left = append(left, runtime.LeftOut{Front: f, Reason: reason})
			}
			return reason != ""
		})
	}
	n.history = append(n.history, n.balancing)
	if len(left) > 0 {
		return end(left)
	}
	return end(nil)
}

// Block has Info tell of firewalls that keep instances from the network.
func (n *FakeNetwork) Block(by ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocking = by
}

// LeaveOut has Balance leave out the fronts that why gives a reason for; nil =
// none.
func (n *FakeNetwork) LeaveOut(why func(runtime.Front) string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leave = why
}

// Traffic implements runtime.Balancer.
func (n *FakeNetwork) Traffic(ctx context.Context) ([]runtime.Traffic, error) {
	if err := ctx.Err(); err != nil { // not logged: it is asked for often
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.traffic), nil
}

// Forget implements runtime.Balancer.
func (n *FakeNetwork) Forget(ctx context.Context, targets []runtime.Target) error {
	end, err := n.enter(ctx, Call{Verb: "Forget"})
	if err != nil {
		return end(err)
	}
	defer n.mu.Unlock()
	n.forgotten = append(n.forgotten, targets...)
	return end(nil)
}

// HostPorts implements runtime.HostPorts.
func (n *FakeNetwork) HostPorts(ctx context.Context, id string, ports []runtime.ContainerPort) (map[runtime.ContainerPort]int, error) {
	end, err := n.enter(ctx, Call{Verb: "HostPorts", ID: id})
	if err != nil {
		return nil, end(err)
	}
	defer n.mu.Unlock()
	if _, attached := n.attached[id]; !attached {
		return nil, end(fmt.Errorf("host ports of %s: %w", id, runtime.ErrNotFound))
	}
	given := n.hostPorts[id]
	if given == nil {
		given = map[runtime.ContainerPort]int{}
		n.hostPorts[id] = given
	}
	out := map[runtime.ContainerPort]int{}
	for _, p := range ports {
		if given[p] == 0 {
			n.ports++
			given[p] = 20000 + n.ports
		}
		out[p] = given[p]
	}
	return out, end(nil)
}

// Sweep implements runtime.Sweeper.
func (n *FakeNetwork) Sweep(ctx context.Context, live map[string]bool) error {
	end, err := n.enter(ctx, Call{Verb: "Sweep"})
	if err != nil {
		return end(err)
	}
	defer n.mu.Unlock()
	maps.DeleteFunc(n.attached, func(id string, _ runtime.Attachment) bool { return !live[id] })
	maps.DeleteFunc(n.hostPorts, func(id string, _ map[runtime.ContainerPort]int) bool { return !live[id] })
	return end(nil)
}

// Attached returns what is attached, without a call: for assertions.
func (n *FakeNetwork) Attached() map[string]runtime.Attachment {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.attached)
}

// GiveIPv6 gives the network IPv6 from now on.
func (n *FakeNetwork) GiveIPv6() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.six = true
}

// Balancing is that of the last Balance that succeeded, less what it left out,
// without a call.
func (n *FakeNetwork) Balancing() runtime.Balancing {
	n.mu.Lock()
	defer n.mu.Unlock()
	return copyBalancing(n.balancing)
}

// Balanced are those of every Balance that succeeded, in order.
func (n *FakeNetwork) Balanced() []runtime.Balancing {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.history)
}

// Published returns the fronts of the last Balance that are open to the world.
func (n *FakeNetwork) Published() []runtime.Front {
	return slices.DeleteFunc(n.Balancing().Fronts, func(f runtime.Front) bool { return f.Kind != runtime.FrontPublished })
}

// SetTraffic is what Traffic tells from now on.
func (n *FakeNetwork) SetTraffic(t ...runtime.Traffic) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.traffic = t
}

// Forgotten returns the targets of all Forgets.
func (n *FakeNetwork) Forgotten() []runtime.Target {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.forgotten)
}

func copyBalancing(b runtime.Balancing) runtime.Balancing {
	b.Fronts, b.Fleet, b.Services = slices.Clone(b.Fronts), slices.Clone(b.Fleet), slices.Clone(b.Services)
	for k := range b.Fronts {
		b.Fronts[k].Targets = slices.Clone(b.Fronts[k].Targets)
	}
	return b
}
