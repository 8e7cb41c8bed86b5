package main

import (
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/runtime/network/relay"
	"github.com/orpheus-cd/orpheus/runtime/network/resolver"
)

func init() { platformCommands = append(platformCommands, newResolverCommand) }

// resolverVerb is the verb that the agent starts its name server with.
const resolverVerb = "resolver"

// newResolverCommand is the process that outlives the agent: it answers for the
// names of services and, where the agent may not use the kernel's, balances
// connections.
func newResolverCommand(*env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:    resolverVerb,
		Short:  "Answer for the names of services, for the agent",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT) // a terminal's are for the agent
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			return resolver.Main(ctx, dir, resolver.Part{Name: "relay", File: relay.File, Serve: relay.Serve})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`folder` of the zone")
	_ = cmd.MarkFlagRequired("dir") // it is there
	return cmd
}
