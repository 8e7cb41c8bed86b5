package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// restartCommitFlags are those that only make sense of a commit.
var restartCommitFlags = []string{"directory", "path", "message", "push", "no-push", "dry-run", "repository", "branch"}

func newRestartCommand(e *env) *cobra.Command {
	var o nodeOptions
	var pull bool
	cmd := &cobra.Command{
		Use:   "restart SERVICE",
		Short: "Replace the instances of a service by new ones, one after the other",
		Long: `Replace the instances of a service one after the other, as an update does: the
new one is ready before the old one goes, where both may run at once.

They run the images they have run before. With --pull they run what the tags of
the images stand for now.

In a fleet it is a commit, which sets metadata.annotations[` + restartedAt + `]
of the service in the checkout you are in (in a Compose file: a label of that
name), and is made, shown and pushed as by "orpheus drain". On a machine whose node stands alone (coordination: none) the
agent does it by itself, without Git, and goes on with it after a restart; that
lasts until the manifest asks for another revision. Flags of commits make it a
commit there too.

Exit codes: 0 done, or on its way; 1 it did not work; 2 wrong usage, or neither
an agent nor a checkout.`,
		Example: `  orpheus restart web
  orpheus restart web --pull                 # and run what its tags stand for now
  orpheus restart web --dry-run              # show the change, make no commit
  orpheus restart shop/web --repository https://git.example.com/team/fleet.git`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeServices(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.pushGiven = cmd.Flags().Changed("push")
			if err := o.check(); err != nil {
				return usageError(err)
			}
			id, err := parseService(args[0])
			if err != nil {
				return usageError(err)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			for _, name := range restartCommitFlags {
				if cmd.Flags().Changed(name) {
					return e.changeRepo(ctx, restartChange(id, pull, e.now()), o)
				}
			}
			return e.restart(ctx, id, pull, o)
		},
	}
	o.addFlags(cmd)
	cmd.Flags().BoolVar(&pull, "pull", false, "resolve the tags of its images anew")
	return cmd
}

// parseService reads the name of a service as people write it.
func parseService(text string) (planner.ServiceID, error) {
	namespace, name, found := strings.Cut(text, "/")
	if !found {
		namespace, name = planner.DefaultNamespace, text
	}
	if !nodeLabel.MatchString(namespace) || !nodeLabel.MatchString(name) {
		return planner.ServiceID{}, fmt.Errorf("%q is no name of a service: write NAME or NAMESPACE/NAME", text)
	}
	return planner.ServiceID{Namespace: namespace, Name: name}, nil
}

// restartChange is the commit that restarts a service.
func restartChange(id planner.ServiceID, pull bool, now time.Time) repoChange {
	value, images := now.UTC().Format(time.RFC3339), "the images they run"
	if pull {
		value, images = value+planner.RestartPull, "what the tags of their images stand for then"
	}
	return repoChange{
		subject: "restart " + id.String(),
		body:    fmt.Sprintf("The instances of %s are replaced one after the other, with\n%s.", id, images),
		already: id.String() + " was restarted this very second",
		plan: func(ctx context.Context, fsys fs.FS, folder string) (*fileChange, error) {
			change, err := changeRestart(ctx, fsys, folder, id, value)
			if err == nil && string(change.before) == string(change.after) {
				return nil, nil
			}
			return change, err
		},
	}
}

// restart has the agent here do it if its node stands alone, else makes the
// commit.
func (e *env) restart(ctx context.Context, id planner.ServiceID, pull bool, o nodeOptions) error {
	client, alone, fault := e.aloneHere(ctx)
	if fault == nil {
		defer client.Close()
	}
	if !alone {
		err := e.changeRepo(ctx, restartChange(id, pull, e.now()), o)
		if errors.Is(err, errNoCheckout) && fault != nil {
			return fmt.Errorf("%w\nnor does an agent answer here: %w", err, fault)
		}
		return err
	}
	done, err := client.Restart(ctx, api.RestartRequest{Service: id.String(), Pull: pull, By: caller()})
	if err != nil {
		return e.explainAgent(err)
	}
	return e.sayRestart(done)
}

// aloneHere reports whether an agent answers here whose node stands alone. The
// error says why none does; without one the client is to be closed.
func (e *env) aloneHere(ctx context.Context) (*api.Client, bool, error) {
	client, err := e.client()
	if err != nil {
		return nil, false, err
	}
	st, err := client.Status(ctx)
	if err != nil {
		client.Close()
		return nil, false, e.explainAgent(err)
	}
	return client, st.Fleet == nil, nil
}

func (e *env) sayRestart(done api.Restart) error {
	s := e.newScreen()
	for _, i := range done.Images {
		switch i.Before {
		case i.After:
			s.prose("", plain, plain, i.Image+" is what it was, "+i.After)
		case "":
			s.prose("", plain, plain, i.Image+" is "+i.After)
		default:
			s.prose("", plain, plain, i.Image+" was "+i.Before+" and is "+i.After)
		}
	}
	what := "its instance is replaced"
	if done.Slots > 1 {
		what = fmt.Sprintf("its %d instances are replaced one after the other", done.Slots)
	}
	s.prose("", plain, plain, done.Service+" restarts: "+what+", as revision "+done.Revision.Short())
	s.prose("", plain, dim, "To see how it goes: orpheus status "+done.Service+" --watch")
	return s.writeTo(e.stdout)
}
