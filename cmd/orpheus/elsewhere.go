package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// maxCuts bounds the services that a name may be a slot of.
const maxCuts = 8

// knowElsewhere adds how a service stands that the status does not tell of,
// because nothing of it runs on the node and nothing of it changes. name is that
// of the service or of a slot of it.
func knowElsewhere(ctx context.Context, client *api.Client, st *api.Status, name string) *api.Status {
	if _, _, err := resolveAnywhere(st, name); err == nil || st.Fleet == nil {
		return st
	}
	id := planner.ParseServiceID(name)
	for range maxCuts {
		r, err := client.Rollout(ctx, id)
		if err != nil {
			return st // an older agent, say: then it is not known
		}
		if r != nil {
			more, fleet := *st, *st.Fleet
			fleet.Rollouts = append(slices.Clone(fleet.Rollouts), r)
			more.Fleet = &fleet
			return &more
		}
		at := strings.LastIndexByte(id.Name, '-')
		if at <= 0 {
			break
		}
		id.Name = id.Name[:at]
	}
	return st
}

// serviceElsewhere is a service that nothing runs of on the node, which knows
// of its rollout in the fleet.
func serviceElsewhere(st *api.Status, name string) (api.Service, bool) {
	if st.Fleet == nil {
		return api.Service{}, false
	}
	id := planner.ParseServiceID(name)
	for _, r := range st.Fleet.Rollouts {
		if r.Service == id.String() {
			return api.Service{Namespace: id.Namespace, Name: id.Name, File: r.File, Revision: r.Wanted, Rollout: r}, true
		}
	}
	return api.Service{}, false
}

// resolveAnywhere finds a service, or one and its slot or hook, on this node or on
// others that it knows of.
func resolveAnywhere(st *api.Status, name string) (service api.Service, slot string, err error) {
	service, slot, err = resolveSlot(st, name)
	if err == nil {
		return service, slot, nil
	}
	if s, ok := serviceElsewhere(st, name); ok {
		return s, "", nil
	}
	known := slices.Clone(st.Services)
	if st.Fleet != nil {
		for _, r := range st.Fleet.Rollouts {
			s, _ := serviceElsewhere(st, r.Service)
			known = append(known, s)
		}
	}
	called := planner.ParseServiceID(name).String()
	for _, s := range known {
		if slot, is := s.Rollout.Slot(called); is {
			return s, slot, nil
		}
	}
	if id, kind, is := hookCalled(name); is {
		for _, s := range known {
			if s.ID() == id {
				return s, string(kind), nil
			}
		}
	}
	return api.Service{}, "", err
}

// hookCalled is the service and slot that NAME-prerollout and NAME-postrollout
// name.
func hookCalled(name string) (id planner.ServiceID, kind planner.HookKind, is bool) {
	id = planner.ParseServiceID(name)
	for _, kind := range planner.HookKinds {
		if of, is := strings.CutSuffix(id.Name, "-"+string(kind)); is && of != "" {
			id.Name = of
			return id, kind, true
		}
	}
	return id, "", false
}

// ranElsewhere is the other node that ran a hook last, as far as is known.
func ranElsewhere(st *api.Status, id planner.ServiceID, kind planner.HookKind) (planner.NodeName, bool) {
	s, _, err := resolveAnywhere(st, id.String())
	if err != nil || s.Rollout == nil {
		return "", false
	}
	for _, h := range s.Rollout.Hooks {
		if h.Hook == kind.Field() && h.Node != "" {
			return h.Node, h.Node != st.Node
		}
	}
	return "", false
}

// writtenElsewhere says on which nodes what is asked for was written, if not on
// this one; nil = that is not known.
func writtenElsewhere(st *api.Status, name string) error {
	s, slot, err := resolveAnywhere(st, name)
	if err != nil || s.Rollout == nil {
		return nil
	}
	var nodes []string
	for _, l := range s.Rollout.Slots {
		if (slot == "" || l.Slot == slot) && l.Node != "" && !slices.Contains(nodes, string(l.Node)) {
			nodes = append(nodes, string(l.Node))
		}
	}
	if len(nodes) == 0 || slices.Contains(nodes, string(st.Node)) {
		return nil
	}
	slices.Sort(nodes)
	return errors.New(planner.OneLine(fmt.Sprintf("nothing of %s runs on node %s; what it writes is on %s: run this there", name, st.Node, someOf(nodes)), maxShownReason))
}
