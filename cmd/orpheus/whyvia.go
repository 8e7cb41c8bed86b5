package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// toldWhy is what the agent of a node knows of a service or slot.
type toldWhy struct {
	Node planner.NodeName `json:"node"`
	// Error says why it was not reached, or knows nothing.
	Error  string        `json:"error,omitempty"`
	Here   *api.Service  `json:"here,omitempty"`
	Holds  []api.Hold    `json:"holds,omitempty"`
	Events []event.Event `json:"events,omitempty"` // oldest first

	status *api.Status
}

// whyVia explains a service or slot from the records, and from what the agents of
// the nodes that have it know.
func (e *env) whyVia(ctx context.Context, o remoteOptions, name string) error {
	fleet := newSSHFleet(o.viaOptions)
	defer fleet.close()
	st, book, err := e.recordedStatus(ctx, o.recordOptions, whyDecisions)
	if err != nil {
		return err
	}
	defer book.store.close()
	fleet.know(book)
	recorded, err := e.whyRecorded(st, book, name)
	if err != nil {
		return err
	}
	report := recorded.value.(whyReport)
	target := name
	answers := ask(ctx, fleet, report.Recorded.on(report.Slot), func(ctx context.Context, client *api.Client, st *api.Status) (toldWhy, error) {
		return askWhy(ctx, client, st, report.Recorded.id, report.Slot, target)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, a := range answers {
		told := a.value
		told.Node = a.node
		if a.err != nil {
			told.Error = a.reason()
		}
		report.Agents = append(report.Agents, told)
	}
	v := statusView{env: e}
	return e.show(&view{value: report, draw: func(s *screen) {
		recorded.draw(s)
		drawToldWhy(s, report, v)
	}}, o.output == "json")
}

// askWhy asks one agent.
func askWhy(ctx context.Context, client *api.Client, st *api.Status, id planner.ServiceID, slot, target string) (toldWhy, error) {
	out := toldWhy{status: st}
	if k := slices.IndexFunc(st.Services, func(s api.Service) bool { return s.ID() == id }); k >= 0 {
		one := onlySlot(st.Services[k], slot)
		out.Here, out.Holds = &one, holdsOn(st.Holds, one, slot)
	}
	err := client.Events(ctx, api.EventRequest{Target: target, Tail: whyEvents}, func(ev event.Event) error {
		out.Events = append(out.Events, ev)
		return nil
	})
	return out, err
}

// drawToldWhy draws what agents told: each node's instances, and what happened on
// all.
func drawToldWhy(s *screen, report whyReport, v statusView) {
	var silent []unreachedNode
	var happened []nodeEvent
	for _, a := range report.Agents {
		if a.Error != "" {
			silent = append(silent, unreachedNode{a.Node, a.Error})
			continue
		}
		for _, ev := range a.Events {
			happened = append(happened, nodeEvent{a.Node, ev})
		}
		if a.Here == nil {
			continue
		}
		s.blank()
		s.line(s.paint(bold, "ON "+string(a.Node)))
		drawHolds(s, a.Holds)
		service, st := *a.Here, *a.status
		service.Rollout, st.NotOpened = nil, notOpened(a.status, *a.Here)
		drawToldInstances(s, &st, service, v)
	}
	slices.SortStableFunc(happened, func(a, b nodeEvent) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Node, b.Node)) })
	if len(happened) > 0 {
		s.blank()
		s.line(s.paint(bold, "HAPPENED"))
		for _, ev := range happened[max(0, len(happened)-whyEvents):] {
			drawNodeEvent(s, ev)
		}
	}
	drawUnreached(s, silent)
}
