package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

func (d *dev) killCommand() *cobra.Command {
	var agentOnly bool
	cmd := &cobra.Command{
		Use:   "kill NODE",
		Short: "Cut a node's power, or kill its agent only",
		Long: `Cut a node's power: agent, containerd and all containers end at once, with
nobody told. What is on the node's disk stays. With --agent only the agent is
killed, and what runs goes on.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: d.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			did := "is off"
			if agentOnly {
				did = "has no agent now; what runs there goes on"
			}
			return d.order(cmd.Context(), devOrder{Verb: "kill", Node: args[0], AgentOnly: agentOnly}, did)
		},
	}
	cmd.Flags().BoolVar(&agentOnly, "agent", false, "kill the agent only")
	return cmd
}

func (d *dev) startCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "start NODE",
		Short:             "Boot a node that was killed, or start its agent",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: d.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.order(cmd.Context(), devOrder{Verb: "start", Node: args[0]}, "is on and its agent runs")
		},
	}
}

func (d *dev) cutCommand() *cobra.Command {
	from := choice{value: new(string)}
	for _, s := range slices.Backward(devfleet.Sides) { // the first one is the default
		from.words = append(from.words, string(s))
	}
	*from.value = from.words[0]
	cmd := &cobra.Command{
		Use:   "cut NODE",
		Short: "Cut a node off from Git, from the other nodes, or from both",
		Long: `Cut a node off from Git, from the other nodes, or from both, in place of a former
cut. Packets vanish both ways, as on a broken line, until "orpheus dev heal".
It needs nodes with networks of their own, which root makes.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: d.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.order(cmd.Context(), devOrder{Verb: "cut", Node: args[0], From: devfleet.Side(*from.value)}, "is cut off from "+whom(*from.value))
		},
	}
	cmd.Flags().Var(from, "from", "whom it is cut off from")
	return cmd
}

// whom is a side in words.
func whom(side string) string {
	return map[string]string{"git": "Git", "peers": "the other nodes", "both": "Git and the other nodes"}[side]
}

func (d *dev) healCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "heal NODE",
		Short:             "End a cut",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: d.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.order(cmd.Context(), devOrder{Verb: "heal", Node: args[0]}, "reaches everybody again")
		},
	}
}

// order has the supervisor do something with a node, and says that it was done.
func (d *dev) order(ctx context.Context, o devOrder, did string) error {
	dir, err := d.alive()
	if err != nil {
		return err
	}
	if err := control(ctx, dir, "order", o, nil); err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, "%s %s.\n", o.Node, did)
	return nil
}

// completeNodes offers the nodes of the fleet.
func (d *dev) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	dir, err := d.alive()
	if err != nil || len(args) > 0 {
		return nil, nothing
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	var st devState
	if err := control(ctx, dir, "state", nil, &st); err != nil {
		return nil, nothing
	}
	var names []string
	for _, n := range st.Nodes {
		names = append(names, n.Name)
	}
	return names, nothing
}

func (d *dev) downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the fleet and leave nothing behind",
		Long: `End the fleet and take away all it had on this machine: processes, networks,
mounts, cgroups and files, its Git repository included. It also takes away what
a fleet left whose supervisor was killed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.down(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintf(d.stdout, "Fleet %q is gone.\n", d.name)
			return nil
		},
	}
}

// lastWords is how long a supervisor may take to end once its fleet is gone.
const lastWords = 10 * time.Second

func (d *dev) down(ctx context.Context) error {
	dir, err := d.dir()
	if err != nil {
		return err
	}
	lock, err := lockFleet(dir, 0)
	if err == nil && lock == nil {
		if err := control(ctx, dir, "down", nil, nil); err != nil {
			return fmt.Errorf("%w; the supervisor's log is %s", err, filepath.Join(dir, devLog))
		}
		return awaitEnd(ctx, dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Lstat(dir); statErr != nil {
			return d.errNoFleet()
		}
	} else if err != nil {
		return err
	}
	defer lock.Close() // of a dead supervisor, or nil: it had not come to that
	if err := devfleet.Sweep(filepath.Join(dir, devFleet)); err != nil {
		return fmt.Errorf("take away what a dead supervisor left: %w", err)
	}
	return removeDevDir(dir)
}

// awaitEnd waits until the supervisor has let go of the folder.
func awaitEnd(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	for {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the fleet is gone, but its folder %s is not", dir)
		}
	}
}
