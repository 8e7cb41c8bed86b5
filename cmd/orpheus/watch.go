package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// watchInterval is how often the agent is asked. An answer that has not
// changed costs it nothing.
const watchInterval = time.Second

// watch shows the status until ctx ends. An agent that goes away is waited
// for, once it has answered.
func (v statusView) watch(ctx context.Context, client *api.Client) error {
	terminal := isTerminal(v.stdout) && !v.json
	if terminal {
		// Make room first, so that what was on the screen is scrolled up and
		// not lost.
		f := v.stdout.(*os.File)
		_, lines := terminalSize(f)
		fmt.Fprint(v.stdout, strings.Repeat("\n", lines), "\x1b[?25l")
		defer fmt.Fprint(v.stdout, "\x1b[?25h")
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var last *api.Status
	shown := ""
	for {
		st, err := client.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if st, err = v.narrow(knowElsewhere(ctx, client, st, v.service)); err != nil && last == nil {
				return err
			}
		case last == nil:
			return v.explainAgent(err)
		}
		if err == nil {
			last = st
		}
		switch {
		case terminal:
			v.redraw(last, err)
		case v.change(&shown, last, err):
			if err := v.append(last, err); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// redraw overwrites the screen line by line, which does not flicker, and
// leaves out what does not fit.
func (v statusView) redraw(st *api.Status, problem error) {
	s := v.render(st)
	if problem != nil {
		top := &screen{width: s.width, colours: s.colours}
		top.prose("", plain, red, problem.Error())
		s.lines = append(append(top.lines, ""), s.lines...)
	}
	if f, ok := v.stdout.(*os.File); ok {
		if _, lines := terminalSize(f); lines > 2 && len(s.lines) > lines-1 {
			hidden := len(s.lines) - (lines - 2)
			s.lines = append(s.lines[:lines-2], s.paint(dim, fmt.Sprintf("… %d more lines: enlarge the window, or name a service", hidden)))
		}
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for _, l := range s.lines {
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	_, _ = io.WriteString(v.stdout, b.String())
}

// change reports whether there is something new to print. When the repository
// was last read is no news.
func (v statusView) change(shown *string, st *api.Status, problem error) bool {
	quiet := *st
	quiet.Repository.LastRead = time.Time{}
	text, err := json.Marshal(quiet)
	if err != nil {
		return true
	}
	now := string(text)
	if problem != nil {
		now += problem.Error()
	}
	changed := now != *shown
	*shown = now
	return changed
}

// append prints a new block.
func (v statusView) append(st *api.Status, problem error) error {
	if v.json {
		if problem != nil {
			return nil // the next document comes with the agent
		}
		return writeJSON(v.stdout, st, true)
	}
	if _, err := fmt.Fprintf(v.stdout, "--- %s\n", v.now().Format(time.RFC3339)); err != nil {
		return err
	}
	if problem != nil {
		_, err := fmt.Fprintln(v.stdout, manifest.Printable(problem.Error()))
		return err
	}
	return v.render(st).writeTo(v.stdout)
}
