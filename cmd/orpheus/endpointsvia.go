package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// seenEndpoints is what `orpheus endpoints --via ssh` tells: how each node leads
// connections.
type seenEndpoints struct {
	Nodes      []*api.Endpoints `json:"nodes"`
	NotReached []unreachedNode  `json:"notReached,omitempty"`
}

// endpointsVia shows how the nodes of a fleet lead connections; "" = to all
// services.
func (e *env) endpointsVia(ctx context.Context, o remoteOptions, name string) error {
	fleet := newSSHFleet(o.viaOptions)
	defer fleet.close()
	b, _, err := e.readRollouts(ctx, o.recordOptions, 1)
	if err != nil {
		return err
	}
	defer b.store.close()
	fleet.know(b)
	answers := ask(ctx, fleet, fleet.order, func(ctx context.Context, client *api.Client, _ *api.Status) (*api.Endpoints, error) {
		return client.Endpoints(ctx)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	seen := seenEndpoints{Nodes: []*api.Endpoints{}, NotReached: unreachedOf(answers)}
	var missing error
	for _, a := range answers {
		if a.err != nil {
			continue
		}
		told := a.value
		if name != "" {
			if told, err = onlyEndpoints(a.value, name); err != nil {
				missing = err
				continue
			}
		}
		seen.Nodes = append(seen.Nodes, told)
	}
	switch {
	case len(seen.Nodes) == 0 && missing != nil:
		return missing
	case len(seen.Nodes) == 0 && len(seen.NotReached) > 0:
		return errNobody(seen.NotReached)
	case len(seen.Nodes) == 0:
		return errors.New("the records name no node that takes part")
	case o.output == "json":
		return writeJSON(e.stdout, seen, false)
	}
	s := e.newScreen()
	drawSeenEndpoints(s, seen)
	return s.writeTo(e.stdout)
}

// seenEndpoint is an endpoint as some nodes see it.
type seenEndpoint struct {
	slot   planner.SlotID
	node   planner.NodeName
	state  string
	reason string
	by     []string
}

// drawSeenEndpoints draws each endpoint once for each way it is seen.
func drawSeenEndpoints(s *screen, seen seenEndpoints) {
	var rows []seenEndpoint
	for _, from := range seen.Nodes {
		if from.Balanced.Error != "" {
			s.prose(string(from.Node)+"  ", bold, red, "what it should do is not in force: "+from.Balanced.Error)
		}
		for _, service := range from.Services {
			for _, at := range service.Endpoints {
				is := seenEndpoint{slot: planner.SlotID{Service: service.ID(), Name: at.Slot}, node: at.Node, state: at.State, reason: at.Reason}
				k := slices.IndexFunc(rows, func(r seenEndpoint) bool { return r.slot == is.slot && r.node == is.node && r.state == is.state })
				if k < 0 {
					k, rows = len(rows), append(rows, is)
				}
				rows[k].by = append(rows[k].by, string(from.Node))
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b seenEndpoint) int {
		return cmp.Or(a.slot.Compare(b.slot), strings.Compare(string(a.node), string(b.node)), strings.Compare(a.state, b.state))
	})
	s.blank()
	t := table{titles: []string{"SLOT", "NODE", "STATE", "SEEN SO BY", "REASON"}}
	for _, r := range rows {
		by := someOf(r.by)
		if len(r.by) == len(seen.Nodes) && len(r.by) > 1 {
			by = fmt.Sprintf("all %d nodes", len(r.by))
		}
		c := endpointColour(r.state)
		t.add(r.reason, c, cell{r.slot.String(), plain}, cell{string(r.node), plain}, cell{r.state, c}, cell{by, plain})
	}
	t.draw(s)
	if len(rows) == 0 {
		s.prose("", plain, plain, "No node leads connections to any instance.")
	}
	drawUnreached(s, seen.NotReached)
}
