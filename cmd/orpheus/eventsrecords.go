package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// usualEvents is how many decisions are read if nobody says how many.
const usualEvents = 20

// recordedEvents prints what the records tell of what happened. cause is why no
// agent is asked instead, where that matters.
func (e *env) recordedEvents(cmd *cobra.Command, o eventOptions, target string, cause error) error {
	if o.follow {
		if cause != nil {
			return cause
		}
		return usageError(errors.New("--follow asks the agent of this node; remove it, or what says where the records are"))
	}
	most := usualEvents
	if cmd.Flags().Changed("tail") {
		most = min(o.tail, maxHistory)
	}
	return withInterrupt(cmd.Context(), func(ctx context.Context) error {
		st, book, err := e.recordedStatus(ctx, o.recordOptions, most+1)
		if err != nil {
			return recordsFailed(cause, err)
		}
		defer book.store.close()
		var service planner.ServiceID
		if target != "" {
			of, _, err := st.find(target)
			if err != nil {
				return err
			}
			service = of.id
		}
		events, err := book.events(service, target, most)
		if err != nil {
			return err
		}
		if o.since > 0 {
			begin := e.now().Add(-o.since)
			events = slices.DeleteFunc(events, func(ev event.Event) bool { return ev.At.Before(begin) })
		}
		events = events[max(0, len(events)-most):]
		for _, ev := range events {
			if err := e.printEvent(ev, o.output == "json"); err != nil {
				return err
			}
		}
		if len(events) == 0 && o.output == "text" {
			_, err = fmt.Fprintln(e.stdout, "The records tell of nothing that happened.")
		}
		return err
	})
}

// events are what was decided about a service ("" = about all, and about nodes),
// oldest first, as far as it is about what people call target.
func (b *recordBook) events(service planner.ServiceID, target string, most int) ([]event.Event, error) {
	entries, err := b.history(service, most)
	if err != nil {
		return nil, err
	}
	var out []event.Event
	for _, entry := range entries {
		out = append(out, entry.event())
	}
	if target == "" {
		out = append(out, b.fences()...)
	}
	slices.SortStableFunc(out, func(a, b event.Event) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Service, b.Service)) })
	if target != "" {
		out = slices.DeleteFunc(out, func(ev event.Event) bool { return !ev.About(target) })
	}
	for k := range out {
		out[k].Seq = uint64(k + 1)
	}
	return out, nil
}

// event is what happened when the entry was written.
func (e historyEntry) event() event.Event {
	out := event.Event{At: e.Time, Level: "info", Service: e.Service.String(), What: "decided", Reason: e.Subject}
	if e.By != "" {
		out.What = "decided by " + string(e.By)
	}
	if e.NotVerified != "" {
		out.Level, out.What, out.Reason = "warn", "not verified", planner.OneLine(e.NotVerified, maxShownReason)
		return out
	}
	for _, c := range e.Changes {
		out.Slots = append(out.Slots, planner.SlotID{Service: e.Service, Name: c.Slot}.String())
	}
	for _, turn := range e.Turns {
		if turn.Bad {
			out.Level = "warn"
		}
		out.Detail = append(out.Detail, planner.OneLine(turn.String(), maxShownReason))
	}
	return out
}

// fences are those that stand.
func (b *recordBook) fences() []event.Event {
	var out []event.Event
	for _, ref := range b.refs(planner.RefNode) {
		n, verified := b.view.Nodes[ref.Parse().Node]
		if !verified || n.Record.Fence == nil {
			continue
		}
		out = append(out, event.Event{
			At: b.at[ref], Level: "warn", What: fmt.Sprintf("%s fenced by %s", n.Record.Node, n.Record.Fence.By),
			Reason: planner.OneLine(n.Record.Fence.Reason, maxShownReason),
		})
	}
	return out
}
