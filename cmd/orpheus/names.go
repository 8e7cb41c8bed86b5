package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// completionTime is how long a shell waits for names.
const completionTime = time.Second

func withCompletionTime(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), completionTime)
}

// completeServices offers services, and slots if asked: those of the node, when its
// agent can be reached, else, for verbs that read records as well, those of the
// manifests of the checkout. No network but the agent's is waited for.
func (e *env) completeServices(slots bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const nothing = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 {
			return nil, nothing
		}
		ctx, cancel := withCompletionTime(cmd)
		defer cancel()
		via := viaGiven(cmd)
		if !fromRecords(cmd) && !via {
			if st := e.statusIfAny(ctx); st != nil {
				return serviceNames(st, slots), nothing
			}
		}
		flags := cmd.Flags()
		if _, agents := cmd.Annotations[asksAgents]; agents && !via {
			return nil, nothing
		}
		if flags.Lookup("records") == nil || flags.Changed("records") || flags.Changed("repository") {
			return nil, nothing
		}
		dir, _ := flags.GetString("directory") // an error: there is no such flag
		path, _ := flags.GetString("path")
		return manifestNames(ctx, recordOptions{directory: dir, path: path}, slots), nothing
	}
}

// statusIfAny is what the agent tells; nil = none answers in time.
func (e *env) statusIfAny(ctx context.Context) *api.Status {
	client, err := e.client()
	if err != nil {
		return nil
	}
	defer client.Close()
	st, err := client.Status(ctx)
	if err != nil {
		return nil
	}
	return st
}

// completeNodes offers the nodes that the manifests of the checkout name, and those
// that the agent knows.
func (e *env) completeNodes(o *recordOptions) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const nothing = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 || o.repository != "" || o.records != "" {
			return nil, nothing
		}
		ctx, cancel := withCompletionTime(cmd)
		defer cancel()
		names := nodeNames(ctx, nodeOptions{directory: o.directory, path: o.path})
		if st := e.statusIfAny(ctx); st != nil && st.Fleet != nil {
			for _, n := range st.Fleet.Nodes {
				names = append(names, string(n.Name))
			}
		}
		slices.Sort(names)
		return slices.Compact(names), nothing
	}
}

// serviceNames lists what can be named on a command line: services of the node,
// those of its fleet that it tells of, and their slots.
func serviceNames(st *api.Status, slots bool) []string {
	var names []string
	for _, s := range st.Services {
		names = append(names, s.ID().String())
		if slots {
			for _, i := range s.Instances {
				names = append(names, planner.SlotID{Service: s.ID(), Name: i.Slot}.String())
			}
		}
	}
	if st.Fleet != nil {
		for _, r := range st.Fleet.Rollouts {
			names = append(names, r.Service)
		}
	}
	return names
}

// manifestServices lists the services of the checkout, for completion.
func manifestServices(ctx context.Context, o recordOptions) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	return manifestNames(ctx, o, false)
}

// manifestNames lists the services of the checkout, and their slots if asked: of one
// that runs on every node those of the nodes that the manifests name.
func manifestNames(ctx context.Context, o recordOptions, slots bool) []string {
	c, err := openWorkTree(ctx, o.directory)
	if err != nil {
		return nil
	}
	d, err := readCheckout(ctx, c, o.path)
	if err != nil {
		return nil
	}
	var names []string
	for _, id := range slices.SortedFunc(maps.Keys(d.Services), planner.ServiceID.Compare) {
		names = append(names, id.String())
		if !slots {
			continue
		}
		for _, slot := range slotNames(d, d.Services[id]) {
			names = append(names, planner.SlotID{Service: id, Name: slot}.String())
		}
	}
	return names
}

// slotNames lists the slots that a manifest asks for.
func slotNames(d planner.Desired, s planner.Service) []string {
	var names []string
	if s.EveryNode {
		for _, node := range slices.Sorted(maps.Keys(d.Nodes)) {
			names = append(names, string(node))
		}
		return names
	}
	for k := range s.Replicas {
		names = append(names, strconv.Itoa(k))
	}
	return names
}
