package agent

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// readiness is what is counted of an instance that is ready.
type readiness struct {
	run    time.Time     // when its run began, as its driver says: another run begins anew
	lasted time.Duration // without a break, as far as an agent watched
	// available is set once that was long enough; it stays set until the instance
	// is not ready, also where its service asks for more meanwhile.
	available bool
}

// countReady takes in which instances are ready; passed is the time since it did
// so last.
func (a *Agent) countReady(all []planner.Instance, passed time.Duration, now planner.Time) {
	p := &a.progress
	listed := map[string]bool{}
	for _, i := range all {
		listed[i.ID] = true
		r := p.ready[i.ID]
		switch {
		case a.runsOnce(i):
			continue
		case !a.ready(i, now):
			if r != nil {
				delete(p.ready, i.ID)
				p.news = true
			}
			continue
		case r == nil || !r.run.Equal(i.StartedAt):
			r = &readiness{run: i.StartedAt}
			p.ready[i.ID], p.news = r, true
			if !a.track(i.ID).worked {
				p.node.worked()
			}
		default:
			r.lasted += passed
		}
		a.track(i.ID).worked = true
		if !r.available && r.lasted >= a.state.followed.Services[i.Slot.Service].MinReady {
			r.available, p.news = true, true
		}
	}
	for id := range p.ready {
		// Until its driver was listed in this process, what is not listed may be
		// ready all the same.
		if t := a.tracks[id]; !listed[id] && t != nil && t.driver != "" {
			delete(p.ready, id)
			p.news = true
		}
	}
}

// available reports whether an instance has been ready for as long as its
// service asks for.
func (a *Agent) available(id string) bool {
	r := a.progress.ready[id]
	return r != nil && r.available
}

// tellsAvailable reports whether it is told that an instance is available: where
// no time is asked for, ready is available.
func (a *Agent) tellsAvailable(slot planner.SlotID, id string) bool {
	return a.state.followed.Services[slot.Service].MinReady > 0 && a.available(id)
}

// tellsSteady reports whether it is told that an instance holds: where its slot
// was given up elsewhere, and it has run well here for as long as back-offs take
// to be forgotten.
func (a *Agent) tellsSteady(slot planner.SlotID, rev planner.Revision, id string) bool {
	r := a.progress.ready[id]
	return r != nil && r.available && r.lasted >= planner.BackoffReset && a.givenUpOn(slot, rev) > 0
}

// availableLeases lists the leases whose instance is available.
func (a *Agent) availableLeases() map[planner.LeaseKey]bool {
	available := map[planner.LeaseKey]bool{}
	for key, t := range a.progress.terms {
		if t.available {
			available[key] = true
		}
	}
	return available
}
