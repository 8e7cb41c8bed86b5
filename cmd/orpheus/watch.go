package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

const (
	// watchAgent is how often an agent is asked. An answer that has not changed
	// costs it nothing.
	watchAgent = time.Second
	// watchRecords is how often records are fetched: as often as agents do.
	watchRecords = 5 * time.Second
)

// view is something that a verb has found out, in the forms it can be shown in.
type view struct {
	draw  func(*screen)
	value any // for -o json
	// news is what makes it worth showing again where one block follows the
	// other, by its JSON; nil = value.
	news any
}

// show prints a view once.
func (e *env) show(v *view, asJSON bool) error {
	if asJSON {
		return writeJSON(e.stdout, v.value, false)
	}
	return e.drawn(v).writeTo(e.stdout)
}

// drawn draws a view for where it goes to: cut to a terminal's width, whole in a
// pipe.
func (e *env) drawn(v *view) *screen {
	s := e.newScreen()
	v.draw(s)
	return s
}

// watch shows what look finds until the user interrupts it: in place on a terminal,
// else as a new block, or as a document on a line of its own, whenever there is
// news. Only the first look has to work; while later ones do not, what is wrong is
// shown with what was found last.
func (e *env) watch(ctx context.Context, every time.Duration, asJSON bool, look func(context.Context) (*view, error)) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	w := watcher{env: e, json: asJSON}
	v, err := look(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	w.last = v
	if f, ok := e.stdout.(*os.File); ok && !asJSON && terminal.CanMove(f) {
		if w.live, err = terminal.Start(f); err != nil {
			return err
		}
	}
	err = w.run(ctx, every, look)
	if w.live == nil {
		return err
	}
	// What was seen last stays: somebody may want to copy it.
	if endErr := w.live.End(e.drawn(w.last).lines); err == nil {
		err = endErr
	}
	return err
}

// watcher shows a view anew.
type watcher struct {
	*env
	json    bool
	live    *terminal.Live // nil = blocks are appended
	last    *view
	problem error  // of the last look
	shown   string // what the last block was about
}

// looked is what one look found.
type looked struct {
	view *view
	err  error
}

// run shows the first view, and then what each look finds. A look may take its
// time; meanwhile the screen follows the size of its window.
func (w *watcher) run(ctx context.Context, every time.Duration, look func(context.Context) (*view, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	var resized <-chan os.Signal
	if w.live != nil {
		resized = w.live.Resized()
	}
	found := make(chan looked, 1)
	var looking sync.WaitGroup
	defer func() { cancel(); looking.Wait() }()
	next := time.NewTimer(every)
	defer next.Stop()
	for {
		if err := w.showNews(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
		case <-next.C:
			looking.Go(func() {
				v, err := look(ctx)
				found <- looked{v, err}
			})
		case f := <-found:
			if ctx.Err() != nil {
				return nil
			}
			if w.problem = f.err; f.err == nil {
				w.last = f.view
			}
			next.Reset(every)
		}
	}
}

// showNews draws in place, or appends a block if there is news.
func (w *watcher) showNews() error {
	if w.live != nil {
		return w.live.Show(w.frame(), func(hidden int) string {
			s := w.newScreen()
			s.prose("", plain, dim, fmt.Sprintf("… %d more lines: enlarge the window, or name a service", hidden))
			return s.lines[0]
		})
	}
	if !w.changed() {
		return nil
	}
	return w.append()
}

// frame is what stands on the terminal now.
func (w *watcher) frame() []string {
	s := w.newScreen()
	if w.problem != nil {
		s.prose("", plain, red, w.problem.Error())
		s.blank()
	}
	w.last.draw(s)
	return s.lines
}

// changed reports whether there is something new to print.
func (w *watcher) changed() bool {
	about := w.last.news
	if about == nil {
		about = w.last.value
	}
	text, err := json.Marshal(about)
	if err != nil {
		return true
	}
	now := string(text)
	if w.problem != nil {
		now += w.problem.Error()
	}
	changed := now != w.shown
	w.shown = now
	return changed
}

// append prints a new block.
func (w *watcher) append() error {
	if w.json {
		if w.problem != nil {
			return nil // the next document comes when it works again
		}
		return writeJSON(w.stdout, w.last.value, true)
	}
	if _, err := fmt.Fprintf(w.stdout, "--- %s\n", w.now().Format(time.RFC3339)); err != nil {
		return err
	}
	if w.problem != nil {
		_, err := fmt.Fprintln(w.stdout, manifest.Printable(w.problem.Error()))
		return err
	}
	return w.drawn(w.last).writeTo(w.stdout)
}
