package agent

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

func (w *world) wantLapsed(when, why string) {
	w.t.Helper()
	i := w.tellsOne()
	if i.Lapsed != (why != "") || i.Failing || why != "" && i.Reason != why {
		w.t.Errorf("%s: lapsed %v, failing %v (%s %q), want %q", when, i.Lapsed, i.Failing, i.Phase, i.Reason, why)
	}
	decides := map[planner.LeaseKey]string{}
	if err := w.agent.onLoop(context.Background(), func() error { decides = w.agent.lapsedLeases(); return nil }); err != nil {
		w.t.Fatal(err)
	}
	if got := decides[planner.LeaseKey{Service: i.Slot.Service, Token: i.Token}]; got != why {
		w.t.Errorf("%s: the node decides on %q, want %q", when, got, why)
	}
}

// probed is a service that an answer makes ready.
func probed(edit ...func(*planner.Service)) planner.Service {
	return service("web", "a", append(edit, deadline(2*time.Minute), with(planner.ProbeReadiness, every(1)))...)
}

// What was available once and then is not for as long as its deadline has
// lapsed, with what it waits for, until it is available: each time anew.
func TestLapsed(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		w.commit(probed())
		w.settle(10 * time.Second)
		w.wantLapsed("available", "")
		for n := range 5 { // it is never away for long enough
			a.set("readiness", 1)
			w.settle(115 * time.Second)
			w.wantLapsed(fmt.Sprint("time ", n), "")
			a.set("readiness", 0)
			w.settle(5 * time.Second)
		}
		const why = "has not been ready for 2m0s: readiness probe: exec readiness: exit code 3"
		a.set("readiness", 3)
		w.settle(118 * time.Second)
		w.wantLapsed("not yet", "")
		w.settle(8 * time.Second)
		w.wantLapsed("for too long", why)
		if i := w.only("web"); i.Reason != why || w.service("web").Message != why {
			t.Errorf("status: %q, %q", i.Reason, w.service("web").Message)
		}
		for n := range 5 { // what it says then changes nothing
			a.set("readiness", 4+n)
			w.settle(10 * time.Second)
			w.wantLapsed("still", why)
		}
		w.killHard()
		w.start()
		w.settle(time.Second)
		w.wantLapsed("another agent", why)
		a.set("readiness", 0)
		w.settle(5 * time.Second)
		w.wantLapsed("available again", "")
		a.set("readiness", 1)
		w.settle(100 * time.Second)
		w.wantLapsed("counted anew", "")
	})
}

// The time goes on with the next agent; that without one does not count.
func TestLapsedOutlivesTheAgent(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		w.commit(probed())
		w.settle(10 * time.Second)
		a.set("readiness", 1)
		w.settle(time.Minute)
		w.killHard()
		w.settle(time.Hour)
		w.start()
		w.settle(50 * time.Second)
		w.wantLapsed("110 s in all", "")
		w.settle(35 * time.Second)
		w.wantLapsed("more than 120 s in all", "has not been ready for 2m0s: readiness probe: exec readiness: exit code 1")
	})
}

// What is ready now and then, but never for long enough, has lapsed, too; and
// what ends again and again, where no number of failures is too much.
func TestLapsedUnsteady(t *testing.T) {
	t.Run("its probe", func(t *testing.T) {
		inWorld(t, func(w *world) {
			a := w.answers()
			w.commit(probed(minReady(30 * time.Second)))
			w.settle(time.Minute)
			for range 14 {
				a.set("readiness", 1)
				w.settle(5 * time.Second)
				a.set("readiness", 0)
				w.settle(5 * time.Second)
			}
			if i := w.tellsOne(); !i.Lapsed || !strings.HasPrefix(i.Reason, "has not been ready for 30s without a break for 2m0s") {
				t.Errorf("lapsed %v: %q", i.Lapsed, i.Reason)
			}
		})
	})
	t.Run("its program", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.commit(service("web", "a", deadline(2*time.Minute), minReady(20*time.Second), func(s *planner.Service) { s.Reschedule.Never = true }))
			w.settle(time.Minute)
			w.crashes(100*time.Millisecond, planner.Exit{Code: 7})
			w.driver.Exit(w.ids()[0], planner.Exit{Code: 7})
			w.settle(3 * time.Minute)
			w.wantLapsed("", "has not been ready for 20s without a break for 2m0s: exited with code 7")
		})
	})
}

// What people want left alone does not lapse meanwhile, and has what is left of
// its time afterwards.
func TestLapsedLeftAlone(t *testing.T) {
	const why = "has not been ready for 2m0s: readiness probe: exec readiness: exit code 1"
	for name, take := range map[string]func(w *world){
		"held": func(w *world) {
			if _, err := w.agent.Hold(context.Background(), api.HoldRequest{Target: "web", For: time.Hour, Reason: "I look at it"}); err != nil {
				w.t.Fatal(err)
			}
		},
		"suspended": func(w *world) {
			w.commit(probed(func(s *planner.Service) {
				s.Suspend = &planner.Suspension{Until: time.Now().Add(time.Hour), Reason: "night"}
			}))
		},
		"observed": func(w *world) { w.commit(probed(func(s *planner.Service) { s.Observe = true })) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.answers()
				w.commit(probed())
				w.settle(10 * time.Second)
				a.set("readiness", 1)
				w.settle(time.Minute)
				take(w)
				w.settle(30 * time.Minute)
				w.wantLapsed("left alone", "")
				w.settle(30 * time.Minute)
				w.commit(probed())
				w.settle(30 * time.Second)
				w.wantLapsed("some of its time is left", "")
				w.settle(40 * time.Second)
				w.wantLapsed("after that", why)
				take(w)
				w.settle(time.Minute)
				w.wantLapsed("left alone again", "")
			})
		})
	}
}

// A hook that has ended has no time that counts.
func TestLapsedNeverAHook(t *testing.T) {
	inWorld(t, func(w *world) {
		w.behaves(endsAfter(time.Second, 0))
		w.giveHook(service("web", "a", withHook("b")))
		w.settle(time.Hour)
		w.wantHook(planner.PhaseSucceeded, "")
		w.wantLapsed("ended", "")
		if err := w.agent.onLoop(context.Background(), func() error {
			for _, hook := range w.agent.progress.terms {
				// Nor would any where the service were not suspended.
				if hook.stands = false; !hook.met || hook.counts() {
					t.Errorf("ended %v, counts %v", hook.met, hook.counts())
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// In a fleet it is told at once, and nothing of it before or after.
func TestLapsedIsTold(t *testing.T) {
	play(t, 1, func(b *band) {
		p := b.nodes[0]
		var code atomic.Int64
		p.driver.OnExec(func(context.Context, string, string, []string, runtime.Streams) (int, error) {
			return int(code.Load()), nil
		})
		b.commit(probed())
		b.settle(time.Minute)
		code.Store(1)
		b.settle(30 * time.Second)
		before := p.pushes()
		b.settle(80 * time.Second)
		if n := p.pushes() - before; n != 0 {
			t.Errorf("%d pushes while it counts", n)
		}
		b.settle(15 * time.Second)
		if st := p.standing(); len(st.Instances) != 1 || !st.Instances[0].Lapsed {
			t.Errorf("it is not told: %+v", st.Instances)
		}
		if n := p.pushes() - before; n != 1 {
			t.Errorf("%d pushes once it has lapsed", n)
		}
		b.settle(30 * time.Minute)
		if n := p.pushes() - before; n != 1 {
			t.Errorf("%d pushes after half an hour", n)
		}
	})
}

// A release that is ready once and never again is blocked on a node alone, too,
// while its rollout waits for its next step.
func TestLapsedBlocksARollout(t *testing.T) {
	inWorld(t, func(w *world) {
		web := func(image string) planner.Service {
			return service("web", image, replicas(2), deadline(2*time.Minute), with(planner.ProbeReadiness, every(1)), func(s *planner.Service) {
				s.Update.Steps = []planner.UpdateStep{{Slots: planner.Amount{Count: 1}, Approve: true}}
			})
		}
		var sick atomic.Value // the id of the instance that is
		w.driver.OnExec(func(_ context.Context, id, _ string, _ []string, _ runtime.Streams) (int, error) {
			if id == sick.Load() {
				return 1, nil
			}
			return 0, nil
		})
		w.commit(web("a"))
		w.settle(time.Minute)
		w.commit(web("b"))
		w.settle(time.Minute)
		w.wantRunning("web-0 b", "web-1 a")
		for _, i := range w.driver.Listing() {
			if i.Revision == web("b").Revision {
				sick.Store(i.ID)
			}
		}
		w.settle(100 * time.Second)
		w.wantRunning("web-0 b", "web-1 a")
		w.settle(2 * time.Minute)
		w.wantRunning("web-0 a", "web-1 a")
		const why = "has not been ready for 2m0s: readiness probe: exec readiness: exit code 1"
		if r := w.service("web").Rollout; r == nil || !strings.Contains(r.Summary(), why) {
			t.Errorf("rollout: %+v", r)
		}
	})
}
