package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// exitNotReady answers `status --exit-code`.
const exitNotReady = 3

func newStatusCommand(e *env) *cobra.Command {
	var output, commit string
	var watch, exitCode, network bool
	var o recordOptions
	cmd := &cobra.Command{
		Use:   "status [SERVICE]",
		Short: "Show what runs on this node, or in the fleet, and what keeps it from running",
		Long: `Show the commit in force, what is wrong, and the services of this node; with a
SERVICE (NAME or NAMESPACE/NAME) how far its rollout is, what is awaited and what
failed, its slots on all nodes, and its instances and images here.

ROLLOUT is empty where all is as the manifest asks, else
  rolling      slots change, or are still to become available
  paused       it rests at a step, and goes on by itself
  to approve   it rests at a step until a person says "orpheus promote"
  BLOCKED      the revision failed, and the slots stay as they are
  REVERTED     the revision failed, and the slots have the last good one again
  degraded     it was rolled out, and some slots are not available now

Where no agent answers, in a checkout of a fleet's repository, it shows the
services of the whole fleet from its records; with -C, --path, --repository,
--records or --config it does so in any case.

--watch shows it anew whenever it changes: in place on a terminal, else as a new
block, or with -o json as a document on a line of its own.

--network shows the node's network instead: its bridge, addresses and name
server, what it balances, and the endpoints that take no connections from here.

Exit codes: 0 shown, 1 no agent answers or there is no such service, 2 wrong
usage. With --exit-code also 3: not all that is shown is as the repository asks
(a service is not ready or not on its newest revision, a rollout is under way on
any node or failed, a commit was refused, a manifest has a fault, the repository
cannot be read, the node is short of something, has a problem or is not
registered in its fleet, a slot it coordinates has no node).

What was pushed a moment ago is not followed yet: --commit has it answer 3 until
that commit is followed, or one that comes after it where the checkout in -C
tells; from a fleet's records, by all nodes that are live.`,
		Example: `  orpheus status
  orpheus status shop/web --watch
  orpheus status --network
  orpheus status -C ~/fleet      # the whole fleet, from its records
  git push && until orpheus status web --exit-code --commit "$(git rev-parse HEAD)" >/dev/null; do sleep 1; done`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeServices(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(e, cmd); err != nil {
				return usageError(err)
			}
			if commit != "" && (!exitCode || !isCommit(commit)) {
				return usageError(fmt.Errorf("--commit %.80q: write the id of a commit, or at least %d characters of it, and --exit-code", commit, minCommit))
			}
			view := statusView{env: e, json: output == "json"}
			if len(args) > 0 {
				view.service = args[0]
			}
			if fromRecords(cmd) {
				if network || watch {
					return usageError(errors.New("--network and --watch ask the agent of this node; remove them, or what says where the records are"))
				}
				return withInterrupt(cmd.Context(), func(ctx context.Context) error {
					st, book, err := e.recordedStatus(ctx, o, 1)
					if err != nil {
						return err
					}
					defer book.store.close()
					return view.showRecorded(ctx, st, exitCode, o.directory, commit)
				})
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			if network {
				if len(args) > 0 {
					return usageError(errors.New("--network shows the node; \"orpheus endpoints SERVICE\" shows one service"))
				}
				return e.showNetwork(cmd.Context(), client, output)
			}
			if watch {
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
				defer stop()
				return view.watch(ctx, client)
			}
			st, err := client.Status(cmd.Context())
			if err != nil {
				return withInterrupt(cmd.Context(), func(ctx context.Context) error {
					recorded, book, err := e.recordsInstead(ctx, cmd, err, 1)
					if err != nil {
						return err
					}
					defer book.store.close()
					return view.showRecorded(ctx, recorded, exitCode, o.directory, commit)
				})
			}
			if st, err = view.narrow(knowElsewhere(cmd.Context(), client, st, view.service)); err != nil {
				return err
			}
			if err := view.print(st); err != nil {
				return err
			}
			if exitCode && !(asAsked(st) && follows(cmd.Context(), o.directory, st.Repository.Applied.Hash, commit)) {
				return &exitError{code: exitNotReady}
			}
			return nil
		},
	}
	addOutputFlag(cmd, &output, "text", "json")
	o.addPlaceFlags(e, cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on showing it")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if not all is as the repository asks")
	cmd.Flags().StringVar(&commit, "commit", "", "with --exit-code, 3 also until this `commit` is followed")
	cmd.Flags().BoolVar(&network, "network", false, "show the node's network")
	cmd.MarkFlagsMutuallyExclusive("watch", "exit-code", "network")
	return cmd
}

// explainAgent adds what only the command line knows: an agent of root's that
// the default socket of another user misses.
func (e *env) explainAgent(err error) error {
	const rootDir = "/run/orpheus"
	if errors.Is(err, api.ErrNotRunning) && e.socket == defaultSocket() && defaultRunDir() != rootDir {
		if _, statErr := os.Stat(rootDir); statErr == nil {
			return fmt.Errorf("%w; %s exists, so root's agent may be meant: use sudo", err, rootDir)
		}
	}
	return err
}

// statusView is one way to show the status.
type statusView struct {
	*env
	service string // "" = all
	json    bool
}

// narrow keeps the service that was asked for.
func (v statusView) narrow(st *api.Status) (*api.Status, error) {
	if v.service == "" {
		return st, nil
	}
	for _, s := range st.Services {
		if s.ID().String() == v.service || s.Namespace+"/"+s.Name == v.service {
			one := *st
			one.Services, one.Faults = []api.Service{s}, nil
			for _, f := range st.Faults {
				if s.File != "" && f.File == s.File {
					one.Faults = append(one.Faults, f)
				}
			}
			one.NotOpened = notOpened(st, s)
			one.Problems = otherProblems(st)
			one.Fleet = withoutRollouts(st.Fleet)
			return &one, nil
		}
	}
	if s, ok := serviceElsewhere(st, v.service); ok {
		one := *st
		one.Services, one.Faults, one.NotOpened = []api.Service{s}, nil, nil
		one.Problems, one.Fleet = otherProblems(st), withoutRollouts(st.Fleet)
		return &one, nil
	}
	return nil, noService(st, v.service)
}

// withoutRollouts leaves out those of other services.
func withoutRollouts(f *api.Fleet) *api.Fleet {
	if f == nil {
		return nil
	}
	one := *f
	one.Rollouts = nil
	return &one
}

// notOpened lists the ports of a service that the node does not open.
func notOpened(st *api.Status, s api.Service) []api.NotOpened {
	return slices.DeleteFunc(slices.Clone(st.NotOpened), func(n api.NotOpened) bool { return n.ID() != s.ID() })
}

// otherProblems are the node's, less those of single ports, which are their
// services'.
func otherProblems(st *api.Status) []string {
	ports := map[string]bool{}
	for _, n := range st.NotOpened {
		ports[n.String()] = true
	}
	return slices.DeleteFunc(slices.Clone(st.Problems), func(p string) bool { return ports[p] })
}

// noService says which services there are, and that a broken manifest may be
// the reason why one is missing.
func noService(st *api.Status, name string) error {
	names := serviceNames(st, false)
	text := fmt.Sprintf("there is no service %q on node %s", name, st.Node)
	const few = 12
	switch {
	case len(names) == 0 && st.Fleet != nil:
		text += ", on which nothing runs now, nor among those of the fleet that it knows"
	case len(names) == 0:
		text += ", nor any other"
	case len(names) > few:
		text += fmt.Sprintf("; \"orpheus status\" lists its %d services", len(names))
	default:
		text += "; it has " + strings.Join(names, ", ")
	}
	if st.Fleet != nil {
		text += "; \"orpheus status\" with -C, --repository or --config shows the services of the whole fleet"
	}
	if n := broken(st.Faults); n > 0 {
		text += fmt.Sprintf("; %s of the commit may hold it back, see \"orpheus status\"", count(n, "fault"))
	}
	return errors.New(text)
}

func (v statusView) print(st *api.Status) error {
	if v.json {
		return writeJSON(v.stdout, st, false)
	}
	return v.render(st).writeTo(v.stdout)
}

// render draws the view for where it goes to: cut to a terminal's width,
// whole in a pipe.
func (v statusView) render(st *api.Status) *screen {
	s := v.newScreen()
	drawStatus(s, st, v.service != "", v.now())
	return s
}

// underWay reports whether the slots of a service are not what they are to be, on
// any node.
func underWay(r *api.Rollout) bool { return r != nil && !r.Steady() }

// asAsked reports whether nothing is amiss, or on its way.
func asAsked(st *api.Status) bool {
	r := st.Repository
	if r.Refused != "" || r.Error != "" || r.Applied.Hash == "" || broken(st.Faults) > 0 || len(st.Problems) > 0 || slices.ContainsFunc(st.NotOpened, func(n api.NotOpened) bool { return !n.Meant }) || len(st.Pressure) > 0 {
		return false
	}
	for _, d := range st.Drivers {
		if d.Error != "" {
			return false
		}
	}
	for _, s := range st.Services {
		if !settled(s) {
			return false
		}
	}
	if f := st.Fleet; f != nil && (f.Error != "" || !f.Registered || len(f.Unplaced) > 0 || slices.ContainsFunc(f.Rollouts, underWay)) {
		return false
	}
	return st.Network == nil || st.Network.Error == ""
}
