package fleettest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// trace is what happened, a line per event. Bulk runs keep none: a seed that
// fails is run again with it.
type trace struct {
	on    bool
	lines []string
}

// say adds a line to the trace. Its arguments are looked at only if there is
// one.
func (w *World) say(node planner.NodeName, format string, args ...any) {
	if !w.trace.on {
		return
	}
	if node == "" {
		node = "-"
	}
	w.trace.lines = append(w.trace.lines, fmt.Sprintf("%s %s: %s", stamp(w.now), node, fmt.Sprintf(format, args...)))
}

// stamp is an instant as traces show it: seconds and milliseconds.
func stamp(t time.Duration) string { return fmt.Sprintf("%10.3f", t.Seconds()) }

// Trace is what happened so far.
func (w *World) Trace() []string { return w.trace.lines }

// Tail is the end of the trace.
func (w *World) Tail(n int) string {
	return strings.Join(w.trace.lines[max(0, len(w.trace.lines)-n):], "\n")
}

// logger writes a member's log into the trace.
func (w *World) logger(node planner.NodeName) *slog.Logger {
	if !w.trace.on {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(handler{w, node})
}

type handler struct {
	w    *World
	node planner.NodeName
}

func (h handler) Enabled(context.Context, slog.Level) bool { return true }
func (h handler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h handler) WithGroup(string) slog.Handler            { return h }
func (h handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	h.w.say(h.node, "%s", b.String())
	return nil
}
