package agent

import (
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
)

// countLapse judges an instance that was available once under its lease: the
// time since then counts like that of the deadline, of which it has as much. What
// it has lapsed for stays as it was, as why it is given up does.
func (a *Agent) countLapse(s planner.Service, l planner.Lease, t *term, i planner.Instance, covered bool) {
	if !t.counts() || t.spent < t.limit {
		return
	}
	t.lapsed = a.whyLapsed(s, l, t, i, covered)
	a.log.Warn("instance has not been ready for long", "slot", t.slot, "revision", l.Revision.Short(), "reason", t.lapsed)
}

// whyLapsed says for how long it was not available, and what it lacks now.
func (a *Agent) whyLapsed(s planner.Service, l planner.Lease, t *term, i planner.Instance, covered bool) string {
	what := fmt.Sprintf("has not been ready for %v", t.limit)
	if s.MinReady > 0 {
		what = fmt.Sprintf("has not been ready for %v without a break for %v", s.MinReady, t.limit)
	}
	if why := a.lacking(l, t, i, covered); why != "" {
		what += ": " + why
	}
	return shortened(what)
}

// lapses is why the instance holds up a rollout; "" = it does not. As with what
// is given up, that is not told while people want it left alone.
func (t *term) lapses() string {
	if t.available || t.left {
		return ""
	}
	return t.lapsed
}

// lapsed says why the instance of a lease holds up a rollout; "" = it does not.
func (a *Agent) lapsed(key planner.LeaseKey) string {
	if t := a.progress.terms[key]; t != nil {
		return t.lapses()
	}
	return ""
}

// lapsedLeases lists the leases whose instance holds up a rollout, with the
// reason.
func (a *Agent) lapsedLeases() map[planner.LeaseKey]string {
	lapsed := map[planner.LeaseKey]string{}
	for key, t := range a.progress.terms {
		if why := t.lapses(); why != "" {
			lapsed[key] = why
		}
	}
	return lapsed
}
