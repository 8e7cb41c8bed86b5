package fleettest

import (
	"fmt"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// health is how the instance of a lease fares by its node's own clock. Package
// agent counts the same (available.go, failing.go), and keeps it on disk; here
// it goes with the process.
type health struct {
	since time.Duration // when it could first begin; 0 = it could not yet
	ready time.Duration // when its instance became ready; 0 = it is not
	met   bool          // it was available once
	gone  time.Duration // since when it is not, after that
	// overdue and tooOften are why it is given up; "" = it is not.
	overdue, tooOften string
	failures          int // of its instance, as last counted
	failed            []time.Duration
}

// given is why the instance is given up; "" = it is not.
func (h *health) given(s planner.Service, now time.Duration) string {
	switch {
	case h.available(s, now):
		return ""
	case h.tooOften != "":
		return h.tooOften
	}
	return h.overdue
}

// lapsed reports whether it was available once, and is not for too long.
func (h *health) lapsed(s planner.Service, now time.Duration) bool {
	return h.met && h.gone != 0 && now >= h.gone+s.Deadline()
}

func (h *health) available(s planner.Service, now time.Duration) bool {
	return h.ready != 0 && now >= h.ready+s.MinReady
}

// steady reports whether it has run well for as long as back-offs take to be
// forgotten.
func (h *health) steady(s planner.Service, now time.Duration) bool {
	return h.available(s, now) && now >= h.ready+planner.BackoffReset
}

// fares judges the instance of a lease and plans when to judge it again. ready
// is the true time since when it is ready; 0 = it is not.
func (p *process) fares(s planner.Service, l planner.Lease, begins bool, ready time.Duration, failures int) *health {
	now := p.now().Boot
	key := planner.LeaseKey{Service: s.ID, Token: l.Token}
	h := p.health[key]
	if h == nil {
		h = &health{failures: failures}
		p.health[key] = h
	}
	if h.since == 0 && begins {
		h.since = now
	}
	if ready == 0 {
		h.ready = 0
	} else if h.ready == 0 {
		h.ready = max(p.m.clock.at(ready), 1)
		p.starts.worked()
	}
	for ; h.failures < failures; h.failures++ {
		h.failed = append(h.failed, now)
	}
	r := s.Reschedule.WithDefaults()
	if p.left(s) && h.since != 0 {
		h.since = now
	}
	due := h.since + s.Deadline()
	switch {
	case h.available(s, now):
		h.met, h.overdue, h.gone = true, "", 0
		if now-h.ready >= min(r.Within, planner.BackoffReset) {
			h.failed, h.tooOften = nil, ""
		}
	case h.met && h.gone == 0:
		h.gone = now
		p.tell(now + s.Deadline())
	case h.met:
		p.tell(h.gone + s.Deadline())
	case h.since == 0 || h.overdue != "":
	case now >= due:
		h.overdue = fmt.Sprintf("was not available within %v", s.Deadline())
	default:
		p.tell(due)
	}
	if h.ready != 0 {
		p.tell(h.ready + s.MinReady)
	}
	if h.tooOften == "" && !r.Never && since(h.failed, now-r.Within) >= r.Failures {
		h.tooOften = fmt.Sprintf("failed %d times within %v", r.Failures, r.Within)
	}
	return h
}

// since counts the instants from one on.
func since(all []time.Duration, from time.Duration) int {
	n := 0
	for _, at := range all {
		if at >= from {
			n++
		}
	}
	return n
}

// left reports whether nothing is done for a service: then no time runs for it.
func (p *process) left(s planner.Service) bool { return s.Observe || s.Suspended(p.now()) }

// tell plans that the node looks at its instances again at an instant of its
// clock.
func (p *process) tell(at time.Duration) {
	if at > p.now().Boot && (p.tellAt == 0 || at < p.tellAt) {
		p.tellAt = at
	}
}

// starts are the failures of a node since something became ready on it.
type starts struct {
	failed []time.Duration
	slots  map[planner.SlotID]bool
	until  time.Duration // boot time until which the node counts as failing
}

// The limits of a node on which everything fails.
const (
	startsFail   = 5
	startsWithin = 5 * time.Minute
)

func (s *starts) worked() { *s = starts{} }

func (s *starts) fail(slot planner.SlotID, now time.Duration) {
	if s.slots == nil || since(s.failed, now-startsWithin) == 0 {
		s.failed, s.slots = nil, map[planner.SlotID]bool{}
	}
	s.failed, s.slots[slot] = append(s.failed, now), true
	if since(s.failed, now-startsWithin) >= startsFail && len(s.slots) > 1 {
		s.until = now + startsWithin
	}
}

// fails says why the node gets no new work; "" = it does.
func (p *process) fails() string {
	if p.now().Boot >= p.starts.until {
		return ""
	}
	p.tell(p.starts.until)
	return fmt.Sprintf("%d starts failed within %v, and nothing became ready", startsFail, startsWithin)
}

// once is how a lease whose instance runs once stands: what is here, and whether
// it was begun ever. What was begun and cannot be found has failed.
func (p *process) once(i *instance, begun, busy bool) (planner.Phase, string) {
	switch {
	case i != nil && i.State == planner.StateRunning:
		return planner.PhaseRunning, ""
	case i != nil && i.State == planner.StateExited && i.Exit != nil && *i.Exit == (planner.Exit{}):
		return planner.PhaseSucceeded, ""
	case i != nil && i.State == planner.StateExited:
		return planner.PhaseFailed, planner.DescribeExit(i.Exit)
	case busy:
		return planner.PhaseStarting, ""
	case begun:
		return planner.PhaseFailed, "nobody knows how it ended"
	}
	return planner.PhasePending, ""
}
