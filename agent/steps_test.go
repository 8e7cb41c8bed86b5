package agent

import (
	"context"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// alone is what the node decided its leases by last.
func (w *world) alone() planner.Alone {
	w.t.Helper()
	var view planner.Alone
	if err := w.agent.onLoop(context.Background(), func() error {
		view = w.agent.notifying.alone
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return view
}

// A node alone decides by the same flags, and remembers since when a rollout
// stands where it is.
func TestAloneProgress(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		web := func(image string) planner.Service {
			return service("web", image, minReady(time.Minute), deadline(3*time.Minute), with(planner.ProbeReadiness, every(1)))
		}
		w.commit(web("a"))
		w.settle(30 * time.Second)
		key := planner.LeaseKey{Service: planner.ServiceID{Namespace: "default", Name: "web"}, Token: 1}
		if v := w.alone(); !v.Ready[key] || v.Available[key] {
			t.Errorf("ready %v, available %v", v.Ready, v.Available)
		}
		w.settle(time.Minute)
		v := w.alone()
		since := v.StepSince[key.Service]
		if !v.Available[key] || len(v.Failing) > 0 || since == 0 {
			t.Errorf("available %v, failing %v, step since %v", v.Available, v.Failing, since)
		}
		w.killHard()
		w.settle(time.Minute)
		w.start()
		w.settle(time.Second)
		if v := w.alone(); v.StepSince[key.Service] != since || !v.Available[key] {
			t.Errorf("another agent: step since %v, want %v; available %v", v.StepSince, since, v.Available)
		}
		a.set("readiness", 1)
		w.commit(web("b"))
		begun := w.alone().Now.Boot
		w.settle(4 * time.Minute)
		v = w.alone()
		if len(v.Failing) != 1 || v.StepSince[key.Service] < begun {
			t.Errorf("failing %v, step since %v, want since %v or later", v.Failing, v.StepSince[key.Service], begun)
		}
	})
}
