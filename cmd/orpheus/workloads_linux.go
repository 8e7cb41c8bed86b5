package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd"
	"github.com/orpheus-cd/orpheus/runtime/network"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
	"github.com/orpheus-cd/orpheus/runtime/process"
)

// endsAtOnce bounds how many instances are stopped at the same time.
const endsAtOnce = 8

// endWorkloads stops and removes everything that the drivers of a node list,
// each in its own grace period, and then what network and volumes made for it.
// No agent may run, and none can start meanwhile. Local volumes stay.
func endWorkloads(ctx context.Context, c config, log *slog.Logger) (err error) {
	unlock, err := agent.Lock(c.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	n, err := newNode(c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	// All or nothing: what cannot be listed may need the network.
	type listed struct {
		driver runtime.Driver
		planner.Instance
	}
	var all []listed
	for _, name := range slices.Sorted(maps.Keys(n.drivers)) {
		have, err := n.drivers[name].List(ctx)
		if err != nil {
			return fmt.Errorf("list what driver %s runs: %w", name, err)
		}
		for _, i := range have {
			all = append(all, listed{n.drivers[name], i})
		}
	}
	var mu sync.Mutex
	var faults []error
	var work sync.WaitGroup
	turn := make(chan struct{}, endsAtOnce)
	for _, i := range all {
		work.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			if err := n.end(ctx, i.driver, i.Instance); err != nil {
				mu.Lock()
				faults = append(faults, fmt.Errorf("%s: %w", i.Slot, err))
				mu.Unlock()
			}
		})
	}
	work.Wait()
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return n.clear(ctx)
}

// end takes one instance away.
func (n *node) end(ctx context.Context, d runtime.Driver, i planner.Instance) error {
	if err := d.Stop(ctx, i.ID, i.GracePeriod); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if err := d.Remove(ctx, i.ID); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	if n.network != nil {
		if err := n.network.Detach(ctx, i.ID); err != nil {
			return fmt.Errorf("detach from the node's network: %w", err)
		}
	}
	return n.volumes.Release(ctx, i.ID)
}

// cgroupRemover is a driver that has cgroups of its own while nothing runs, too.
// People may have set limits in them: they go only with the node's agent.
type cgroupRemover interface {
	RemoveCgroups(ctx context.Context) error
}

var (
	_ cgroupRemover = (*containerd.Driver)(nil)
	_ cgroupRemover = (*process.Driver)(nil)
)

// clear removes what serves instances, once there are none.
func (n *node) clear(ctx context.Context) error {
	var errs []error
	for _, d := range n.drivers {
		if s, ok := d.(runtime.Sweeper); ok {
			errs = append(errs, s.Sweep(ctx, nil))
		}
	}
	for _, d := range n.drivers {
		if r, ok := d.(cgroupRemover); ok {
			errs = append(errs, r.RemoveCgroups(ctx))
		}
	}
	for _, p := range n.config.Plugins {
		errs = append(errs, plugin.End(ctx, filepath.Join(n.pluginDir(), p.Name)))
	}
	errs = append(errs, n.volumes.Sweep(ctx, nil))
	if n.network != nil {
		errs = append(errs, n.network.Sweep(ctx, nil))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if net, ok := n.network.(*network.Network); ok {
		return errors.Join(n.names.helper.Stop(ctx), net.Teardown(ctx))
	}
	return n.relay.helper.Stop(ctx)
}
