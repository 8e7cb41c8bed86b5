package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
)

// eventOptions are the flags of events.
type eventOptions struct {
	remoteOptions
	tail   int
	since  time.Duration
	follow bool
}

func newEventsCommand(e *env) *cobra.Command {
	var o eventOptions
	cmd := &cobra.Command{
		Use:   "events [SERVICE|SLOT]",
		Short: "Show what happened on this node, and why",
		Long: `Show what happened on this node, oldest first: what was started, stopped and
restarted and for what reason, commits that were taken or refused, images that
could not be pulled, orders of people. With a SERVICE (NAME or NAMESPACE/NAME) or
SLOT (NAME-0) only what is about it. The node keeps the last few thousand, also
across restarts of the agent; they are the lines of the agent's log.

Where no agent answers, in a checkout of a fleet's repository, it shows what the
fleet's records tell: what was decided about services and nodes, and by whom, the
last twenty of each if --tail does not say otherwise. With -C, --path,
--repository, --records or --config it does so in any case.
` + viaHelp + `
The last hundred of each node are shown, if neither --tail nor --since says
otherwise, ordered by the nodes' clocks; where a node is not reached also what was
decided, and it ends with 1.`,
		Example: `  orpheus events
  orpheus events web --since 1h
  orpheus events web-0 -f -o json
  orpheus events -C ~/fleet     # what the fleet decided, from its records
  orpheus events -f --via ssh   # of all nodes`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeServices(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			target := ""
			if len(args) > 0 {
				target = args[0]
			}
			return e.events(cmd, o, target)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what happens from now on")
	f.IntVarP(&o.tail, "tail", "n", 0, "only so many of the last `events`; all that are kept if not given")
	f.DurationVar(&o.since, "since", 0, "only those of the last `time`, such as 1h")
	o.addFlags(e, cmd)
	o.addViaFlags(cmd)
	return cmd
}

// events prints what happened on this node, or what records tell.
func (e *env) events(cmd *cobra.Command, o eventOptions, target string) error {
	if err := errors.Join(o.check(e, cmd), o.checkVia(cmd)); err != nil {
		return usageError(err)
	}
	if o.tail < 0 || o.since < 0 {
		return usageError(errors.New("--tail and --since cannot be negative"))
	}
	if !o.viaAsked() && fromRecords(cmd) {
		return e.recordedEvents(cmd, o, target, nil)
	}
	req := api.EventRequest{Target: target, Tail: -1, Follow: o.follow}
	if cmd.Flags().Changed("tail") {
		req.Tail = o.tail
	}
	if o.since > 0 {
		req.Since = e.now().Add(-o.since)
	}
	if o.viaAsked() {
		return withInterrupt(cmd.Context(), func(ctx context.Context) error { return e.eventsVia(ctx, o, target, req) })
	}
	client, err := e.client()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	any := false
	err = client.Events(ctx, req, func(ev event.Event) error {
		any = true
		return e.printEvent(ev, o.output == "json")
	})
	switch {
	case err != nil && !any && e.mayReadRecords(cmd, err) == nil:
		return e.recordedEvents(cmd, o, target, e.explainAgent(err))
	case err != nil:
		return e.explainAgent(err)
	case !any && o.output == "text" && ctx.Err() == nil:
		return e.noEvents(cmd, target)
	}
	return nil
}

func (e *env) printEvent(ev event.Event, asJSON bool) error {
	if asJSON {
		return writeJSON(e.stdout, ev, true)
	}
	s := e.newScreen()
	drawEvent(s, ev)
	return s.writeTo(e.stdout)
}

// noEvents tells a name that nobody knows from one that nothing happened to.
func (e *env) noEvents(cmd *cobra.Command, target string) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	defer client.Close()
	if target != "" {
		st, err := client.Status(cmd.Context())
		if err != nil {
			return e.explainAgent(err)
		}
		if _, _, err := resolveAnywhere(knowElsewhere(cmd.Context(), client, st, target), target); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(e.stdout, "Nothing happened on this node.")
	return err
}

// drawEvent draws one event: when, what about, and why.
func drawEvent(s *screen, e event.Event) {
	c := plain
	switch e.Level {
	case "warn":
		c = yellow
	case "error":
		c = red
	}
	s.prose(e.At.Local().Format("2006-01-02 15:04:05")+"  ", dim, c, describeEvent(e))
}

func describeEvent(e event.Event) string {
	var parts []string
	about := e.Slot
	if about == "" {
		about = e.Service
	}
	if about != "" {
		parts = append(parts, about)
	}
	what := e.What
	if e.Action != "" {
		what = strings.TrimPrefix(what, "action") // "action", "action failed"
		what = strings.TrimSpace(e.Action + what)
	}
	parts = append(parts, what)
	text := strings.Join(parts, " ")
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if len(e.Detail) > 0 {
		text += " (" + strings.Join(e.Detail, ", ") + ")"
	}
	return text
}
