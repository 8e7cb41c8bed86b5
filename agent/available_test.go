package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

func minReady(d time.Duration) func(*planner.Service) {
	return func(s *planner.Service) { s.MinReady = d }
}

// told is how the node's leases would be told to others, by service, slot and
// token.
func (w *world) told() []planner.InstanceStatus {
	w.t.Helper()
	var told []planner.InstanceStatus
	if err := w.agent.onLoop(context.Background(), func() error {
		a := w.agent
		all, _ := a.instances()
		for _, id := range sortedServices(a.state.docs) {
			for _, l := range a.state.docs[id].Leases {
				slot := planner.SlotID{Service: id, Name: l.Slot}
				var of []planner.Instance
				for _, i := range all {
					if i.Slot == slot {
						of = append(of, i)
					}
				}
				i, _ := a.tellLease(slot, l, of)
				told = append(told, i)
			}
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return told
}

// tellsOne is told of a node with one lease.
func (w *world) tellsOne() planner.InstanceStatus {
	w.t.Helper()
	told := w.told()
	if len(told) != 1 {
		w.t.Fatalf("told of %d leases:\n%s", len(told), describe(w.agent))
	}
	return told[0]
}

func (w *world) wantAvailable(when string, want bool) {
	w.t.Helper()
	if got := w.tellsOne(); got.Available != want {
		w.t.Errorf("%s: available %v, want %v (%s %q)", when, got.Available, want, got.Phase, got.Reason)
	}
}

// An instance is available once it was ready for minReadySeconds without a
// break, at that instant.
func TestAvailable(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		a.set("readiness", 1)
		w.commit(service("web", "a", minReady(37*time.Second), with(planner.ProbeReadiness, every(1))))
		w.settle(10 * time.Second)
		ready := func() {
			t.Helper()
			a.set("readiness", 0)
			for w.tellsOne().Phase != planner.PhaseReady {
				w.settle(10 * time.Millisecond)
			}
		}
		ready()
		w.wantAvailable("ready now", false)
		w.settle(36900 * time.Millisecond)
		w.wantAvailable("almost", false)
		w.settle(200 * time.Millisecond)
		w.wantAvailable("long enough", true)

		a.set("readiness", 1)
		w.settle(5 * time.Second)
		w.wantAvailable("not ready", false)
		ready()
		w.settle(30 * time.Second)
		w.wantAvailable("counted anew", false)
		w.settle(8 * time.Second)
		w.wantAvailable("for as long again", true)

		// A commit that asks for more takes nothing back.
		w.commit(service("web", "a", minReady(time.Hour), with(planner.ProbeReadiness, every(1))))
		w.settle(5 * time.Second)
		w.wantAvailable("more is asked for", true)
		// Where nothing is asked for it is not told: ready is available.
		w.commit(service("web", "a", with(planner.ProbeReadiness, every(1))))
		w.settle(5 * time.Second)
		w.wantAvailable("nothing is asked for", false)
		if err := w.agent.onLoop(context.Background(), func() error {
			if n := len(w.agent.availableLeases()); n != 1 {
				return errors.New("it is not available for the node itself")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// Killed agents neither take back what was available, nor begin to count anew,
// nor count the time in which nobody watched.
func TestAvailableOutlivesTheAgent(t *testing.T) {
	for _, probed := range []bool{true, false} {
		inWorld(t, func(w *world) {
			a := w.answers()
			s := service("web", "a", minReady(time.Minute))
			if probed {
				s = service("web", "a", minReady(time.Minute), with(planner.ProbeReadiness, every(1)))
			}
			w.commit(s)
			w.settle(45 * time.Second)
			w.wantAvailable("before", false)
			w.killHard()
			w.settle(10 * time.Minute)
			w.start()
			w.settle(500 * time.Millisecond)
			w.wantAvailable("nobody watched for ten minutes", false)
			w.settle(10 * time.Second)
			w.wantAvailable("some of a minute is missing", false)
			// What a kill loses is less than what is written every ten seconds,
			// and the listing that a write goes with.
			w.settle(26 * time.Second)
			w.wantAvailable("after a minute in all", true)

			for range 3 {
				w.killHard()
				w.settle(3 * time.Second)
				w.start()
				w.settle(500 * time.Millisecond)
				w.wantAvailable("another agent", true)
			}

			// It crashed, or became unready, while there was no agent.
			w.killHard()
			w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
			w.start()
			w.settle(10 * time.Second)
			w.wantAvailable("another run", false)
			w.settle(time.Minute)
			w.wantAvailable("of that, a minute", true)
			if probed {
				a.set("readiness", 1)
				w.settle(5 * time.Second)
				w.wantAvailable("not ready", false)
				w.killHard()
				w.start()
				w.settle(time.Second)
				w.wantAvailable("not ready, another agent", false)
			}
		})
	}
}

// Boot times of another boot mean nothing.
func TestProgressOfAnotherBoot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", minReady(time.Minute)))
		w.settle(2 * time.Minute)
		w.wantAvailable("before", true)
		w.crash()
		path := filepath.Join(w.state, progressPath)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		other := strings.Replace(string(data), `"boot":"`, `"boot":"not-`, 1)
		if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		w.driver.Reboot()
		w.start()
		w.settle(30 * time.Second)
		w.wantAvailable("another boot", false)
		w.settle(time.Minute)
		w.wantAvailable("a minute of it", true)
	})
}

// A file that cannot be read costs what was counted, nothing else, and is told.
func TestProgressUnreadable(t *testing.T) {
	for _, content := range []string{"{", `{"format":9}`, strings.Repeat("x", 100)} {
		inWorld(t, func(w *world) {
			w.commit(service("web", "a", minReady(time.Minute)))
			w.settle(2 * time.Minute)
			w.crash()
			if err := os.WriteFile(filepath.Join(w.state, progressPath), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			w.start()
			w.settle(5 * time.Second)
			w.wantRunning("web-0 a")
			if p := w.agent.Status().Problems; len(p) != 1 || !strings.Contains(p[0], "counted anew") {
				t.Errorf("problems: %q", p)
			}
			w.settle(time.Minute)
			w.wantAvailable("a minute later", true)
		})
	}
}

// At rest the file is not written.
func TestProgressAtRest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(3), minReady(time.Minute)), service("db", "b"))
		w.settle(5 * time.Minute)
		path := filepath.Join(w.state, progressPath)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Hour)
		if _, err := os.Stat(path); err == nil {
			t.Error("it was written at rest")
		}
	})
}
