package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// fleetMeter measures what the nodes of a fleet use. Of those that are not reached
// it tells what the records do.
type fleetMeter struct {
	*env
	records recordOptions
	fleet   *sshFleet
	before  map[planner.NodeName]*api.Usage // the last look
}

// topVia shows what all nodes use.
func (e *env) topVia(ctx context.Context, o topOptions, service string) error {
	m := &fleetMeter{env: e, records: o.recordOptions, fleet: newSSHFleet(o.viaOptions)}
	defer m.fleet.close()
	return withInterrupt(ctx, func(ctx context.Context) error {
		return e.showTop(ctx, o, service, watchRecords, m.look)
	})
}

// look measures, the first time over a window of its own.
func (m *fleetMeter) look(ctx context.Context) (*topReport, error) {
	b, place, err := m.readRollouts(ctx, m.records, 1)
	if err != nil {
		return nil, err
	}
	defer b.store.close()
	m.fleet.know(b)
	if m.before == nil {
		m.before, _ = m.read(ctx)
		select {
		case <-time.After(topWindow):
		case <-ctx.Done():
		}
	}
	now, silent := m.read(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	report := m.report(now, b.top(place), silent)
	m.before = now
	return report, nil
}

// read asks all agents once.
func (m *fleetMeter) read(ctx context.Context) (map[planner.NodeName]*api.Usage, []unreachedNode) {
	answers := ask(ctx, m.fleet, m.fleet.order, func(ctx context.Context, client *api.Client, _ *api.Status) (*api.Usage, error) {
		return client.Usage(ctx)
	})
	out := map[planner.NodeName]*api.Usage{}
	for _, a := range answers {
		if a.err == nil {
			out[a.node] = a.value
		}
	}
	return out, unreachedOf(answers)
}

// report joins what was measured and, of the other nodes, what is recorded.
func (m *fleetMeter) report(now map[planner.NodeName]*api.Usage, recorded *topReport, silent []unreachedNode) *topReport {
	var before, after []*api.Usage
	for _, name := range slices.Sorted(maps.Keys(now)) {
		before, after = append(before, m.before[name]), append(after, now[name])
	}
	out := measuredTop(before, after)
	out.Records, out.Measured, out.NotReached = recorded.Records, len(after) > 0, silent
	for _, row := range recorded.Nodes {
		if now[row.Node] == nil {
			out.Nodes = append(out.Nodes, row)
		}
	}
	for _, row := range recorded.Instances {
		if now[row.Node] != nil {
			continue
		}
		if row.Note == "" {
			row.Note = "not measured: " + string(row.Node) + " is not reached"
		}
		out.Instances = append(out.Instances, row)
	}
	out.Services = byService(out.Instances)
	return out
}
