package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// whyEvents is how much of what happened goes on one screen.
const whyEvents = 12

func newWhyCommand(e *env) *cobra.Command {
	var o remoteOptions
	cmd := &cobra.Command{
		Use:   "why SERVICE|SLOT",
		Short: "Explain why a service is as it is, and what to do",
		Long: `Explain on one screen why a SERVICE (NAME or NAMESPACE/NAME), or one SLOT of it
(NAME-0), is as it is on this node and how its rollout stands in the fleet: what
is wanted and what runs, what is waited for, what a person ordered, what failed
or was refused, what happened lately, and what there is to do about it.

Where no agent answers, in a checkout of a fleet's repository, it tells what the
fleet's records tell; with -C, --path, --repository, --records or --config it
does so in any case.
` + viaHelp + `
It then tells what the records do, and what the agents of the nodes know that have
the service.`,
		Example:           "  orpheus why web\n  orpheus why shop/web-0\n  orpheus why web -C ~/fleet    # from the fleet's records",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeServices(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(o.check(e, cmd), o.checkVia(cmd)); err != nil {
				return usageError(err)
			}
			if o.viaAsked() {
				return withInterrupt(cmd.Context(), func(ctx context.Context) error { return e.whyVia(ctx, o, args[0]) })
			}
			return e.why(cmd, o.recordOptions, args[0])
		},
	}
	o.addFlags(e, cmd)
	o.addViaFlags(cmd)
	return cmd
}

// whyReport is what `orpheus why` tells: of an agent what it knows of the service
// and what happened on its node, of records what was decided.
type whyReport struct {
	Service string `json:"service"`
	Slot    string `json:"slot,omitempty"`
	verdictReport

	Node   planner.NodeName `json:"node,omitempty"` // whose agent tells
	Here   *api.Service     `json:"here,omitempty"` // what the agent knows
	Holds  []api.Hold       `json:"holds,omitempty"`
	Events []event.Event    `json:"events,omitempty"` // oldest first

	Records  string           `json:"records,omitempty"`  // where the records are that tell
	Recorded *recordedService `json:"recorded,omitempty"` // what they tell
	Decided  []historyEntry   `json:"decided,omitempty"`  // newest first

	Agents []toldWhy `json:"agents,omitempty"` // what those of its nodes know, with --via
}

// why explains a service or slot: as the agent of this node knows it, or as the
// records do where that was said, or no agent answers.
func (e *env) why(cmd *cobra.Command, o recordOptions, name string) error {
	asJSON := o.output == "json"
	var cause error
	if !fromRecords(cmd) {
		client, err := e.client()
		if err != nil {
			return err
		}
		defer client.Close()
		st, err := client.Status(cmd.Context())
		if err == nil {
			v, err := e.whyHere(cmd.Context(), client, st, name)
			if err != nil {
				return err
			}
			return e.show(v, asJSON)
		}
		if cause = e.explainAgent(err); e.mayReadRecords(cmd, err) != nil {
			return cause
		}
	}
	return withInterrupt(cmd.Context(), func(ctx context.Context) error {
		st, book, err := e.recordedStatus(ctx, o, whyDecisions)
		if err != nil {
			return recordsFailed(cause, err)
		}
		defer book.store.close()
		v, err := e.whyRecorded(st, book, name)
		if err != nil {
			return err
		}
		return e.show(v, asJSON)
	})
}

// whyHere explains what the agent of this node knows.
func (e *env) whyHere(ctx context.Context, client *api.Client, st *api.Status, name string) (*view, error) {
	st = knowElsewhere(ctx, client, st, name)
	service, slot, err := resolveAnywhere(st, name)
	if err != nil {
		return nil, err
	}
	var events []event.Event
	req := api.EventRequest{Target: service.ID().String(), Tail: whyEvents}
	if slot != "" {
		req.Target = planner.SlotID{Service: service.ID(), Name: slot}.String()
	}
	if err := client.Events(ctx, req, func(ev event.Event) error { events = append(events, ev); return nil }); err != nil {
		return nil, e.explainAgent(err)
	}
	shown, standing := onlySlot(service, slot), standingOf(st, service)
	return &view{
		draw: func(s *screen) { drawWhy(s, st, service, slot, events, e.now()) },
		value: whyReport{
			Service: service.ID().String(), Slot: slot, verdictReport: standing.report(advice(st, service, slot)),
			Node: st.Node, Here: &shown, Holds: holdsOn(st.Holds, shown, slot), Events: events,
		},
	}, nil
}

// onlySlot leaves the instances of one slot; "" = of all.
func onlySlot(service api.Service, slot string) api.Service {
	if slot == "" {
		return service
	}
	var instances []api.Instance
	for _, i := range service.Instances {
		if i.Slot == slot {
			instances = append(instances, i)
		}
	}
	service.Instances = instances
	return service
}

func drawWhy(s *screen, st *api.Status, service api.Service, slot string, events []event.Event, now time.Time) {
	shown := onlySlot(service, slot)
	drawHolds(s, holdsOn(st.Holds, shown, slot))
	standingOf(st, service).draw(s)
	drawAdvice(s, advice(st, service, slot))
	drawService(s, st, shown, slot, notOpened(st, service), now)
	if len(events) > 0 {
		s.blank()
		s.line(s.paint(bold, "HAPPENED"))
		for _, e := range events {
			drawEvent(s, e)
		}
	}
}

// underWayHere reports whether the node is bringing an instance to what it is to
// be.
func underWayHere(service api.Service) bool {
	return slices.ContainsFunc(service.Instances, func(i api.Instance) bool { return i.Phase != planner.PhaseReady })
}

// holdsOn lists the orders that concern a service or slot.
func holdsOn(holds []api.Hold, service api.Service, slot string) []api.Hold {
	var on []api.Hold
	for _, h := range holds {
		here := h.Target == "node" || h.Target == service.ID().String()
		for _, i := range service.Instances {
			here = here || h.Target == (planner.SlotID{Service: service.ID(), Name: i.Slot}).String()
		}
		if slot != "" {
			here = here || h.Target == planner.SlotID{Service: service.ID(), Name: slot}.String()
		}
		if here {
			on = append(on, h)
		}
	}
	return on
}

// advice says what a person can do about a service, or about one slot of it, what
// counts most first.
func advice(st *api.Status, service api.Service, slot string) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	fine := settled(service) // with all its slots
	service = onlySlot(service, slot)
	for _, h := range holdsOn(st.Holds, service, slot) {
		add("it is held until %s; \"orpheus release %s\" ends that now", h.Until.UTC().Format("2006-01-02 15:04 UTC"), releaseName(h))
	}
	if service.Approve != "" {
		add("to let its deletion happen, and all others that wait with it: git commit --allow-empty -m \"approve deletions\" --trailer %q, and push", service.Approve)
	}
	for _, f := range st.Faults {
		if f.File == service.File && service.File != "" && !f.Warning {
			add("mend %s: until then the service stays as it was", f.String())
		}
	}
	r := st.Repository
	switch {
	case r.Refused != "":
		add("commit %s was refused: %s", r.Seen.Short(), r.Refused)
	case r.Error != "":
		add("the repository cannot be read, so no change arrives: %s", r.Error)
	}
	if f := st.Fleet; f != nil && f.Error != "" && f.Error != r.Error {
		add("the records of the fleet cannot be read, so what is told of other nodes may be old: %s", f.Error)
	}
	failing := false
	for _, i := range service.Instances {
		failing = failing || i.Phase == planner.PhaseFailed || i.Phase == planner.PhaseUnhealthy
	}
	if service.Rollout != nil {
		of := rolloutAdvice(service.Rollout)
		failing = failing && !slices.ContainsFunc(of, func(text string) bool { return strings.Contains(text, "orpheus logs ") })
		out = append(out, of...)
	}
	if failing {
		add("look at what it wrote: orpheus logs %s", service.ID())
		add("if the last change broke it, revert that commit; to run an earlier revision of a slot meanwhile: orpheus run-revision SLOT REVISION --reason TEXT")
	}
	for _, n := range notOpened(st, service) {
		if !n.Meant {
			add("see CLOSED: port %d stays closed until that is done", n.Port)
		}
	}
	for _, p := range otherProblems(st) {
		add("this node has a problem: %s", p)
	}
	switch {
	case len(out) > 0:
	case fine && service.Message == "":
		add("nothing: it is as its manifest asks")
	case fine:
		add("nothing here: it runs, and stays as it is for what MESSAGE says")
	case service.Rollout != nil && len(service.Rollout.Waits) > 0 && !underWayHere(service):
		add("see what WAITS says: it goes on by itself")
	case service.Rollout != nil && !underWayHere(service):
		add("wait: the fleet is at work on it")
	case service.Message != "" && !underWayHere(service):
		add("see what MESSAGE says: it waits for that, and goes on by itself")
	default:
		add("wait: the node is at work on it")
	}
	return out
}
