package agent

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

func withSidecar(s *planner.Service) {
	sidecar := s.Template.Containers[0]
	sidecar.Name = "sidecar"
	s.Template.Containers[0].Name = "db"
	s.Template.Containers = append(s.Template.Containers, sidecar)
}

// aliveNow names the containers of an instance that run.
func (w *world) aliveNow(id string) (names []string) {
	for _, i := range w.driver.Listing() {
		for _, c := range i.Containers {
			if i.ID == id && c.State == planner.StateRunning {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// TestRestartOfHalfAnInstance: what runs beside a container that has ended is
// stopped with its grace before both are started anew.
func TestRestartOfHalfAnInstance(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("db", "a", withVolume, withSidecar))
		w.settle(5 * time.Second)
		id := w.ids()[0]
		w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
			if alive := w.aliveNow(id); c.Verb == "Remove" && len(alive) > 0 {
				t.Errorf("%s is removed while %v run", id, alive)
			}
			return nil
		})
		w.driver.Exit(id, planner.Exit{Container: "sidecar", Code: 1})
		w.settle(5 * time.Second)
		w.wantRunning("db-0 a")
		if s := w.service("db"); s.Instances[0].Restarts != 1 {
			t.Errorf("restarts are %d, want 1", s.Instances[0].Restarts)
		}
	})
}

// TestSidecarsEndIsNotThePods: a database whose sidecar has ended writes on. It
// gets its grace, and nothing starts beside it, also while back-off keeps it
// from being restarted.
func TestSidecarsEndIsNotThePods(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("db", "a", withVolume, withSidecar))
		w.settle(5 * time.Second)
		old := w.ids()[0]
		for range 2 { // into the back-off, so that the half-dead instance stays
			w.driver.Exit(old, planner.Exit{Container: "sidecar", Code: 1})
			w.settle(500 * time.Millisecond)
		}
		if alive := w.aliveNow(old); !slices.Equal(alive, []string{"db"}) {
			t.Fatalf("of %s run %v; the test needs db alone", old, alive)
		}
		var stopped, started bool
		w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
			switch c.Verb {
			case "Stop":
				stopped = stopped || c.ID == old
			case "Start":
				started = true
				if alive := w.aliveNow(old); len(alive) > 0 {
					t.Errorf("%s starts while %v of %s run", c.ID, alive, old)
				}
			case "Remove":
				if c.ID == old && !stopped {
					t.Errorf("%s is removed, with %v running, and was not stopped first", old, w.aliveNow(old))
				}
			}
			return nil
		})
		w.commit(service("db", "b", withVolume, withSidecar))
		w.settle(5 * time.Second)
		w.wantRunning("db-0 b")
		if !started {
			t.Error("the new instance was never started")
		}
	})
}
