package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// usualNodeEvents is how many events of each node are asked for if nobody says how
// many.
const usualNodeEvents = 100

// nodeEvent is an event of a node, or, without one, what the records tell.
type nodeEvent struct {
	Node planner.NodeName `json:"node,omitempty"`
	event.Event
}

// eventsVia prints what happened on all nodes, by their clocks oldest first; and
// what was decided, where one of them is not reached. Following, it goes on as it
// comes.
func (e *env) eventsVia(ctx context.Context, o eventOptions, target string, req api.EventRequest) error {
	fleet := newSSHFleet(o.viaOptions)
	defer fleet.close()
	nodes, recorded, err := e.eventNodes(ctx, fleet, o, target)
	if err != nil {
		return err
	}
	if err := errTooMany(len(nodes)); err != nil && o.follow {
		return err
	}
	tail, usual := req.Tail, req.Tail < 0 && req.Since.IsZero()
	if usual {
		req.Tail = usualNodeEvents
	}
	req.Follow = false
	answers := ask(ctx, fleet, nodes, func(ctx context.Context, client *api.Client, _ *api.Status) (events []event.Event, err error) {
		err = client.Events(ctx, req, func(ev event.Event) error { events = append(events, ev); return nil })
		return events, err
	})
	if ctx.Err() != nil {
		return nil
	}
	silent := unreachedOf(answers)
	if o.follow && len(silent) == len(nodes) {
		return errNobody(silent)
	}
	var all []nodeEvent
	last := map[planner.NodeName]event.Event{}
	for _, a := range answers {
		for _, ev := range a.value {
			all, last[a.node] = append(all, nodeEvent{a.node, ev}), ev
		}
	}
	if len(silent) > 0 {
		for _, ev := range recorded {
			if !ev.At.Before(req.Since) {
				all = append(all, nodeEvent{Event: ev})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b nodeEvent) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Node, b.Node)) })
	if tail >= 0 {
		all = all[max(0, len(all)-tail):]
	}
	for _, ev := range all {
		if err := e.printNodeEvent(ev, o.output == "json"); err != nil {
			return err
		}
	}
	if o.follow {
		return e.followEvents(ctx, fleet, o, target, nodes, last)
	}
	e.warnUnreached(silent)
	if len(all) == 0 && o.output == "text" && len(silent) < len(nodes) {
		_, err = fmt.Fprintln(e.stdout, "Nothing happened on the nodes.")
	}
	if err == nil && len(silent) > 0 {
		err = errIncomplete
	}
	return err
}

// eventNodes are the nodes to ask: all, since what became of a service may be told
// where it runs no more; and what the records tell.
func (e *env) eventNodes(ctx context.Context, fleet *sshFleet, o eventOptions, target string) ([]planner.NodeName, []event.Event, error) {
	st, book, err := e.recordedStatus(ctx, o.recordOptions, usualEvents+1)
	if err != nil {
		return nil, nil, err
	}
	defer book.store.close()
	fleet.know(book)
	if len(fleet.order) == 0 {
		return nil, nil, errors.New("the records name no node that takes part")
	}
	var service planner.ServiceID
	if target != "" {
		of, _, err := st.find(target)
		if id, _, isHook := hookCalled(target); err != nil && isHook {
			of, _, err = st.find(id.String())
		}
		if err != nil {
			return nil, nil, err
		}
		service = of.id
	}
	recorded, err := book.events(service, target, usualEvents)
	return slices.Clone(fleet.order), recorded, err
}

// followEvents prints what happens from now on. An agent that was lost tells
// meanwhile what it has to tell: nothing is missed.
func (e *env) followEvents(ctx context.Context, fleet *sshFleet, o eventOptions, target string, nodes []planner.NodeName, last map[planner.NodeName]event.Event) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	begun := e.now()
	var mu sync.Mutex // of last
	l := &listener{env: e, fleet: fleet}
	l.stream = func(ctx context.Context, a *nodeAgent, _ bool) error {
		mu.Lock()
		seen, known := last[a.node]
		mu.Unlock()
		req := api.EventRequest{Target: target, Tail: -1, Follow: true, Since: seen.At}
		if !known {
			req.Since = begun.Add(-time.Minute) // clocks differ
		}
		return a.client.Events(ctx, req, func(ev event.Event) error {
			if known && ev.Seq <= seen.Seq {
				return nil
			}
			l.mu.Lock()
			err := e.printNodeEvent(nodeEvent{a.node, ev}, o.output == "json")
			l.mu.Unlock()
			mu.Lock()
			last[a.node] = ev
			mu.Unlock()
			if err != nil {
				stop(err)
			}
			return err
		})
	}
	l.followAll(ctx, nodes, func(ctx context.Context) ([]planner.NodeName, error) {
		now, _, err := e.eventNodes(ctx, fleet, o, target)
		return now, err
	})
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (e *env) printNodeEvent(ev nodeEvent, asJSON bool) error {
	if asJSON {
		return writeJSON(e.stdout, ev, true)
	}
	s := e.newScreen()
	drawNodeEvent(s, ev)
	return s.writeTo(e.stdout)
}

func drawNodeEvent(s *screen, ev nodeEvent) {
	told := ev.Event
	if ev.Node != "" {
		told.What = "on " + string(ev.Node) + ": " + told.What
		if told.Action != "" {
			told.What, told.Action = ev.Event.What, "on "+string(ev.Node)+": "+told.Action
		}
	}
	drawEvent(s, told)
}
