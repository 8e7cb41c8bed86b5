package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// newHookCommand is what a Git server runs, not people.
func newHookCommand(*env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hook",
		Short: "Hooks for the Git server that holds the records",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	pre := newPreReceiveCommand()
	pre.Args = usageArgs(pre.Args)
	cmd.AddCommand(pre)
	return cmd
}

type hookFlags struct {
	userEnv, nodeUsers, unnamed, prefix string
}

func newPreReceiveCommand() *cobra.Command {
	var f hookFlags
	cmd := &cobra.Command{
		Use:   "pre-receive",
		Short: "Let nodes push their records, and nothing else",
		Long: `Confines the keys of nodes. A node may write its own records, lease documents
and the fleet's record, and of another node's only a well-formed challenge or
fence. Whoever is no node may push whatever the server lets them.

Install it as hooks/pre-receive of the repository, executable:

  #!/bin/sh
  exec orpheus hook pre-receive --user-env REMOTE_USER --node-users 'node-{node}'

The server says who pushes, in an environment variable that the client cannot
set. git http-backend is given REMOTE_USER by the web server. Over ssh, the line
of the key in authorized_keys sets one (leave it out of sshd's AcceptEnv):

  restrict,command="ORPHEUS_USER=node-1 git-shell -c \"$SSH_ORIGINAL_COMMAND\"" ssh-ed25519 …

Exit codes: 0 the push may go on, 1 it is refused, 2 wrong usage.`,
		Example: "  orpheus hook pre-receive --user-env GL_ID --node-users 'user-{node}' --unnamed allow",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			node, err := f.node(os.Getenv(f.userEnv))
			if err != nil || node == "" {
				return err
			}
			hook := gitsync.NodeHook{Node: node, Prefix: f.prefix}
			if err := hook.PreReceive(cmd.Context(), cmd.InOrStdin()); err != nil {
				return fmt.Errorf("the push of node %s is refused\n%w", node, err)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.userEnv, "user-env", "ORPHEUS_USER", "variable in which the server says who pushes")
	flags.StringVar(&f.nodeUsers, "node-users", "{node}", "which users are nodes: their names, with {node} where the node's stands")
	flags.StringVar(&f.unnamed, "unnamed", "refuse", "pushes without a user: refuse, or allow as those of people")
	flags.StringVar(&f.prefix, "prefix", gitsync.DefaultPrefix, "where the refs of the records begin")
	return cmd
}

// node is the node that user is; "" = somebody else, who is not confined.
func (f hookFlags) node(user string) (planner.NodeName, error) {
	before, after, ok := strings.Cut(f.nodeUsers, "{node}")
	switch {
	case !ok || strings.Contains(after, "{node}"):
		return "", usageError(fmt.Errorf("--node-users %q does not hold {node} once", f.nodeUsers))
	case f.unnamed != "refuse" && f.unnamed != "allow":
		return "", usageError(fmt.Errorf("--unnamed %q is neither refuse nor allow", f.unnamed))
	case !strings.HasPrefix(f.prefix, "refs/") || !strings.HasSuffix(f.prefix, "/"):
		return "", usageError(fmt.Errorf("--prefix %q is not of the form refs/orpheus/", f.prefix))
	case user == "" && f.unnamed == "allow":
		return "", nil
	case user == "":
		return "", errors.New("the server does not say who pushes: let it set " + f.userEnv +
			", or name its variable with --user-env; --unnamed allow lets such pushes pass unconfined")
	case len(user) < len(before)+len(after) || !strings.HasPrefix(user, before) || !strings.HasSuffix(user, after):
		return "", nil
	}
	node := planner.NodeName(user[len(before) : len(user)-len(after)])
	if planner.NodeRef(node).Parse().Kind != planner.RefNode {
		return "", fmt.Errorf("user %q stands for node %q, which is no node's name", user, node)
	}
	return node, nil
}
