package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/notify"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// listeners takes down what agents hand over, and what each would tell.
type listeners struct {
	mu     sync.Mutex
	told   map[planner.NodeName]notify.Told
	last   map[planner.NodeName]notify.Facts
	facts  int
	events []string // "kind subject", of all nodes
}

func newListeners() *listeners {
	return &listeners{told: map[planner.NodeName]notify.Told{}, last: map[planner.NodeName]notify.Facts{}}
}

func (l *listeners) hear(f notify.Facts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts++
	l.last[f.Node] = f
	told, events := notify.Tell(l.told[f.Node], f)
	l.told[f.Node] = told
	for _, e := range events {
		l.events = append(l.events, strings.TrimSpace(fmt.Sprintf("%s %s%s", e.Kind, e.Service, e.Node)))
	}
}

// heard is what was told since it was last asked.
func (l *listeners) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := l.events
	l.events = nil
	return strings.Join(events, ", ")
}

func (l *listeners) of(node planner.NodeName) notify.Facts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last[node]
}

// count is how often something was handed over.
func (l *listeners) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.facts
}

func (l *listeners) want(t *testing.T, when, want string) {
	t.Helper()
	if got := l.heard(); got != want {
		t.Errorf("%s: told %q, want %q", when, got, want)
	}
}

// TestNotifyAlone: what a node on its own hands over as commits come.
func TestNotifyAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		l := newListeners()
		w.notify = l.hear
		w.start()
		none := w.repo.refuse("is missing")
		w.settle(time.Minute)
		if f := l.of("n1"); f.Stale || f.Refused.Hash != none.Hash || f.Commit.Hash != "" {
			t.Errorf("the first commit is refused: %+v", f)
		}
		w.commit(service("web", "a", replicas(2)))
		w.settle(time.Minute)
		f := l.of("n1")
		if f.Stale || f.Rank != 0 || len(f.Services) != 1 || f.Services[0].Phase != notify.Done || !f.Services[0].Mine {
			t.Errorf("after the first commit: %+v", f)
		}
		l.heard()
		commit := w.commit(service("web", "b", replicas(2)), service("db", "a"))
		w.settle(time.Minute)
		got := strings.Split(l.heard(), ", ")
		slices.Sort(got)
		if text := strings.Join(got, ", "); !strings.Contains(text, "rolloutDone db, rolloutDone web") || !strings.Contains(text, "rolloutStarted web") {
			t.Errorf("a new revision: told %q", text)
		}
		if f := l.of("n1"); f.Commit.Hash != commit.Hash {
			t.Errorf("followed is %s", f.Commit.Short())
		}
		w.commit(service("web", "b", replicas(3)), service("db", "a"))
		w.settle(time.Minute)
		l.want(t, "one replica more", "")

		refused := w.repo.refuse("is missing")
		w.settle(time.Minute)
		l.want(t, "a commit without fleet.yaml", "commitRefused")
		if f := l.of("n1"); f.Refused.Hash != refused.Hash || !strings.Contains(f.Refusal, "is missing") || f.Commit.Hash == refused.Hash {
			t.Errorf("%+v", f)
		}
		w.repo.fail(errors.New("no route"))
		w.settle(time.Minute)
		if f := l.of("n1"); !f.Stale {
			t.Errorf("the repository cannot be read, and yet %+v", f)
		}
		w.repo.fail(nil)
		w.repo.commit(planner.Desired{Services: byID([]planner.Service{service("web", "b", replicas(3))}),
			Faults: []planner.Fault{{File: "db.yaml", Line: 3, Reason: "no image"}, {File: "db.yaml", Line: 4, Reason: "old", Warning: true}}})
		w.settle(time.Minute)
		l.want(t, "a file with a fault", "commitRefused")
		if f := l.of("n1"); f.Stale || f.FaultCount != 1 || f.Faults[0] != "db.yaml:3: no image" || len(f.Services) != 2 {
			t.Errorf("%+v", f)
		}
		before := l.count()
		w.settle(5 * time.Minute)
		if n := l.count() - before; n > 300 {
			t.Errorf("at rest it handed over %d times in five minutes", n)
		}
	})
}

// TestNotifyFleet: of three nodes one tells each thing.
func TestNotifyFleet(t *testing.T) {
	play(t, 3, func(b *band) {
		l := newListeners()
		b.notify = l.hear
		for _, p := range b.nodes {
			p.crash()
			p.start()
		}
		b.commit(service("web", "a", replicas(3)), service("db", "a"))
		b.settle(2 * time.Minute)
		ranks := map[int]bool{}
		for _, p := range b.nodes {
			f := l.of(p.name)
			ranks[f.Rank] = true
			if f.Stale || f.Unsettled || len(f.Services) != 2 || f.Services[0].Phase != notify.Done || f.Services[1].Phase != notify.Done || len(f.Nodes) != 3 {
				t.Errorf("%s: %+v", p.name, f)
			}
		}
		if len(ranks) != 3 {
			t.Errorf("ranks %v", ranks)
		}
		l.heard()
		b.commit(service("web", "b", replicas(3)), service("db", "a"))
		b.settle(2 * time.Minute)
		l.want(t, "a new revision", "rolloutStarted web, rolloutDone web")
		gone := b.nodes[2]
		gone.die()
		b.settle(3 * time.Minute)
		l.want(t, "a node that dies", "nodeFenced n3")
		gone.boot++
		gone.start()
		b.settle(3 * time.Minute)
		l.want(t, "and comes back", "nodeBack n3")
		b.nodes[0].noGit.Store(true)
		b.settle(time.Minute)
		if f := l.of("n1"); !f.Stale {
			t.Errorf("n1 cannot read the records, and yet %+v", f)
		}
	})
}

// TestNotifyFirstRelease: of a first release there is nothing to go back to, but
// that it fails is told, and that it came through after all.
func TestNotifyFirstRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		l := newListeners()
		w.notify = l.hear
		w.start()
		a := w.answers()
		a.set("readiness", 3)
		w.commit(service("db", "a"))
		w.settle(time.Minute)
		l.heard()
		commit := w.commit(service("db", "a"), service("web", "a", deadline(2*time.Minute), with(planner.ProbeReadiness, every(1))))
		w.settle(time.Minute)
		l.want(t, "in time", "rolloutStarted web")
		w.settle(2 * time.Minute)
		l.want(t, "too late", "rolloutFailing web")
		f := l.of("n1")
		const why = "web-0 on n1: did not become ready within 2m0s: readiness probe: exec readiness: exit code 3"
		if web := f.Services[1]; web.Failing != why || web.Phase != notify.Rolling || web.Commit != commit.Hash || f.Services[0].Commit == commit.Hash {
			t.Errorf("%+v", f.Services)
		}
		for n := range 5 {
			a.set("readiness", 4+n)
			w.settle(time.Minute)
		}
		l.want(t, "still", "")
		a.set("readiness", 0)
		w.settle(time.Minute)
		l.want(t, "ready after all", "rolloutDone web")
		if f := l.of("n1"); f.Services[1].Failing != "" || f.Services[1].Phase != notify.Done {
			t.Errorf("%+v", f.Services)
		}
	})
}

// TestNotifyFailedHook: a revision that no slot was given is blocked, and nothing
// is taken back: neither the webhook, the commit status nor the status screen say so.
func TestNotifyFailedHook(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		l := newListeners()
		w.notify = l.hear
		w.start()
		w.driver.Behave(func(_ runtime.Workload, c runtime.Container) runtimetest.Behaviour {
			if strings.HasSuffix(c.Image, "/c") {
				return endsAfter(10*time.Second, 3)
			}
			return runtimetest.Behaviour{}
		})
		w.commit(service("web", "a"))
		w.settle(time.Minute)
		l.heard()
		w.commit(service("web", "b", withHook("c"), func(s *planner.Service) { s.Suspend = nil }))
		w.settle(3 * time.Minute)
		l.want(t, "its preRollout hook failed", "hookFailed web, rolloutBlocked web")
		if web := l.of("n1").Services[0]; web.Phase != notify.Blocked || web.Back != "" || !strings.Contains(web.Why, "exited with code 3") {
			t.Errorf("others are told of %+v", web)
		}
		if r := w.service("web").Rollout; r.State != planner.RolloutBlocked || !strings.Contains(r.Failure, "no slot has got it, and what runs stays as it is") {
			t.Errorf("the status says %s: %s", r.State, r.Failure)
		}
		w.crash()
		w.start()
		w.settle(time.Minute)
		l.want(t, "the agent starts again", "")
		at := l.of("n1").Services[0].BlockedAt
		w.commit(service("web", "b", withHook("d/c"), func(s *planner.Service) { s.Suspend = nil }))
		w.settle(3 * time.Minute)
		l.want(t, "a change of the hook did not mend it", "hookFailed web, rolloutBlocked web")
		if web := l.of("n1").Services[0]; web.Phase != notify.Blocked || web.BlockedAt == "" || web.BlockedAt == at {
			t.Errorf("tried again, and others are told of %+v", web)
		}
	})
}

// TestNotifyTriedAgain: a revision that failed is tried again once its manifest
// has changed, and when it fails again that is told as the first time.
func TestNotifyTriedAgain(t *testing.T) {
	play(t, 3, func(b *band) {
		l := newListeners()
		b.notify = l.hear
		for _, p := range b.nodes {
			p.crash()
			p.start()
			p.driver.Behave(func(_ runtime.Workload, c runtime.Container) runtimetest.Behaviour {
				if strings.HasSuffix(c.Image, "/bad") {
					return endsAfter(time.Second, 1)
				}
				return runtimetest.Behaviour{}
			})
		}
		few := func(deadline time.Duration) func(*planner.Service) {
			return func(s *planner.Service) {
				s.ProgressDeadline, s.MinReady = deadline, 5*time.Second
			}
		}
		b.commit(service("web", "a", replicas(2)))
		b.settle(2 * time.Minute)
		l.heard()
		const failed = "rolloutStarted web, rolloutBlocked web, rolloutReverted web"
		b.commit(service("web", "bad", replicas(2), few(30*time.Second)))
		b.settle(3 * time.Minute)
		l.want(t, "it crashes", failed)
		for _, p := range b.nodes {
			p.crash()
			p.start()
		}
		b.settle(3 * time.Minute)
		l.want(t, "the agents start again", "")
		b.commit(service("web", "bad", replicas(2), few(40*time.Second)))
		b.settle(4 * time.Minute)
		l.want(t, "with more time", failed)
	})
}

// TestNotifyFirstCommit: on a node alone the first commit's services are rolled
// out like any other, and what waits for a person says how to go on.
func TestNotifyFirstCommit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		l := newListeners()
		w.notify = l.hear
		w.start()
		w.settle(time.Minute)
		slow := func(s *planner.Service) { s.MinReady = 10 * time.Second }
		w.commit(service("web", "a", replicas(2), slow))
		w.settle(time.Minute)
		l.want(t, "the first commit", "rolloutStarted web, rolloutDone web")
		w.commit(service("web", "b", replicas(2), slow, func(s *planner.Service) {
			s.Update.Steps = []planner.UpdateStep{{Slots: planner.Amount{Count: 1}, Approve: true}}
		}))
		w.settle(time.Minute)
		l.want(t, "a step", "rolloutStarted web, rolloutPaused web")
		const why = "step 1 of 1 is done; to let it go on: orpheus promote web"
		if web := l.of("n1").Services[0]; web.Why != why {
			t.Errorf("it waits: %s", web.Why)
		}
	})
}
