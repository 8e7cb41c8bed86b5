package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// maxReported bounds what is told of others.
const maxReported = 50

// reportFleet is what this node knows of its fleet.
func (a *Agent) reportFleet() *api.Fleet {
	ms := a.fleet
	view, now := ms.member.View(), a.cfg.Clock()
	stats := ms.member.Stats()
	out := &api.Fleet{
		Epoch: view.Nodes[view.Self].Record.Epoch, Registered: ms.member.Registered(), Unread: !ms.member.Whole(), Generation: view.Fleet.Generation,
		Floor: view.Fleet.Floor, BadRecords: ms.member.Bad(maxReported), Ignored: ms.member.Ignored(),
		Requests: api.FleetRequest{
			Reads: stats.Lists + stats.Reads, Pushes: stats.Pushes, Won: stats.Won, Lost: stats.Lost, Unknown: stats.Unknown, Poll: view.Poll,
		},
	}
	out.Requests.ReadsPerHour, out.Requests.PushesPerHour = ms.rate.note(now.Boot, stats)
	if ms.board != nil {
		out.Records = ms.board.URL()
	}
	if err, since := ms.member.Look(); err != "" {
		out.Error, out.ErrorSince = err, now.Wall.Add(since-now.Boot)
	}
	leases := map[planner.NodeName]int{}
	for _, doc := range view.Docs {
		for _, l := range doc.Doc.Leases {
			leases[l.Node]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(view.Nodes)) {
		out.Nodes = append(out.Nodes, a.reportNode(view, name, leases[name]))
	}
	decided := ms.member.Decided()
	for _, u := range decided.Unplaced[:min(len(decided.Unplaced), maxReported)] {
		reasons := make([]string, len(u.Reasons))
		for k, r := range u.Reasons {
			reasons[k] = r.String()
		}
		out.Unplaced = append(out.Unplaced, api.Unplaced{Slot: u.Slot.String(), Reasons: reasons})
	}
	for _, id := range sortedServices(decided.Waiting) {
		service := ""
		if id != (planner.ServiceID{}) {
			service = id.String()
		}
		out.Waiting = append(out.Waiting, api.Waiting{Service: service, Reason: decided.Waiting[id]})
	}
	return out
}

func (a *Agent) reportNode(view planner.View, name planner.NodeName, leases int) api.FleetNode {
	n := view.Nodes[name]
	spec := a.state.followed.Nodes[name]
	out := api.FleetNode{
		Name: name, State: "live", Address: n.Record.Address, Epoch: n.Record.Epoch, Version: n.Record.Version,
		Applied: n.Status.Applied, Failing: n.Status.Failing, Drain: spec.Drain, Cordon: spec.Unschedulable || spec.Drain, Abandoned: spec.Abandoned, Leases: leases,
	}
	switch {
	case n.Record.Retired:
		out.State = "retired"
	case n.Record.Fence != nil:
		out.State, out.Reason = "fenced", "by "+string(n.Record.Fence.By)+": "+n.Record.Fence.Reason
	}
	switch n.Probe {
	case planner.ProbeUp:
		out.Probe = "up"
	case planner.ProbeDown:
		out.Probe = "down"
	}
	for _, i := range n.Status.Instances {
		if i.Phase == planner.PhaseReady && n.Current() && n.Live() {
			out.Ready++
		}
	}
	return out
}

// sourceInterval is how often the source looks by itself: seldom where the
// look at the records shows the branch, too.
func (a *Agent) sourceInterval() time.Duration {
	const seldom = 6
	poll := a.fleet.member.View().Poll
	if err, _ := a.fleet.member.Look(); err == "" && a.fleet.member.Tip() != "" && a.fleet.member.Whole() {
		poll *= seldom
	}
	return poll
}
