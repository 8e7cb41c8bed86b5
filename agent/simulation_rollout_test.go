package agent

import (
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// crashing is the image of releases that exit as soon as they run.
const crashing = "x"

// rolloutFaults are what people do to a rollout in the middle of it.
var rolloutFaults = []simFault{
	{"commit: how it is rolled out", func(s *simulation) bool {
		id := s.anyWanted()
		s.wanted[id] = s.strategy(s.wanted[id])
		s.commitWanted()
		return true
	}},
	{"commit: a release that crashes", func(s *simulation) bool {
		id := s.anyWanted()
		before := s.wanted[id]
		s.wanted[id] = released(before, crashing)
		s.commitWanted()
		return s.until("release of "+id.Name, 4*time.Minute, func() {
			if now, wanted := s.wanted[id]; wanted && crashes(now.Template.Containers[0]) {
				now.Template, now.Revision = before.Template, before.Revision
				s.wanted[id] = now
				s.commitWanted()
			}
		})
	}},
	{"commit: two in a row", func(s *simulation) bool {
		id := s.anyWanted()
		for _, image := range []string{crashing, "b"} {
			s.wanted[id] = released(s.wanted[id], image)
			s.commitWanted()
			s.pass(time.Duration(s.rng.IntN(2000)) * time.Millisecond)
		}
		return true
	}},
}

// strategy draws how changes of a service are rolled out.
func (s *simulation) strategy(svc planner.Service) planner.Service {
	svc.Update = planner.Update{StopFirst: s.rng.IntN(4) == 0, NoRevert: s.rng.IntN(8) == 0}
	if s.rng.IntN(3) == 0 {
		svc.Update.MaxUnavailable = &planner.Amount{Count: s.rng.IntN(3)}
	}
	if s.rng.IntN(4) == 0 {
		svc.Update.Steps = []planner.UpdateStep{{Slots: planner.Amount{Count: 1}, Pause: time.Duration(s.rng.IntN(20)) * time.Second}}
	}
	svc.MinReady = time.Duration(s.rng.IntN(3)) * time.Second
	svc.ProgressDeadline = time.Minute
	return svc
}

// released is a service with another image.
func released(svc planner.Service, image string) planner.Service {
	svc.Template.Containers = slices.Clone(svc.Template.Containers)
	c := &svc.Template.Containers[0]
	if c.Image != "" {
		c.Image = "registry.example.com/" + image
	} else {
		c.Command = []string{image}
	}
	svc.Revision = planner.RevisionOf(svc.Template)
	return svc
}

// crashes reports whether a container is of a release that crashes.
func crashes(c planner.Container) bool {
	return strings.HasSuffix(c.Image, "/"+crashing) || slices.Equal(c.Command, []string{crashing})
}

// behaviourOf is what a container does that is left alone.
func behaviourOf(c runtime.Container) runtimetest.Behaviour {
	b := runtimetest.Behaviour{StartDelay: 300 * time.Millisecond, StopDelay: 100 * time.Millisecond}
	if strings.HasSuffix(c.Image, "/"+crashing) || slices.Equal(c.Command, []string{crashing}) {
		b.RunFor, b.Exit = 400*time.Millisecond, &planner.Exit{Code: 3}
	}
	return b
}

// mended gives every service a revision that works and that nothing is held
// against.
func (s *simulation) mended() {
	for id, svc := range s.wanted {
		svc.Template.RestartedAt = time.Now().String()
		if crashes(svc.Template.Containers[0]) {
			svc = released(svc, "a")
		}
		svc.Revision = planner.RevisionOf(svc.Template)
		s.wanted[id] = svc
	}
}

// wantReverted releases something that crashes to a node at rest: it is blocked,
// what was good runs, and to revert the commit starts and stops nothing.
func (s *simulation) wantReverted() {
	id := planner.ServiceID{Namespace: "default", Name: "web"}
	before, wanted := s.wanted[id]
	if !wanted {
		return
	}
	before.Update.NoRevert = false
	s.wanted[id] = released(before, crashing)
	s.commitWanted()
	s.pass(10 * time.Minute)
	for _, svc := range s.agent.Status().Services {
		if svc.ID() == id && (svc.Rollout == nil || svc.Rollout.State != planner.RolloutReverted) {
			s.violated("a release that crashes: %+v", svc.Rollout)
		}
	}
	s.wanted[id] = before
	calls := s.calls()
	s.commitWanted()
	s.pass(2 * time.Minute)
	if now := s.calls(); now != calls {
		s.violated("%d actions although what was good runs already", now-calls)
	}
	s.wantRest()
}

// calls counts what was asked of the drivers.
func (s *simulation) calls() int {
	return len(s.driver.Called("Start", "Stop", "Remove")) + len(s.procs.Called("Start", "Stop", "Remove"))
}

// blockedNow notes the revisions whose rollout has failed: what runs at them may
// be stopped although a commit wants it.
func (w *witness) blockedNow() {
	for _, svc := range w.s.agent.Status().Services {
		if svc.Rollout != nil && svc.Rollout.Failed() {
			w.blocked[svc.Rollout.Wanted] = true
		}
	}
}

// withinBudget reports whether a service may lose an available instance of a slot
// before it has another: by any commit that may have been in force, as many slots
// may be without one as are, through decisions, with this one.
func (w *witness) withinBudget(i planner.Instance, now time.Time) bool {
	for _, other := range w.seen {
		if !other.since.IsZero() && now.Sub(other.since) >= settleTime {
			w.serves(other.Slot)
		}
	}
	most := 0
	for _, c := range w.s.commits[w.spoken(i.Slot.Service):] {
		if svc, has := c.services[i.Slot.Service]; has {
			_, n := svc.Update.Limits(svc.Replicas)
			most = max(most, n)
		}
	}
	ended := w.ended[i.Slot.Service]
	if ended == nil {
		ended = map[string]bool{}
		w.ended[i.Slot.Service] = ended
	}
	ended[i.Slot.Name] = true
	return len(ended) <= most
}

// serves notes that a slot has an instance again, or lost one that nobody ended.
func (w *witness) serves(slot planner.SlotID) { delete(w.ended[slot.Service], slot.Name) }
