package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// remoteOptions are the flags of verbs that ask the agent of this node, or with
// --via those of the nodes that a fleet's records name.
type remoteOptions struct {
	recordOptions
	viaOptions
}

// asksAgents marks verbs that read records only to find nodes.
const asksAgents = "asksAgents"

// addRemoteFlags adds them to a verb that shows nothing of records.
func (o *remoteOptions) addRemoteFlags(e *env, cmd *cobra.Command) {
	o.addPlaceFlags(e, cmd)
	o.addViaFlags(cmd)
	cmd.Annotations = map[string]string{asksAgents: ""}
}

// checkRemote refuses flags that make no sense together. Records are read only to
// find nodes.
func (o *remoteOptions) checkRemote(e *env, cmd *cobra.Command) error {
	if err := o.check(e, cmd); err != nil {
		return err
	}
	if !o.viaAsked() && fromRecords(cmd) {
		return errors.New("add --via ssh, which asks the nodes that the records name; or remove what says where the records are")
	}
	return o.checkVia(cmd)
}

// fleetTarget is what a name means in a fleet, and which nodes have it.
type fleetTarget struct {
	service *recordedService
	slot    string // "" = all; a hook's kind is one
	nodes   []planner.NodeName
}

// findCalled looks for a service, slot or hook in the records, and makes the fleet
// known.
func (e *env) findCalled(ctx context.Context, fleet *sshFleet, o recordOptions, name string) (fleetTarget, error) {
	st, book, err := e.recordedStatus(ctx, o, 1)
	if err != nil {
		return fleetTarget{}, err
	}
	defer book.store.close()
	fleet.know(book)
	service, slot, err := st.find(name)
	if err == nil {
		c := fleetTarget{service, slot, service.on(slot)}
		if len(c.nodes) == 0 {
			return c, fmt.Errorf("no node runs %s, as far as the records tell; \"orpheus why %s\" says why", name, name)
		}
		return c, nil
	}
	id, kind, isHook := hookCalled(name)
	if !isHook {
		return fleetTarget{}, err
	}
	if service, _, err = st.find(id.String()); err != nil {
		return fleetTarget{}, err
	}
	c := fleetTarget{service: service, slot: string(kind)}
	for _, h := range service.Hooks {
		if h.Hook == kind.Field() && h.Node != "" && !slices.Contains(c.nodes, h.Node) {
			c.nodes = append(c.nodes, h.Node)
		}
	}
	if len(c.nodes) == 0 {
		return c, fmt.Errorf("the records do not tell which node ran the %s hook of %s last", kind.Field(), id)
	}
	return c, nil
}

// heldSlot is an instance that can be used, and where it is.
type heldSlot struct {
	node     planner.NodeName
	slot     string
	instance api.Instance
}

// running lists the instances of what was called that run, the best of each slot
// first: while a slot moves it has two.
func (c fleetTarget) running(answers []nodeAnswer[*api.Status]) []heldSlot {
	var out []heldSlot
	for _, a := range answers {
		if a.err != nil {
			continue
		}
		for _, s := range a.value.Services {
			if s.ID() != c.service.id {
				continue
			}
			for _, i := range s.Instances {
				runs := slices.ContainsFunc(i.Containers, func(c api.Container) bool { return c.State == string(planner.StateRunning) })
				if runs && (c.slot == "" || c.slot == i.Slot) {
					out = append(out, heldSlot{a.node, i.Slot, i})
				}
			}
		}
	}
	ready := func(h heldSlot) int {
		if h.instance.Phase == planner.PhaseReady {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b heldSlot) int {
		return cmp.Or(planner.SlotID{Name: a.slot}.Compare(planner.SlotID{Name: b.slot}), cmp.Compare(ready(a), ready(b)), cmp.Compare(b.instance.Token, a.instance.Token))
	})
	return slices.CompactFunc(out, func(a, b heldSlot) bool { return a.slot == b.slot })
}

// sameStatus is the question whose answer was given when the agent was reached.
func sameStatus(_ context.Context, _ *api.Client, st *api.Status) (*api.Status, error) {
	return st, nil
}

// findOne finds the one instance that a name means, and what reaches its agent.
func (e *env) findOne(ctx context.Context, fleet *sshFleet, o recordOptions, name string) (*nodeAgent, planner.SlotID, error) {
	c, err := e.findCalled(ctx, fleet, o, name)
	if err != nil {
		return nil, planner.SlotID{}, err
	}
	answers := ask(ctx, fleet, c.nodes, sameStatus)
	if ctx.Err() != nil {
		return nil, planner.SlotID{}, ctx.Err()
	}
	found, silent := c.running(answers), unreachedOf(answers)
	switch {
	case len(found) == 0 && len(silent) > 0:
		return nil, planner.SlotID{}, errNobody(silent)
	case len(found) == 0:
		return nil, planner.SlotID{}, fmt.Errorf("nothing of %s runs now on %s", name, nodesOrCount(c.nodes))
	case c.slot == "" && len(found)+len(silent) > 1:
		var names []string
		for _, h := range found {
			names = append(names, planner.SlotID{Service: c.service.id, Name: h.slot}.String())
		}
		const few = 12
		if len(names) > few {
			names = append(names[:few], "…")
		}
		return nil, planner.SlotID{}, fmt.Errorf("%s runs more than once: name one of %s", name, strings.Join(names, ", "))
	}
	a, err := fleet.of(found[0].node)
	return a, planner.SlotID{Service: c.service.id, Name: found[0].slot}, err
}
