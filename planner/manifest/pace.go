package manifest

import (
	"fmt"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// reschedule is spec.reschedule as written.
type reschedule struct {
	failures *int64
	within   int // seconds; 0 = not given
}

var rescheduleSchema = newSchema(
	optional("failures", 0, maxFailures, func(r *reschedule) **int64 { return &r.failures }),
	number("withinSeconds", 1, maxSeconds, func(r *reschedule) *int { return &r.within }),
).foreign(rescheduleHabits...).like("{failures: 5, withinSeconds: 300}")

// reschedule gives defaults their zero value.
func (w *writtenService) reschedule() planner.Reschedule {
	r := w.spec.reschedule
	out := planner.Reschedule{Within: time.Duration(r.within) * time.Second}
	if r.failures != nil {
		out.Failures, out.Never = int(*r.failures), *r.failures == 0
	}
	if out.Never && r.within > 0 {
		w.d.warn("spec.reschedule.withinSeconds", "means nothing beside failures: 0", "remove it")
		out.Within = 0
	}
	defaults := planner.Reschedule{}.WithDefaults()
	zeroIf(&out.Failures, defaults.Failures)
	zeroIf(&out.Within, defaults.Within)
	return out
}

// deadlines returns how long an instance must have been ready to be available,
// and how long it may take to that; the default is zero. As in Kubernetes the
// latter must be more.
func (w *writtenService) deadlines() (minReady, deadline time.Duration) {
	minReady, deadline = time.Duration(w.spec.minReady)*time.Second, planner.DefaultProgressDeadline
	if w.spec.deadline > 0 {
		deadline = time.Duration(w.spec.deadline) * time.Second
		if deadline <= minReady {
			w.d.fault("spec.progressDeadlineSeconds", fmt.Sprintf("must be more than minReadySeconds, %d", w.spec.minReady), "raise it, or lower minReadySeconds")
		}
	} else if deadline <= minReady {
		w.d.fault("spec.minReadySeconds", fmt.Sprintf("must be less than progressDeadlineSeconds, by default %d", deadline/time.Second), "lower it, or add progressDeadlineSeconds")
	}
	zeroIf(&deadline, planner.DefaultProgressDeadline)
	return minReady, deadline
}
