package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner"
)

func newPromoteCommand(e *env) *cobra.Command {
	var o nodeOptions
	var step int
	cmd := &cobra.Command{
		Use:   "promote SERVICE",
		Short: "Let a rollout that waits for approval go on, by a commit",
		Long: `Let the rollout of a service go on that rests at a step with approve: true. The
commit sets spec.update.promoted of the service to the revision that its
manifest asks for: it goes on past all steps that wait for approval, or with
--step up to that one. Steps with a pause still take their time. It may be made
before the rollout has come so far; another revision has to be promoted anew. In
a Compose file it is x-orpheus.update.promoted of the service.

It is made in the checkout you are in, shown and pushed as by "orpheus drain".
Where the records of the fleet can be read, a revision that has failed or that
is rolled out already is not promoted.

Exit codes: 0 done, or it was so already; 1 it did not work, or nothing waits for
approval; 2 wrong usage, or no checkout of a fleet.`,
		Example: `  orpheus promote web
  orpheus promote shop/web --step 1
  orpheus promote web --dry-run              # show the change, make no commit
  orpheus promote web --repository https://git.example.com/team/fleet.git`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeManifestServices(&o),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.pushGiven = cmd.Flags().Changed("push")
			if err := o.check(); err != nil {
				return usageError(err)
			}
			id, err := parseService(args[0])
			if err != nil {
				return usageError(err)
			}
			if cmd.Flags().Changed("step") && step < 1 {
				return usageError(fmt.Errorf("--step %d: steps count from 1", step))
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return e.promote(ctx, id, step, o)
		},
	}
	o.addFlags(cmd)
	cmd.Flags().IntVar(&step, "step", 0, "only up to this step, counted from 1")
	_ = cmd.RegisterFlagCompletionFunc("step", cobra.NoFileCompletions) // fails only for a flag that does not exist
	return cmd
}

// completeManifestServices offers the services of the checkout.
func completeManifestServices(o *nodeOptions) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || o.repository != "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return manifestServices(cmd.Context(), recordOptions{directory: o.directory, path: o.path}), cobra.ShellCompDirectiveNoFileComp
	}
}

func (e *env) promote(ctx context.Context, id planner.ServiceID, step int, o nodeOptions) error {
	if err := e.promotable(ctx, id, o); err != nil {
		return err
	}
	return e.changeRepo(ctx, repoChange{
		subject: "promote " + id.String(),
		already: id.String() + " is promoted already",
		plan: func(ctx context.Context, fsys fs.FS, folder string) (*fileChange, error) {
			return changePromoted(ctx, fsys, folder, id, step)
		},
	}, o)
}

// promotable refuses a service of which the records, where they can be read,
// say that nothing will wait for approval.
func (e *env) promotable(ctx context.Context, id planner.ServiceID, o nodeOptions) error {
	book, place, err := e.readRollouts(ctx, recordOptions{directory: o.directory, path: o.path, repository: o.repository, branch: o.branch}, 1)
	if err != nil {
		return nil // there are none, or the change will say what is wrong here
	}
	defer book.store.close()
	s, known := place.desired.Services[id]
	doc := book.view.Docs[id].Doc
	switch {
	case !known:
	case slices.Contains(doc.Blocked, s.Revision):
		return fmt.Errorf("revision %s of %s has failed and is not tried again: %s; \"orpheus why %s\" says what to do", s.Revision.Short(), id, doc.BlockedWhy, id)
	case doc.LastGood == s.Revision && len(s.Update.Steps) > 0:
		return fmt.Errorf("revision %s of %s is rolled out already: nothing waits for approval", s.Revision.Short(), id)
	}
	return nil
}
