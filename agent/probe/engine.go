package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Config is what an engine is made of.
type Config struct {
	Dir   string               // folder of its own, made if it is missing
	Clock func() time.Duration // boot time
	Log   *slog.Logger
	// Changed is called whenever something was found that was not known before;
	// Trouble with what keeps the engine from writing it down, nil once it can
	// again. They may be called from any goroutine and must not block.
	Changed func()
	Trouble func(error)
}

// Engine probes containers. Make it with New and run it once.
type Engine struct {
	cfg    Config
	began  time.Duration // boot time at which it was made
	checks gate          // connections
	execs  gate          // commands: they cost more
	check  func(context.Context, Target, *planner.Probe) outcome
	random func() float64 // in [0,1)
	dirty  chan struct{}

	mu      sync.Mutex
	ctx     context.Context // of Run; nil = it does not run
	workers sync.WaitGroup
	watched map[key]*watch
	stored  map[string]file // by instance: what an earlier engine left
	unsaved map[string]bool // instances whose file is out of date
}

// key names a container.
type key struct{ instance, container string }

// watch is one followed container.
type watch struct {
	target  Target
	found   Found
	freed   time.Duration // when its startup probe succeeded, in this process
	workers map[planner.ProbeKind]*worker
	times   map[planner.ProbeKind]planner.CheckTimes
	ctx     context.Context // of its workers; ends when it is idle or gone
	cancel  context.CancelFunc
}

// New makes an engine and reads what an earlier one left in its folder. An
// error beside an engine says what could not be read: those containers begin
// anew.
func New(cfg Config) (*Engine, error) {
	e := &Engine{
		cfg: cfg, began: cfg.Clock(), checks: newGate(64), execs: newGate(8), check: Check, random: rand.Float64,
		dirty: make(chan struct{}, 1), watched: map[key]*watch{}, stored: map[string]file{}, unsaved: map[string]bool{},
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return e, fmt.Errorf("make the folder of probes: %w", err)
	}
	return e, readFiles(cfg.Dir, e.stored)
}

// Run makes checks until ctx ends and all that were begun have ended; what was
// found is on disk then.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.mu.Lock()
	if e.ctx != nil {
		e.mu.Unlock()
		return errors.New("probe engine runs already")
	}
	e.ctx = ctx
	for _, w := range e.watched {
		e.spur(w)
	}
	e.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			e.workers.Wait()
			e.save()
			return nil
		case <-e.dirty:
			e.save()
		}
	}
}

// Follow makes these the containers that are probed. One that is known goes
// on, another run of it begins anew.
func (e *Engine) Follow(targets []Target) {
	e.mu.Lock()
	defer e.mu.Unlock()
	named := map[key]bool{}
	for _, t := range targets {
		k := key{t.Instance, t.Container.Name}
		named[k] = true
		w := e.watched[k]
		if w != nil && w.target.Run != t.Run {
			w.cancel()
			w = nil
		}
		if w == nil {
			w = e.newWatch(k, t)
			e.watched[k] = w
		}
		if w.target.Idle != t.Idle || w.target.Place.NetNS != t.Place.NetNS || w.target.Place.Address != t.Place.Address {
			w.cancel() // its workers begin anew, in their own time
			w.ctx, w.cancel, w.workers = nil, func() {}, map[planner.ProbeKind]*worker{}
		}
		w.target = t
		e.spur(w)
	}
	for k, w := range e.watched {
		if !named[k] {
			w.cancel()
			e.keep(k, w)
			delete(e.watched, k)
		}
	}
}

// keep remembers what was found of a container that is not followed any more,
// for the case that it is listed again.
func (e *Engine) keep(k key, w *watch) {
	f, ok := e.stored[k.instance]
	if !ok {
		f = file{Format: fileFormat, Containers: map[string]stored{}}
		e.stored[k.instance] = f
	}
	f.Containers[k.container] = stored{Run: w.target.Run, Found: w.found}
}

// newWatch begins with what is known of this run of the container.
func (e *Engine) newWatch(k key, t Target) *watch {
	w := &watch{
		target: t, cancel: func() {}, workers: map[planner.ProbeKind]*worker{},
		times: map[planner.ProbeKind]planner.CheckTimes{},
	}
	if c, ok := e.stored[k.instance].Containers[k.container]; ok && c.Run == t.Run {
		w.found = c.Found
	}
	return w
}

// Found returns what is known of a run of a container; nothing is known of one
// that was never followed. Its maps must not be changed.
func (e *Engine) Found(instance, container, run string) Found {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.watched[key{instance, container}]; w != nil {
		if w.target.Run == run {
			return w.found
		}
	} else if c := e.stored[instance].Containers[container]; c.Run == run {
		return c.Found
	}
	return Found{}
}

// Forget drops what is known of all instances that are not in live.
func (e *Engine) Forget(live map[string]bool) error {
	e.mu.Lock()
	for id := range e.stored {
		if !live[id] {
			delete(e.stored, id)
		}
	}
	e.mu.Unlock()
	return removeFiles(e.cfg.Dir, live)
}

// spur begins a worker for each probe that is to be checked and has none. The
// lock is held.
func (e *Engine) spur(w *watch) {
	if e.ctx == nil || e.ctx.Err() != nil || w.target.Idle {
		return
	}
	for _, kind := range planner.ProbeKinds {
		if w.workers[kind] != nil || !w.found.Checked(w.target.Container, kind) {
			continue
		}
		if w.ctx == nil {
			w.ctx, w.cancel = context.WithCancel(e.ctx)
		}
		work := &worker{engine: e, watch: w, ctx: w.ctx, kind: kind, target: w.target, probe: w.target.Container.Probe(kind)}
		work.offset = e.offset(w, kind)
		w.workers[kind] = work
		e.workers.Go(work.run)
	}
}

// maxJitter keeps containers that started together from being checked together
// for ever.
const maxJitter = 100 * time.Millisecond

// offset is how much later than due a probe's first check in this process
// comes. After a restart of the agent checks are spread over a whole period:
// all containers would be due at once.
func (e *Engine) offset(w *watch, kind planner.ProbeKind) time.Duration {
	if w.times[kind].Begun != 0 {
		return 0 // it has its own time already
	}
	period := w.target.Container.Probe(kind).Period()
	if w.target.Started < e.began && w.freed == 0 {
		now := e.cfg.Clock()
		first := w.target.Container.Probe(kind).NextCheck(planner.CheckTimes{Started: w.target.Started})
		return max(0, now-first) + time.Duration(e.random()*float64(period))
	}
	return time.Duration(e.random() * float64(min(period, maxJitter)))
}

// note lays the outcome of a check on what was found before, and reports
// whether the worker goes on.
func (e *Engine) note(work *worker, out outcome, times planner.CheckTimes) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	w, kind := work.watch, work.kind
	if work.ctx.Err() != nil || w.workers[kind] != work {
		return false // another took its place meanwhile
	}
	w.times[kind] = times
	before, said := w.found.ContainerHealth, w.found.Said[kind]
	w.found.ContainerHealth = before.After(w.target.Container, kind, out.result)
	w.found.Said = with(w.found.Said, kind, out.said)
	w.found.Wrote = with(w.found.Wrote, kind, out.wrote)
	if w.found.ContainerHealth != before {
		e.unsaved[w.target.Instance] = true
		e.log(w, kind, before, out)
	}
	if w.found.ContainerHealth != before || out.said != said {
		select {
		case e.dirty <- struct{}{}:
		default:
		}
		e.cfg.Changed()
	}
	if kind == planner.ProbeStartup && w.found.Started(w.target.Container) {
		w.freed = e.cfg.Clock()
	}
	e.spur(w)
	if !w.found.Checked(w.target.Container, kind) {
		delete(w.workers, kind)
		return false
	}
	return true
}

// with is texts with another text for a kind; "" = none. What was there before
// may be in other hands, and is not changed.
func with(texts map[planner.ProbeKind]string, kind planner.ProbeKind, text string) map[planner.ProbeKind]string {
	if texts[kind] == text {
		return texts
	}
	next := map[planner.ProbeKind]string{}
	maps.Copy(next, texts)
	next[kind] = text
	if text == "" {
		delete(next, kind)
	}
	return next
}

// log tells of verdicts, not of every check.
func (e *Engine) log(w *watch, kind planner.ProbeKind, before planner.ContainerHealth, out outcome) {
	t := w.target
	about := []any{"instance", t.Instance, "container", t.Container.Name, "probe", string(kind), "check", t.Container.Probe(kind).String()}
	switch now, was := w.found.Of(kind), before.Of(kind); {
	case now.Verdict == was.Verdict:
		e.cfg.Log.Debug("check", append(about, "result", string(out.result), "reason", out.said)...)
	case now.Verdict == planner.CheckFailure:
		e.cfg.Log.Warn("probe fails", append(about, "reason", out.said, "failures", now.InARow)...)
	default:
		e.cfg.Log.Info("probe succeeds", about...)
	}
}
