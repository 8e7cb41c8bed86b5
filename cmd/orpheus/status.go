package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// exitNotReady answers `status --exit-code`.
const exitNotReady = 3

// statusOptions are the flags of status.
type statusOptions struct {
	recordOptions
	viaOptions
	waitOptions
	commit                           string
	watching, exitCode, network, all bool
	// asPlanned: --plan
	asPlanned bool
}

func newStatusCommand(e *env) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status [SERVICE]",
		Short: "Show what runs on this node, or in the fleet, and what keeps it from running",
		Long: `Show the commit in force, what is wrong, and the services of this node; with a
SERVICE (NAME or NAMESPACE/NAME) how far its rollout is, what is awaited and what
failed, its slots on all nodes, and its instances and images here.

The first lines say whether all is fine, what is not, and what there is to do.
Of many services those are listed that are not as their manifests ask, and the
rest is counted; --all lists all.

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

--watch shows it anew whenever it changes, from an agent each second, from records
each five: in place on a terminal, else as a new block, or with -o json as a
document on a line of its own.

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
tells; from a fleet's records, by all nodes that are live. There it may also be
HEAD or a branch.

--wait waits until it would answer 0, and says meanwhile on standard error what
it waits for. It gives up with 3 after --timeout, and at once where nothing goes
on by itself: a rollout failed or asks for approval, or a manifest has a fault.

--plan shows instead whether the fleet did what was planned for a commit, the one
that most nodes follow or --commit: as planned, under way, differs (and how), left
open (another way, as the plan said that it might), or superseded by a later
commit. It says which nodes have read that commit, and
whether the checkout has a later one that none has. It compares the history of
the records with what "orpheus plan" said of the commit, needs a checkout and
asks no agent. A person who has to let a rollout go on ends what is compared.
With --exit-code it answers 3 unless all went, to the end, as planned.
` + viaHelp + `
It then shows the records of the fleet and, below, what each agent tells, or why it
was not reached; of a SERVICE the agents of the nodes that have slots of it. With
--exit-code an agent that is not reached is one that does not say all is well.`,
		Example: `  orpheus status
  orpheus status shop/web --watch
  orpheus status --network
  orpheus status -C ~/fleet      # the whole fleet, from its records
  orpheus status --plan
  orpheus status --via ssh       # the records, and what all agents know
  git push && orpheus status --wait --commit HEAD
  git push && orpheus status --plan --wait --commit HEAD`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeServices(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkStatus(e, cmd, args); err != nil {
				return usageError(err)
			}
			v := statusView{env: e, statusOptions: o}
			if len(args) > 0 {
				v.service = args[0]
			}
			return v.run(cmd)
		},
	}
	addOutputFlag(cmd, &o.output, "text", "json")
	o.addPlaceFlags(e, cmd)
	o.addViaFlags(cmd)
	o.addWaitFlags(cmd, "all is as the repository asks, or with --plan went as planned")
	cmd.Flags().BoolVarP(&o.watching, "watch", "w", false, "go on showing it")
	cmd.Flags().BoolVar(&o.all, "all", false, "list also what is fine, however much it is")
	cmd.Flags().BoolVar(&o.exitCode, "exit-code", false, "exit with 3 if not all is as the repository asks")
	cmd.Flags().StringVar(&o.commit, "commit", "", "with --exit-code, 3 also until this `commit` is followed; with --wait, wait for it")
	cmd.Flags().BoolVar(&o.network, "network", false, "show the node's network")
	cmd.Flags().BoolVar(&o.asPlanned, "plan", false, "show whether the fleet did what \"orpheus plan\" said of a commit")
	cmd.MarkFlagsMutuallyExclusive("watch", "exit-code", "network")
	cmd.MarkFlagsMutuallyExclusive("watch", "wait", "network")
	return cmd
}

// checkStatus refuses what makes no sense together.
func (o *statusOptions) checkStatus(e *env, cmd *cobra.Command, args []string) error {
	if err := o.check(e, cmd); err != nil {
		return err
	}
	if err := errors.Join(o.checkVia(cmd), o.checkWait(cmd)); err != nil {
		return err
	}
	switch {
	case o.viaAsked() && (o.asPlanned || o.network):
		return errors.New("--via asks the agents of all nodes how services are; remove it, or --plan and --network")
	case o.asPlanned && (o.watching || o.network):
		return errors.New("--plan reads the history of the records; remove --watch or --network")
	case o.commit != "" && !o.exitCode && !o.asPlanned && !o.wait:
		return fmt.Errorf("--commit %.80q: write --exit-code, --wait or --plan with it", o.commit)
	case o.network && fromRecords(cmd):
		return errors.New("--network asks the agent of this node; remove it, or what says where the records are")
	case o.network && len(args) > 0:
		return errors.New("--network shows the node; \"orpheus endpoints SERVICE\" shows one service")
	}
	return nil
}

// statusView is one way to show the status.
type statusView struct {
	*env
	statusOptions
	service string // "" = all
}

// run asks the agent of this node, or reads the records of a fleet where that was
// said, or no agent answers.
func (v statusView) run(cmd *cobra.Command) error {
	if v.asPlanned {
		return v.runPlanned(cmd.Context())
	}
	var err error
	if v.commit, err = commitMeant(cmd.Context(), v.directory, v.commit); err != nil {
		return err
	}
	if v.viaAsked() {
		return v.runVia(cmd.Context())
	}
	if fromRecords(cmd) {
		return v.runRecorded(cmd.Context(), nil)
	}
	client, err := v.client()
	if err != nil {
		return err
	}
	defer client.Close()
	if v.network {
		return v.showNetwork(cmd.Context(), client, v.output)
	}
	if _, err := client.Status(cmd.Context()); err != nil {
		if err := v.mayReadRecords(cmd, err); err != nil {
			return err
		}
		return v.runRecorded(cmd.Context(), v.explainAgent(err))
	}
	return v.runHere(cmd.Context(), client)
}

// runHere shows what the agent of a node tells.
func (v statusView) runHere(ctx context.Context, client *api.Client) error {
	var st *api.Status
	look := func(ctx context.Context) (shown *view, err error) {
		if st, err = v.lookHere(ctx, client); err != nil {
			return nil, err
		}
		return v.here(st), nil
	}
	return v.present(ctx, watchAgent, look, func(ctx context.Context) awaited {
		verdict := verdictOf(st, v.now())
		if !follows(ctx, v.directory, st.Repository.Applied.Hash, v.commit) {
			return awaited{says: v.notFollowed(string(st.Node))}
		}
		return awaited{ready: asAsked(st), rests: verdict.rests(), says: verdict.sentence()}
	})
}

// notFollowed says that nodes do not follow the commit that was asked for.
func (v statusView) notFollowed(nodes string) string {
	return "commit " + planner.Commit{Hash: v.commit}.Short() + " is not followed yet by " + nodes
}

// present shows what look finds: once, for as long as it is watched, or once all is
// as awaited. stands, asked after a look, tells whether it is, for the exit code.
func (v statusView) present(ctx context.Context, every time.Duration, look func(context.Context) (*view, error), stands func(context.Context) awaited) error {
	if v.watching {
		return v.watch(ctx, every, v.output == "json", look)
	}
	return withInterrupt(ctx, func(ctx context.Context) error {
		var shown *view
		once := func(ctx context.Context) (awaited, error) {
			found, err := look(ctx)
			if err != nil {
				return awaited{}, err
			}
			shown = found
			return stands(ctx), nil
		}
		st, err := awaited{}, error(nil)
		if v.wait {
			st, err = await(ctx, v.stderr, v.waitOptions, every, once)
		} else {
			st, err = once(ctx)
		}
		if err == nil && shown != nil {
			err = v.show(shown, v.output == "json")
		}
		if err == nil && (v.exitCode || v.wait) && !st.ready {
			err = &exitError{code: exitNotReady}
		}
		return err
	})
}

// lookHere asks the agent, also for a service of which nothing runs on its node.
func (v statusView) lookHere(ctx context.Context, client *api.Client) (*api.Status, error) {
	st, err := client.Status(ctx)
	if err != nil {
		return nil, v.explainAgent(err)
	}
	return v.narrow(knowElsewhere(ctx, client, st, v.service))
}

// hereStatus is what `orpheus status` prints of an agent for programs.
type hereStatus struct {
	verdictReport
	*api.Status
}

// here is the view of a node. When its repository was last read is no news.
func (v statusView) here(st *api.Status) *view {
	quiet := *st
	quiet.Repository.LastRead = time.Time{}
	answer := verdictOf(st, v.now()).report()
	if v.service != "" {
		answer = standingOf(st, st.Services[0]).report(adviceHere(st.Services[0]))
	}
	return &view{
		draw: func(s *screen) {
			s.all = v.all
			drawStatus(s, st, v.service != "", v.now())
		},
		value: hereStatus{answer, st}, news: quiet,
	}
}

// runRecorded shows what the records of a fleet tell. cause is why no agent is
// asked instead, where that matters.
func (v statusView) runRecorded(ctx context.Context, cause error) error {
	var st *recordedStatus
	look := func(ctx context.Context) (*view, error) {
		read, book, err := v.recordedStatus(ctx, v.recordOptions, 1)
		if err != nil {
			return nil, recordsFailed(cause, err)
		}
		defer book.store.close()
		if st, err = read.narrow(v.service); err != nil {
			return nil, err
		}
		return v.recorded(st), nil
	}
	return v.present(ctx, watchRecords, look, func(ctx context.Context) awaited { return v.awaitedOf(ctx, st) })
}

// awaitedOf is how a fleet stands as the records tell.
func (v statusView) awaitedOf(ctx context.Context, st *recordedStatus) awaited {
	if behind := st.behind(ctx, v.directory, v.commit); len(behind) > 0 || v.commit != "" && len(st.Commits) == 0 {
		return awaited{says: v.notFollowed(nodesOrCount(behind))}
	}
	verdict := st.verdict()
	return awaited{ready: st.asAsked(), rests: verdict.rests(), says: verdict.sentence()}
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
