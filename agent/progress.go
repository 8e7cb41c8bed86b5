package agent

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// progress is what this node counts of its instances and leases: since when
// they are ready, how long they take to become so, how often they fail. What
// others are told of it are flags that change rarely (planner.InstanceStatus,
// planner.NodeStatus): times mean nothing on another node.
//
// Time counts only while an agent watches. What passes between two agents, or
// while the machine is suspended, brings nothing nearer: neither that an
// instance counts as available nor that it is given up. What was told stays as
// it was.
type progress struct {
	at    time.Duration         // boot time up to which it is counted; 0 = not yet in this process
	ready map[string]*readiness // of ready instances, by id
	terms map[planner.LeaseKey]*term
	node  nodeStarts
	steps map[planner.ServiceID]step // of a node alone: see planner.Alone

	news    bool          // something is to be written
	written time.Duration // boot time at which it last was
}

// maxCounted is the most that counts between two passes, of which there is one
// a minute at least.
const maxCounted = 2 * time.Minute

func newProgress() progress {
	return progress{ready: map[string]*readiness{}, terms: map[planner.LeaseKey]*term{}, steps: map[planner.ServiceID]step{}}
}

// tendProgress counts on, and has on disk what is told of it from now on.
func (a *Agent) tendProgress(all []planner.Instance) {
	p, now := &a.progress, a.cfg.Clock()
	var passed time.Duration
	if p.at != 0 {
		passed = min(max(0, now.Boot-p.at), maxCounted)
	}
	p.at = now.Boot
	a.countReady(all, passed, now)
	a.countTerms(all, passed, now)
	a.judgeNode(now.Boot)
	a.noteSteps(now.Boot)
	a.keepProgress(now.Boot)
	a.cfg.Metrics.failed(len(a.failingLeases()), p.node.reason != "")
}

// progressDue calls due with the instants at which time alone changes something.
func (a *Agent) progressDue(due func(time.Duration)) {
	p := &a.progress
	for id, r := range p.ready {
		if t := a.tracks[id]; !r.available && t != nil {
			due(p.at + a.state.followed.Services[t.slot.Service].MinReady - r.lasted)
		}
	}
	for _, t := range p.terms {
		if t.counts() {
			due(p.at + t.limit - t.spent)
		}
	}
	if p.node.reason != "" {
		due(p.node.until)
	}
}

// forgetProgress drops what is counted of instances that neither exist nor are
// leased, and of leases that are gone; it begins to count for new ones.
func (a *Agent) forgetProgress(keep map[string]bool) {
	p := &a.progress
	for id := range p.ready {
		if !keep[id] {
			delete(p.ready, id)
			p.news = true
		}
	}
	leased := map[planner.LeaseKey]bool{}
	for id, doc := range a.state.docs {
		for _, l := range doc.Leases {
			key := planner.LeaseKey{Service: id, Token: l.Token}
			leased[key] = true
			a.term(key, l)
		}
	}
	for key := range p.terms {
		if !leased[key] {
			delete(p.terms, key)
			p.news = true
		}
	}
}
