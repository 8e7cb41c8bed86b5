package agent

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

func deadline(d time.Duration) func(*planner.Service) {
	return func(s *planner.Service) { s.ProgressDeadline = d }
}

func reschedule(failures int, within time.Duration) func(*planner.Service) {
	return func(s *planner.Service) { s.Reschedule = planner.Reschedule{Failures: failures, Within: within} }
}

func (w *world) wantFailing(when, why string) {
	w.t.Helper()
	i := w.tellsOne()
	if i.Failing != (why != "") || why != "" && i.Reason != why {
		w.t.Errorf("%s: failing %v (%s %q), want %q", when, i.Failing, i.Phase, i.Reason, why)
	}
}

var instanceID = regexp.MustCompile(`web-0-[0-9a-f]{12}`)

// crashes has what starts from now on end so after a while.
func (w *world) crashes(after time.Duration, exit planner.Exit) {
	w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
		return runtimetest.Behaviour{RunFor: after, Exit: &exit}
	})
}

// What does not become available in time is given up, with what it waits for,
// until it is available after all. That counts once.
func TestFailingDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		a.set("readiness", 3)
		web := service("web", "a", deadline(2*time.Minute), minReady(20*time.Second), with(planner.ProbeReadiness, every(1)))
		w.commit(web)
		w.settle(118 * time.Second)
		w.wantFailing("in time", "")
		w.settle(5 * time.Second)
		const why = "did not become ready within 2m0s: readiness probe: exec readiness: exit code 3"
		w.wantFailing("too late", why)
		if i := w.only("web"); !strings.HasPrefix(i.Reason, why) || w.service("web").Message == "" {
			t.Errorf("status: %q, %q", i.Reason, w.service("web").Message)
		}
		for n := range 10 { // what it says then changes nothing
			a.set("readiness", 4+n)
			w.settle(10 * time.Second)
			w.wantFailing("still", why)
		}
		w.killHard()
		w.start()
		w.settle(time.Second)
		w.wantFailing("another agent", why)

		a.set("readiness", 0)
		w.settle(10 * time.Second)
		w.wantFailing("ready, not yet available", why)
		w.settle(15 * time.Second)
		w.wantFailing("available", "")
		a.set("readiness", 1)
		w.settle(time.Hour)
		w.wantFailing("it was available once", "")
	})
}

// The deadline goes on with the next agent; the time without one does not count.
func TestFailingDeadlineOutlivesTheAgent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.answers().set("readiness", 1)
		w.commit(service("web", "a", deadline(2*time.Minute), with(planner.ProbeReadiness, every(1))))
		w.settle(time.Minute)
		w.killHard()
		w.settle(time.Hour)
		w.start()
		w.settle(50 * time.Second)
		w.wantFailing("110 s in all", "")
		w.settle(35 * time.Second)
		w.wantFailing("more than 120 s in all", "did not become ready within 2m0s: readiness probe: exec readiness: exit code 1")
	})
}

// What was ready, but never for long enough, is told so.
func TestFailingDeadlineUnsteady(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		w.commit(service("web", "a", deadline(time.Minute), minReady(30*time.Second),
			with(planner.ProbeReadiness, every(1), func(p *planner.Probe) { p.FailureThreshold = 1 })))
		for range 8 {
			a.set("readiness", 0)
			w.settle(6 * time.Second)
			a.set("readiness", 1)
			w.settle(2 * time.Second)
		}
		w.wantFailing("", "was not ready for 30s without a break within 1m0s")
	})
}

// What fails as often as its service allows is given up, with how it ends; all
// kinds of ends and starts count, and none before a new revision of the service.
func TestFailingOften(t *testing.T) {
	exit := func(after time.Duration, e planner.Exit) func(w *world) {
		return func(w *world) { w.crashes(after, e) }
	}
	for _, tt := range []struct {
		name string
		edit []func(*planner.Service)
		do   func(w *world)
		want string
	}{
		{"it exits", nil, exit(100*time.Millisecond, planner.Exit{Code: 7}), "failed 5 times within 5m0s: exited with code 7"},
		{"it is killed for memory", []func(*planner.Service){reschedule(3, time.Minute)}, exit(100*time.Millisecond, planner.Exit{Code: 137, Signal: 9, OOM: true}),
			"failed 3 times within 1m0s: killed by the kernel: out of memory (raise resources.limits.memory)"},
		// It is ready each time before it ends.
		{"it is ready for a moment", nil, exit(1500*time.Millisecond, planner.Exit{Code: 1}), "failed 5 times within 5m0s: exited with code 1"},
		{"it does not start", nil, func(w *world) {
			w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
				return runtimetest.Behaviour{StartError: errors.New("no such user")}
			})
		}, "failed 5 times within 5m0s: start ID: container main: no such user"},
		{"its liveness probe has it killed", []func(*planner.Service){with(planner.ProbeLiveness, every(1), func(p *planner.Probe) { p.FailureThreshold = 1 })},
			func(w *world) { w.answers().set("liveness", 2) }, "failed 5 times within 5m0s: liveness probe failed: exec liveness: exit code 2 (1 of 1 failures)"},
		{"no number is too much", []func(*planner.Service){func(s *planner.Service) { s.Reschedule.Never = true }},
			exit(100*time.Millisecond, planner.Exit{Code: 7}), ""},
		{"not often enough", []func(*planner.Service){reschedule(10, 10*time.Second)}, exit(100*time.Millisecond, planner.Exit{Code: 7}), ""},
		// Nobody knows how it ended: with its driver.
		{"its driver went with it", nil, exit(100*time.Millisecond, planner.Exit{Code: 137, Unknown: true}), ""},
		{"it cannot be pulled", nil, func(w *world) {
			w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
				if c.Verb == "Start" {
					return runtime.ErrNotFound // its images were taken away
				}
				return nil
			})
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tt.do(w)
				w.commit(service("web", "a", tt.edit...))
				told := map[string]bool{}
				for range 600 {
					w.settle(500 * time.Millisecond)
					for _, i := range w.told() {
						if i.Failing {
							told[instanceID.ReplaceAllString(i.Reason, "ID")] = true
						}
						if i.Failing && i.Phase == planner.PhaseReady {
							t.Errorf("given up although it is available: %q", i.Reason)
						}
					}
				}
				if tt.want == "" && len(told) > 0 || tt.want != "" && (len(told) != 1 || !told[tt.want]) {
					t.Fatalf("told %v, want %q:\n%s", told, tt.want, describe(w.agent))
				}
				if tt.want == "" {
					return
				}
				for range 2 { // a slow crash loop fails still, also for the next agent
					w.settle(10 * time.Minute)
					for w.tellsOne().Phase == planner.PhaseReady {
						w.settle(time.Second)
					}
					if i := w.tellsOne(); !i.Failing {
						t.Errorf("later: not given up (%s %q)", i.Phase, i.Reason)
					}
					w.killHard()
					w.start()
					w.settle(time.Second)
				}
				w.driver.Behave(nil)
				w.answers()
				w.settle(20 * time.Minute)
				w.wantFailing("it runs", "")
				w.driver.Exit(w.ids()[0], planner.Exit{Code: 9})
				w.settle(100 * time.Millisecond)
				w.wantFailing("what was healthy is forgiven", "")
			})
		})
	}
}

// Failures count on with the next agent.
func TestFailuresOutliveTheAgent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(5 * time.Second)
		for n := range 5 {
			if i := w.tellsOne(); i.Failing {
				t.Fatalf("given up after %d failures: %q", n, i.Reason)
			}
			w.driver.Exit(w.ids()[0], planner.Exit{Code: 7})
			w.settle(100 * time.Millisecond) // it is noticed
			w.killHard()
			w.start()
			w.settle(20 * time.Second)
		}
		w.driver.Exit(w.ids()[0], planner.Exit{Code: 7})
		w.settle(time.Second)
		w.wantFailing("", "failed 5 times within 5m0s: exited with code 7")
	})
}

// What people want left alone is not given up meanwhile, and has all its time
// afterwards.
func TestFailingLeftAlone(t *testing.T) {
	const why = "did not become ready within 2m0s: readiness probe: exec readiness: exit code 1"
	web := func(edit ...func(*planner.Service)) planner.Service {
		return service("web", "a", append(edit, deadline(2*time.Minute), with(planner.ProbeReadiness, every(1)))...)
	}
	for _, tt := range []struct {
		name      string
		take, end func(w *world)
	}{
		{"held",
			func(w *world) {
				if _, err := w.agent.Hold(context.Background(), api.HoldRequest{Target: "web", For: time.Hour, Reason: "I look at it"}); err != nil {
					w.t.Fatal(err)
				}
			},
			func(w *world) { w.settle(time.Hour) }},
		{"suspended",
			func(w *world) {
				w.commit(web(func(s *planner.Service) {
					s.Suspend = &planner.Suspension{Until: time.Now().Add(time.Hour), Reason: "night"}
				}))
			},
			func(w *world) { w.settle(time.Hour) }},
		{"observed",
			func(w *world) { w.commit(web(func(s *planner.Service) { s.Observe = true })) },
			func(w *world) { w.settle(time.Hour); w.commit(web()) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.answers().set("readiness", 1)
				w.commit(web())
				w.settle(time.Minute)
				tt.take(w)
				w.settle(30 * time.Minute)
				w.wantFailing("left alone", "")
				tt.end(w)
				w.settle(29 * time.Minute) // whatever is left of the hour
				w.wantFailing("after that", why)
				tt.take(w)
				w.settle(time.Minute)
				w.wantFailing("left alone again", "")
			})
		})
	}
}

// A slot whose instance waits for its predecessor to stop loses no time by it.
func TestFailingWaitsForPredecessor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{StopDelay: 10 * time.Minute}
		})
		slow := func(s *planner.Service) {
			grace := int64(3600)
			s.Template.TerminationGracePeriodSeconds = &grace
		}
		w.commit(service("db", "a", withVolume, slow, deadline(time.Minute)))
		w.settle(10 * time.Second)
		w.commit(service("db", "b", withVolume, slow, deadline(time.Minute)))
		for range 9 {
			w.settle(time.Minute)
			for _, i := range w.told() {
				if i.Failing {
					t.Errorf("given up while its predecessor stops: %q", i.Reason)
				}
			}
		}
		w.settle(2 * time.Minute)
		w.wantRunning("db-0 b")
		w.wantFailing("it runs", "")
	})
}

// In a fleet images are pulled by leases: one that cannot be pulled has its
// deadline, and no more.
func TestFailingPull(t *testing.T) {
	play(t, 1, func(b *band) {
		p := b.nodes[0]
		p.driver.Before(func(_ context.Context, c runtimetest.Call) error {
			if c.Verb == "Prepare" {
				return errors.New("registry.example.com/a: unauthorized")
			}
			return nil
		})
		b.commit(service("web", "a", deadline(3*time.Minute), minReady(5*time.Second)))
		status := func() planner.InstanceStatus {
			t.Helper()
			st := p.standing()
			if len(st.Instances) != 1 {
				t.Fatalf("%d instances told", len(st.Instances))
			}
			return st.Instances[0]
		}
		b.settle(170 * time.Second)
		if i := status(); i.Failing || i.Phase != planner.PhaseFailed {
			t.Errorf("in time: %s, failing %v (%q)", i.Phase, i.Failing, i.Reason)
		}
		b.settle(40 * time.Second)
		if i := status(); !i.Failing || i.Reason != "did not become ready within 3m0s: registry.example.com/a: unauthorized" {
			t.Errorf("too late: %s, failing %v (%q)", i.Phase, i.Failing, i.Reason)
		}
		p.driver.Before(nil)
		b.settle(6 * time.Minute)
		if i := status(); i.Failing || i.Phase != planner.PhaseReady || !i.Available {
			t.Errorf("pulled after all: %s, failing %v, available %v (%q)", i.Phase, i.Failing, i.Available, i.Reason)
		}
	})
}
