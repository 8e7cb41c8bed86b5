package agent

import (
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// step is where the rollout of a service stands on a node alone, and since when
// that was seen. Of the document it holds what fleet.SameStep compares.
type step struct {
	doc   planner.LeaseDoc
	since time.Duration
}

// noteSteps takes in where rollouts stand. In a fleet its member does.
func (a *Agent) noteSteps(now time.Duration) {
	if a.fleet != nil {
		return
	}
	p := &a.progress
	for id, doc := range a.state.docs {
		if s, known := p.steps[id]; known && fleet.SameStep(s.doc, doc) {
			continue
		}
		s := step{doc: planner.LeaseDoc{Step: doc.Step, Blocked: doc.Blocked}, since: now}
		if len(doc.History) > 0 {
			s.doc.History = doc.History[:1]
		}
		p.steps[id], p.news = s, true
	}
	for id := range p.steps {
		if _, there := a.state.docs[id]; !there {
			delete(p.steps, id)
			p.news = true
		}
	}
}

// stepSince is planner.Alone.StepSince.
func (a *Agent) stepSince() map[planner.ServiceID]time.Duration {
	since := map[planner.ServiceID]time.Duration{}
	for id, s := range a.progress.steps {
		since[id] = s.since
	}
	return since
}
