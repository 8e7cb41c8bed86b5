package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// completionTime is how long a shell waits for names.
const completionTime = time.Second

func withCompletionTime(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), completionTime)
}

// completeServices offers the services of the node, and its slots if asked,
// when its agent can be reached.
func (e *env) completeServices(slots bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const nothing = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 {
			return nil, nothing
		}
		client, err := e.client()
		if err != nil {
			return nil, nothing
		}
		defer client.Close()
		ctx, cancel := withCompletionTime(cmd)
		defer cancel()
		st, err := client.Status(ctx)
		if err != nil {
			return nil, nothing
		}
		return serviceNames(st, slots), nothing
	}
}

// serviceNames lists what can be named on a command line.
func serviceNames(st *api.Status, slots bool) []string {
	var names []string
	for _, s := range st.Services {
		names = append(names, s.ID().String())
		if slots {
			for _, i := range s.Instances {
				names = append(names, s.ID().String()+"-"+i.Slot)
			}
		}
	}
	return names
}
