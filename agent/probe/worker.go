package probe

import (
	"context"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// worker makes the checks of one probe, one at a time.
type worker struct {
	engine *Engine
	watch  *watch
	ctx    context.Context
	kind   planner.ProbeKind
	target Target
	probe  *planner.Probe
	offset time.Duration // of the first check
}

// run makes checks when they are due until there is nothing to check any more.
func (w *worker) run() {
	e := w.engine
	e.mu.Lock()
	times := w.watch.times[w.kind]
	times.Started, times.Freed = w.target.Started, w.watch.freed
	if times.Begun == 0 {
		// A container that started before this process has had its time.
		times.Hasty = w.kind != planner.ProbeLiveness && (w.target.Started >= e.began || w.watch.freed != 0)
	}
	e.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		// Timers only wake it: they stand still while the machine is suspended.
		if left := w.probe.NextCheck(times) + w.offset - e.cfg.Clock(); left > 0 {
			timer.Reset(left)
			select {
			case <-timer.C:
			case <-w.ctx.Done():
				return
			}
			continue
		}
		out, begun, ok := w.checkOnce()
		if !ok {
			return
		}
		var counts bool
		times, counts = w.probe.Checked(times, begun, e.cfg.Clock(), out.result)
		w.offset = 0
		if !counts {
			out.result = planner.CheckUnknown
		}
		if !e.note(w, out, times) {
			return
		}
	}
}

// checkOnce makes one check when its turn has come; false = nobody waits for
// it any more.
func (w *worker) checkOnce() (out outcome, begun time.Duration, ok bool) {
	through := w.engine.checks
	if w.probe.Exec != nil {
		through = w.engine.execs
	}
	leave, err := through.enter(w.ctx)
	if err != nil {
		return outcome{}, 0, false
	}
	defer leave()
	begun = w.engine.cfg.Clock()
	out = w.engine.check(w.ctx, w.target, w.probe)
	return out, begun, w.ctx.Err() == nil
}
