package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/orpheus-cd/orpheus/runtime"
)

// FakeNetwork is a runtime.Network in memory. Addresses are given once and
// kept until Detach; nothing is reachable at them.
type FakeNetwork struct {
	Calls // Info, Attach, Detach, Attachments, Publish, Sweep

	mu        sync.Mutex
	attached  map[string]runtime.Attachment
	published []runtime.PublishedPort
	given     int
}

var _ runtime.Network = (*FakeNetwork)(nil)

// NewFakeNetwork returns a network without attachments.
func NewFakeNetwork() *FakeNetwork {
	return &FakeNetwork{attached: map[string]runtime.Attachment{}}
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
	return runtime.NetworkInfo{Bridge: "fake0", Subnet: "10.99.0.0/16"}, end(nil)
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

// Publish implements runtime.Network.
func (n *FakeNetwork) Publish(ctx context.Context, ports []runtime.PublishedPort) error {
	end, err := n.enter(ctx, Call{Verb: "Publish"})
	if err != nil {
		return end(err)
	}
	defer n.mu.Unlock()
	n.published = copyPorts(ports)
	return end(nil)
}

// Sweep implements runtime.Sweeper.
func (n *FakeNetwork) Sweep(ctx context.Context, live map[string]bool) error {
	end, err := n.enter(ctx, Call{Verb: "Sweep"})
	if err != nil {
		return end(err)
	}
	defer n.mu.Unlock()
	maps.DeleteFunc(n.attached, func(id string, _ runtime.Attachment) bool { return !live[id] })
	return end(nil)
}

// Attached returns what is attached, without a call: for assertions.
func (n *FakeNetwork) Attached() map[string]runtime.Attachment {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.attached)
}

// Published returns the ports of the last Publish that succeeded.
func (n *FakeNetwork) Published() []runtime.PublishedPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return copyPorts(n.published)
}

func copyPorts(ports []runtime.PublishedPort) []runtime.PublishedPort {
	ports = slices.Clone(ports)
	for k := range ports {
		ports[k].Targets = slices.Clone(ports[k].Targets)
	}
	return ports
}
