package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// whyEvents is how much of what happened goes on one screen.
const whyEvents = 12

func newWhyCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "why SERVICE|SLOT",
		Short: "Explain why a service is as it is on this node, and what to do",
		Long: `Explain on one screen why a SERVICE (NAME or NAMESPACE/NAME), or one SLOT of it
(NAME-0), is as it is on this node: what is wanted and what runs, what is waited
for, what a person ordered, what was refused, what happened lately, and what
there is to do about it.`,
		Example:           "  orpheus why web\n  orpheus why shop/web-0",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeServices(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			st, err := client.Status(cmd.Context())
			if err != nil {
				return e.explainAgent(err)
			}
			service, slot, err := resolveSlot(st, args[0])
			if err != nil {
				return err
			}
			var events []event.Event
			req := api.EventRequest{Target: service.ID().String(), Tail: whyEvents}
			if slot != "" {
				req.Target = planner.SlotID{Service: service.ID(), Name: slot}.String()
			}
			if err := client.Events(cmd.Context(), req, func(ev event.Event) error { events = append(events, ev); return nil }); err != nil {
				return e.explainAgent(err)
			}
			s := e.newScreen()
			drawWhy(s, st, onlySlot(service, slot), slot, events, time.Now())
			return s.writeTo(e.stdout)
		},
	}
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
	drawHolds(s, holdsOn(st.Holds, service, slot))
	drawService(s, service, notOpened(st, service), now)
	if len(events) > 0 {
		s.blank()
		s.line(s.paint(bold, "HAPPENED"))
		for _, e := range events {
			drawEvent(s, e)
		}
	}
	s.blank()
	s.line(s.paint(bold, "TO DO"))
	for _, text := range advice(st, service, slot) {
		s.prose("  - ", plain, plain, text)
	}
}

// underWay reports an instance that the node is bringing to what it is to be.
func underWay(i api.Instance) bool {
	return i.Phase != planner.PhaseReady
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

// advice says what a person can do about a service, what counts most first.
func advice(st *api.Status, service api.Service, slot string) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
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
	failing := false
	for _, i := range service.Instances {
		failing = failing || i.Phase == planner.PhaseFailed || i.Phase == planner.PhaseUnhealthy
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
	case settled(service) && service.Message == "":
		add("nothing: it is as its manifest asks")
	case settled(service):
		add("nothing here: it runs, and stays as it is for what MESSAGE says")
	case service.Message != "" && !slices.ContainsFunc(service.Instances, underWay):
		add("see what MESSAGE says: it waits for that, and goes on by itself")
	default:
		add("wait: the node is at work on it")
	}
	return out
}
