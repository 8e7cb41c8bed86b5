package reach

import (
	"context"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// A connection that waits for the first answer of a target tries again and
// again, and is led where its first try was: also after connections are led
// there no more. It has to be let go to be led elsewhere.
const (
	// letGoTimes is how often that is done for one target, letGoEvery apart. Once
	// is not enough: what was on its way when the target was taken out is not
	// among the connections yet.
	letGoTimes = 3
	letGoEvery = 400 * time.Millisecond
	// maxDeparted bounds the targets that connections are being let go from.
	maxDeparted = 8192
)

// departure is a target that connections are led to no more.
type departure struct {
	next time.Time // when waiting connections are let go
	left int       // how often they still are
	// held says that the balancer still holds an ejection against the target.
	held bool
}

// depart has connections that wait for the endpoint let go, first at the time.
// The lock must be held.
func (w *Watch) depart(f flow, first time.Time, held bool) {
	if len(w.departed) < maxDeparted || w.departed[f] != nil {
		w.departed[f] = &departure{next: first, left: letGoTimes, held: held}
	}
}

// left notes endpoints that are watched no more. Those that were led to until
// now may have answers on the way: they have as long as a suspect. An ejection
// is held until the balancing without the endpoint stands for sure: before,
// connections would be led there again. The lock must be held.
func (w *Watch) left(gone []*endpoint, now time.Time) {
	for _, e := range gone {
		if w.judge.flows[e.flow()] == nil {
			w.depart(e.flow(), now.Add(patience), e.ejection != nil)
		} else if e.ejection != nil {
			nudge(w.change) // nothing is held against what has its place
		}
	}
	for f, d := range w.departed {
		if e := w.judge.flows[f]; e != nil && e.ejection == nil {
			delete(w.departed, f)
			if d.held {
				nudge(w.change)
			}
		}
	}
	if len(w.departed) > 0 {
		nudge(w.gone)
	}
}

// letGo lets go what is due, and says when the next is; zero = nothing is.
func (w *Watch) letGo(ctx context.Context) (next time.Time) {
	now := time.Now()
	var targets []runtime.Target
	w.mu.Lock()
	for f, d := range w.departed {
		if !d.next.After(now) {
			targets = append(targets, f.target)
			d.next = now.Add(letGoEvery)
			if d.left--; d.left == 0 {
				delete(w.departed, f)
				if d.held {
					nudge(w.change)
				}
				continue
			}
		}
		if next.IsZero() || d.next.Before(next) {
			next = d.next
		}
	}
	w.mu.Unlock()
	if len(targets) == 0 {
		return next
	}
	if err := w.cfg.Balancer.Forget(ctx, targets); err != nil && ctx.Err() == nil {
		w.cfg.Log.Warn("connections that wait for what does not answer are not led elsewhere", "err", err)
	}
	return next
}
