package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestCommitRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2), published(80)), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		w.wantRunning("db-0 b", "web-0 a", "web-1 a")
		if ports := w.network.Published(); len(ports) != 1 || len(ports[0].Targets) != 2 {
			t.Errorf("published %+v, want port 80 with two targets", ports)
		}
	})
}

func TestChangeReplacesOnlyThatService(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		before := w.ids()
		w.commit(service("web", "c"), service("db", "b", withVolume))
		w.settle(5 * time.Second)
		w.wantRunning("db-0 b", "web-0 c")
		kept := 0
		for _, id := range w.ids() {
			if slices.Contains(before, id) {
				kept++
			}
		}
		if kept != 1 {
			t.Errorf("%d of the instances were kept, want 1 (db)", kept)
		}
		w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(5 * time.Second)
		w.wantRunning("db-0 b", "web-0 a")
		w.commit(service("db", "b", withVolume))
		w.settle(5 * time.Second)
		w.wantRunning("db-0 b")
	})
}

func TestImageThatCannotBePulledStopsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("db", "a", withVolume))
		w.settle(3 * time.Second)
		w.driver.DeleteImage("registry.example.com/missing")
		w.commit(service("db", "missing", withVolume))
		w.settle(time.Minute)
		w.wantRunning("db-0 a")
		w.driver.PushImage("registry.example.com/missing")
		w.settle(10 * time.Minute)
		w.wantRunning("db-0 missing")
	})
}

func TestCrashIsRestartedWithBackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		for range 3 {
			w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
			w.settle(10 * time.Second)
			w.wantRunning("web-0 a")
		}
		if got := w.agent.Status().Services[0].Instances[0].Restarts; got != 3 {
			t.Errorf("restarts %d, want 3", got)
		}
		w.driver.Vanish(w.ids()[0])
		w.settle(time.Second)
		w.wantRunning("web-0 a")
	})
}

func TestAgentRestartTouchesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(3)), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		events := len(w.driver.History())
		w.crash()
		w.repo.fail(errors.New("connection refused"))
		w.start()
		w.settle(time.Minute)
		w.wantRunning("db-0 b", "web-0 a", "web-1 a", "web-2 a")
		if n := len(w.driver.History()) - events; n != 0 {
			t.Errorf("%d changes of instances after the restart, want none", n)
		}
	})
}

func TestRebootWithoutGitStartsEverything(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2)), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		w.crash()
		w.repo.fail(errors.New("connection refused"))
		w.driver.Reboot()
		w.start()
		w.settle(time.Minute)
		w.wantRunning("db-0 b", "web-0 a", "web-1 a")
	})
}

func TestLostStateKeepsWhatRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		events := len(w.driver.History())
		w.crash()
		w.state = t.TempDir()
		w.start()
		w.settle(time.Minute)
		w.wantRunning("db-0 b", "web-0 a")
		if n := len(w.driver.History()) - events; n != 0 {
			t.Errorf("%d changes of instances, want none", n)
		}
	})
}

func TestRefusedCommitChangesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		events := len(w.driver.History())
		w.repo.refuse("fleet.yaml is missing")
		w.settle(time.Minute)
		w.wantRunning("web-0 a")
		if st := w.agent.Status(); st.Repository.Refused == "" || len(w.driver.History()) != events {
			t.Errorf("refused %q, %d events; want a reason and none", st.Repository.Refused, len(w.driver.History())-events)
		}
		w.commit(service("web", "b"))
		w.settle(10 * time.Second)
		w.wantRunning("web-0 b")
	})
}
