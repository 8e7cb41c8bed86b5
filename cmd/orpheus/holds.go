package main

import (
	"errors"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// holdOptions are the flags of hold and run-revision.
type holdOptions struct {
	length time.Duration
	reason string
	node   bool
	stop   bool
}

func (o *holdOptions) flags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.length, "for", time.Hour, "how long, at most 720h; afterwards the node goes on by itself")
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for others who look (required)")
}

func newHoldCommand(e *env) *cobra.Command {
	var o holdOptions
	cmd := &cobra.Command{
		Use:   "hold SERVICE|SLOT|--node --reason TEXT",
		Short: "Have this node leave something alone for a while",
		Long: `Have this node leave a service, a slot (such as web-0) or all it runs alone for a
while: nothing of it is started, restarted, replaced or stopped. With --stop it
is stopped and stays down.

A hold needs neither Git nor the rest of the fleet. It survives restarts of the
agent and the machine, is the first thing "orpheus status" says, and is over
when its time is. The leases stand meanwhile: no other node takes over.`,
		Example: `  orpheus hold web --for 2h --reason "debugging with strace"
  orpheus hold web-0 --stop --for 1h --reason "fills the disk"
  orpheus hold --node --for 30m --reason "replacing a disk"`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeServices(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.node == (len(args) == 1) {
				return usageError(errors.New("name a service or a slot, or say --node"))
			}
			return e.order(cmd, args, o, "")
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.node, "node", false, "hold everything on this node")
	cmd.Flags().BoolVar(&o.stop, "stop", false, "stop it, and keep it down")
	return cmd
}

func newRunRevisionCommand(e *env) *cobra.Command {
	var o holdOptions
	cmd := &cobra.Command{
		Use:   "run-revision SLOT REVISION --reason TEXT",
		Short: "Have a slot on this node run another revision for a while",
		Long: `Have a slot on this node run another revision of its service for a while, one of
those it had lately: the first letters of one are enough, and what is none of
them is answered with their list. In a fleet "orpheus history SERVICE" tells more.
Like a hold it is local, survives restarts, and is over when its time is; then
the slot goes back to what it is to run. To roll back for good, revert the
commit.`,
		Example:           `  orpheus run-revision web-0 r1-4f1e0c5d --for 1h --reason "the new one leaks"`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: e.completeServices(true),
		RunE:              func(cmd *cobra.Command, args []string) error { return e.order(cmd, args, o, args[1]) },
	}
	o.flags(cmd)
	return cmd
}

// order asks the agent for a hold and says what it took.
func (e *env) order(cmd *cobra.Command, args []string, o holdOptions, revision string) error {
	req := api.HoldRequest{For: o.length, Reason: strings.TrimSpace(o.reason), By: caller(), Stop: o.stop, Revision: revision}
	if len(args) > 0 {
		req.Target = args[0]
	}
	if err := req.Check(); err != nil {
		return usageError(err)
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	defer client.Close()
	h, err := client.Hold(cmd.Context(), req)
	if err != nil {
		return e.explainAgent(err)
	}
	s := e.newScreen()
	s.prose("", plain, plain, h.Target+" is "+h.Text)
	s.prose("", plain, dim, "To end it before: orpheus release "+releaseName(h))
	return s.writeTo(e.stdout)
}

// releaseName is how a hold is named on a command line.
func releaseName(h api.Hold) string {
	if h.Target == "node" {
		return "--node"
	}
	return h.Target
}

// caller is who gives an order, for others who look.
func caller() string {
	for _, name := range []string{os.Getenv("SUDO_USER"), os.Getenv("USER")} {
		if name != "" {
			return name
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func newReleaseCommand(e *env) *cobra.Command {
	var node bool
	cmd := &cobra.Command{
		Use:               "release SERVICE|SLOT|--node",
		Short:             "End a hold or a run-revision on this node before its time",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeServices(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if node == (len(args) == 1) {
				return usageError(errors.New("name what is held, or say --node; orpheus holds lists it"))
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			target := ""
			if len(args) > 0 {
				target = args[0]
			}
			h, err := client.Release(cmd.Context(), target)
			if err != nil {
				return e.explainAgent(err)
			}
			s := e.newScreen()
			s.prose("", plain, plain, h.Target+" is not held any more: the node takes care of it again")
			return s.writeTo(e.stdout)
		},
	}
	cmd.Flags().BoolVar(&node, "node", false, "end the hold of the whole node")
	return cmd
}

func newHoldsCommand(e *env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "holds",
		Short: "List what people hold on this node",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			st, err := client.Status(cmd.Context())
			if err != nil {
				return e.explainAgent(err)
			}
			if output == "json" {
				holds := st.Holds
				if holds == nil {
					holds = []api.Hold{}
				}
				return writeJSON(e.stdout, holds, false)
			}
			s := e.newScreen()
			if len(st.Holds) == 0 {
				s.line("Nothing is held on " + string(st.Node) + ".")
			}
			for _, h := range st.Holds {
				s.prose("", plain, plain, h.Target+" is "+h.Text)
			}
			return s.writeTo(e.stdout)
		},
	}
	addOutputFlag(cmd, &output, "text", "json")
	return cmd
}

// drawHolds draws what people hold, before all else: who looks has to know.
func drawHolds(s *screen, holds []api.Hold) {
	for _, h := range holds {
		s.labelled("HELD", yellow, h.Target+" is "+h.Text)
	}
}
