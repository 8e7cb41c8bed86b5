package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
)

func newEventsCommand(e *env) *cobra.Command {
	var tail int
	var since time.Duration
	var follow bool
	var output string
	cmd := &cobra.Command{
		Use:   "events [SERVICE|SLOT]",
		Short: "Show what happened on this node, and why",
		Long: `Show what happened on this node, oldest first: what was started, stopped and
restarted and for what reason, commits that were taken or refused, images that
could not be pulled, orders of people. With a SERVICE (NAME or NAMESPACE/NAME) or
SLOT (NAME-0) only what is about it. The node keeps the last few thousand, also
across restarts of the agent; they are the lines of the agent's log.`,
		Example: `  orpheus events
  orpheus events web --since 1h
  orpheus events web-0 -f -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeServices(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < 0 || since < 0 {
				return usageError(fmt.Errorf("--tail and --since cannot be negative"))
			}
			req := api.EventRequest{Tail: -1, Follow: follow}
			if len(args) > 0 {
				req.Target = args[0]
			}
			if cmd.Flags().Changed("tail") {
				req.Tail = tail
			}
			if since > 0 {
				req.Since = time.Now().Add(-since)
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
				if output == "json" {
					return writeJSON(e.stdout, ev, true)
				}
				s := e.newScreen()
				drawEvent(s, ev)
				return s.writeTo(e.stdout)
			})
			if err != nil {
				return e.explainAgent(err)
			}
			if !any && output == "text" && ctx.Err() == nil {
				return e.noEvents(cmd, req.Target)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	cmd.Flags().IntVarP(&tail, "tail", "n", 0, "only so many of the last `events`; all that are kept if not given")
	cmd.Flags().DurationVar(&since, "since", 0, "only those of the last `time`, such as 1h")
	addOutputFlag(cmd, &output, "text", "json")
	return cmd
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
