package agent

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// term is what is counted of a lease, from when this node first saw it in force,
// until its instance is given up.
type term struct {
	slot     planner.SlotID
	revision planner.Revision
	limit    time.Duration // its deadline; 0 = it has none now
	spent    time.Duration // of that, or, once it was met, since it was available last
	hook     time.Duration // the time that its hook has; 0 = it is of none, or that is not known
	// met: it was available, or a hook ended, so that there is no deadline any
	// more. overdue is why it was not in time, failed why it failed too often,
	// lapsed why it has not been available again for too long, in the user's
	// words; "" = it did not. Each is written once, and stays as it was: a reason
	// that changes with every try would be told with every try.
	met                     bool
	overdue, failed, lapsed string

	available bool // as it was listed last
	left      bool // people want it left alone
	stands    bool // its clock does not run: it is left alone, or others have to go first
}

// counts reports whether time brings the deadline nearer, or, once that was met,
// that it lapses.
func (t *term) counts() bool {
	if t.met {
		return t.limit > 0 && !t.available && t.lapsed == "" && !t.stands
	}
	return t.limit > 0 && t.overdue == "" && !t.stands
}

// term is what is counted of a lease; it begins now if it is new.
func (a *Agent) term(key planner.LeaseKey, l planner.Lease) *term {
	t := a.progress.terms[key]
	if t == nil || t.revision != l.Revision || t.slot.Name != l.Slot {
		// Its own deadline follows when it is judged.
		t = &term{slot: planner.SlotID{Service: key.Service, Name: l.Slot}, revision: l.Revision, limit: planner.DefaultProgressDeadline}
		a.progress.terms[key], a.progress.news = t, true
	}
	return t
}

// countTerms takes in how leases fare; passed is the time since it did so last.
func (a *Agent) countTerms(all []planner.Instance, passed time.Duration, now planner.Time) {
	bySlot := map[planner.SlotID][]planner.Instance{}
	for _, i := range all {
		bySlot[i.Slot] = append(bySlot[i.Slot], i)
	}
	holds := a.holds()
	for _, id := range sortedServices(a.state.docs) {
		s, followed := a.state.followed.Services[id]
		for _, l := range a.state.docs[id].Leases {
			t := a.term(planner.LeaseKey{Service: id, Token: l.Token}, l)
			if t.counts() {
				t.spent += passed
			}
			t.limit = 0
			if !followed || s.Orphan || l.Ending {
				t.available = false
				continue
			}
			_, held := planner.HoldOf(holds, t.slot, now)
			t.left = held || s.Observe || s.Suspended(now)
			t.stands = t.left || a.yields(t.slot, l, bySlot[t.slot])
			a.countTerm(s, l, t, bySlot[t.slot], now)
		}
	}
}

// countTerm judges one lease.
func (a *Agent) countTerm(s planner.Service, l planner.Lease, t *term, of []planner.Instance, now planner.Time) {
	before := *t
	i, covered := covering(l, of)
	id := planner.InstanceID(t.slot, l)
	if covered {
		id = i.ID
	}
	if covered || a.listedOnce(l.Revision) { // else what the last process knew holds
		t.available = covered && a.available(id)
	}
	t.limit = s.Deadline()
	if l.Hook != "" {
		t.limit = t.hookDeadline(s, l)
		run, _ := a.once.of(keyOfOnce(s.ID, l))
		t.met = run.Ended
	}
	switch {
	case l.Hook != "" && t.met:
		t.overdue, t.limit = "", 0 // nothing is waited for any more
	case t.available:
		t.met, t.overdue, t.lapsed, t.spent = true, "", "", 0
	case t.met:
		a.countLapse(s, l, t, i, covered)
	case t.counts() && t.spent >= t.limit:
		t.overdue = a.whyOverdue(s, l, t, i, covered)
		a.log.Warn("instance is not ready in time", "slot", t.slot, "instance", id, "revision", l.Revision.Short(), "reason", t.overdue)
	}
	if track := a.tracks[id]; track != nil && l.Hook == "" {
		a.countFailures(s, t, track, id, now)
	}
	if why := cmp.Or(before.given(), before.lapses()); why != "" && t.available {
		a.log.Info("instance is available after all", "slot", t.slot, "instance", id, "revision", l.Revision.Short(), "reason", "it is ready; before that: "+why)
	}
	if t.met != before.met || t.overdue != before.overdue || t.failed != before.failed || t.lapsed != before.lapsed || t.available != before.available || t.hook != before.hook {
		a.progress.news = true
	}
}

// hookDeadline is the time that the hook of a lease has. A newer commit that has
// another, or none, waits for its end and does not cut it short.
func (t *term) hookDeadline(s planner.Service, l planner.Lease) time.Duration {
	if h, has := s.Hooks[l.Hook]; has && h.Revision == l.Revision {
		t.hook = h.Deadline()
	}
	return cmp.Or(t.hook, planner.DefaultProgressDeadline)
}

// listedOnce reports whether the driver of a revision was listed in this process.
func (a *Agent) listedOnce(rev planner.Revision) bool {
	d := a.drivers[a.state.specs[rev].DriverName()]
	return d == nil || d.listed
}

// countFailures judges how often an instance failed. What failed too often is
// forgiven when it was ready for as long as that was counted in, or for as long
// as its back-off takes to be forgotten: one that crashes as soon as it is ready
// fails all the time.
func (a *Agent) countFailures(s planner.Service, t *term, track *track, id string, now planner.Time) {
	if t.left {
		track.failures = nil
	}
	r := s.Reschedule.WithDefaults()
	healthy := a.progress.ready[id]
	switch {
	case t.failed != "" && healthy != nil && healthy.available && healthy.lasted >= min(r.Within, planner.BackoffReset):
		t.failed, track.failures = "", nil
	case t.failed == "" && !r.Never && failuresSince(track.failures, now.Boot-r.Within) >= r.Failures:
		t.failed = shortened(fmt.Sprintf("failed %d times within %v: %s", r.Failures, r.Within, track.failure))
		a.log.Warn("instance keeps failing", "slot", t.slot, "instance", id, "revision", t.revision.Short(), "reason", t.failed)
	}
}

// given is why the instance is given up; "" = it is not. It is not while it is
// available, nor while people want it left alone.
func (t *term) given() string {
	if t.available || t.left {
		return ""
	}
	return cmp.Or(t.failed, t.overdue)
}

// failing says why the instance of a lease is given up; "" = it is not.
func (a *Agent) failing(key planner.LeaseKey) string {
	if t := a.progress.terms[key]; t != nil {
		return t.given()
	}
	return ""
}

// failingLeases lists the leases whose instance is given up, with the reason.
func (a *Agent) failingLeases() map[planner.LeaseKey]string {
	failing := map[planner.LeaseKey]string{}
	for key, t := range a.progress.terms {
		if why := t.given(); why != "" {
			failing[key] = why
		}
	}
	return failing
}

// covering is the instance that a lease covers: one that runs, if there is one.
func covering(l planner.Lease, of []planner.Instance) (planner.Instance, bool) {
	var found planner.Instance
	ok := false
	for _, i := range of {
		if i.Revision == l.Revision && (!ok || i.State == planner.StateRunning && found.State != planner.StateRunning) {
			found, ok = i, true
		}
	}
	return found, ok
}

// yields reports whether an instance could start but for one of its slot that
// has to go first. What it waits for then is no fault of its own.
func (a *Agent) yields(slot planner.SlotID, l planner.Lease, of []planner.Instance) bool {
	key := planner.LeaseKey{Service: slot.Service, Token: l.Token}
	if w, waits := a.waits[key]; !waits || w.Until != planner.Never {
		return false
	}
	if p := a.prepares[planner.RevisionKey{Service: slot.Service, Revision: l.Revision}]; p != nil && !p.done {
		return false // nor would it start alone
	}
	if a.fleet != nil && a.fleet.standing.Behind[key] != "" {
		return true
	}
	single := func(rev planner.Revision) bool {
		spec, known := a.state.specs[rev]
		return !known || spec.SingleWriter()
	}
	apart := l.StopFirst || single(l.Revision)
	return slices.ContainsFunc(a.state.docs[slot.Service].Leases, func(o planner.Lease) bool {
		return o.Slot == l.Slot && o.Token < l.Token && (apart || single(o.Revision))
	}) || slices.ContainsFunc(of, func(i planner.Instance) bool {
		return i.Revision != l.Revision && i.Alive() && (apart || single(i.Revision))
	})
}
