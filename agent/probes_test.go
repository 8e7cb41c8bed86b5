package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// answers are what commands in the fake driver's instances end with, by their
// first word; 0 if none is given, -1 = not before their context ends.
type answers struct {
	mu    sync.Mutex
	codes map[string]int
	ran   []string // "word instance", in order
}

func (w *world) answers() *answers {
	a := &answers{codes: map[string]int{}}
	w.driver.OnExec(func(ctx context.Context, id, _ string, argv []string, _ runtime.Streams) (int, error) {
		if err := alive(ctx); err != nil {
			return 0, err
		}
		a.mu.Lock()
		a.ran = append(a.ran, argv[0]+" "+id)
		code := a.codes[argv[0]]
		a.mu.Unlock()
		if code < 0 {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return code, nil
	})
	return a
}

func (a *answers) set(word string, code int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.codes[word] = code
}

// took returns how often each command ran since the last call.
func (a *answers) took() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := map[string]int{}
	for _, line := range a.ran {
		word, _, _ := strings.Cut(line, " ")
		n[word]++
	}
	a.ran = nil
	return n
}

// with gives the service's container a probe that runs the word of its kind.
func with(kind planner.ProbeKind, edit ...func(*planner.Probe)) func(*planner.Service) {
	return func(s *planner.Service) {
		p := &planner.Probe{Exec: &planner.ProbeExec{Command: []string{string(kind)}}}
		for _, e := range edit {
			e(p)
		}
		c := &s.Template.Containers[0]
		switch kind {
		case planner.ProbeStartup:
			c.StartupProbe = p
		case planner.ProbeLiveness:
			c.LivenessProbe = p
		case planner.ProbeReadiness:
			c.ReadinessProbe = p
		}
	}
}

func every(seconds int) func(*planner.Probe) {
	return func(p *planner.Probe) { p.PeriodSeconds = seconds }
}

// only is the one instance of a service.
func (w *world) only(name string) api.Instance {
	w.t.Helper()
	s := w.service(name)
	if len(s.Instances) != 1 {
		w.t.Fatalf("%d instances of %s:\n%s", len(s.Instances), name, describe(w.agent))
	}
	return s.Instances[0]
}

func (w *world) behind(port int) []runtime.Target {
	for _, p := range w.network.Published() {
		if p.Port == port {
			return p.Targets
		}
	}
	return nil
}

// A published port leads to an instance only while its readiness probe says
// so, and refuses connections while there is none.
func TestTrafficFollowsReadiness(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		a.set("readiness", 1)
		w.commit(service("web", "a", published(80), with(planner.ProbeReadiness, every(1))))
		w.settle(1500 * time.Millisecond)
		if i := w.only("web"); i.Phase != planner.PhaseStarting || !strings.Contains(i.Reason, "not ready yet: exec readiness: exit code 1 (2 of 3 failures)") || len(w.behind(80)) != 0 {
			t.Errorf("it begins %s (%s) with targets %v", i.Phase, i.Reason, w.behind(80))
		}
		w.settle(time.Minute)
		if i := w.only("web"); i.Phase != planner.PhaseUnhealthy || i.Reason != "not ready: exec readiness: exit code 1 (3 of 3 failures)" || len(w.behind(80)) != 0 || i.Restarts != 0 {
			t.Errorf("never ready: %s (%s) with targets %v", i.Phase, i.Reason, w.behind(80))
		}
		a.set("readiness", 0)
		w.settle(1500 * time.Millisecond)
		if i := w.only("web"); i.Phase != planner.PhaseReady || len(w.behind(80)) != 1 {
			t.Errorf("ready: %s with targets %v", i.Phase, w.behind(80))
		}
		a.set("readiness", 1)
		w.settle(2 * time.Second)
		if i := w.only("web"); i.Phase != planner.PhaseReady || len(w.behind(80)) != 1 {
			t.Errorf("after two failures: %s with targets %v", i.Phase, w.behind(80))
		}
		w.settle(time.Second)
		if i := w.only("web"); i.Phase != planner.PhaseUnhealthy || len(w.behind(80)) != 0 {
			t.Errorf("after three: %s with targets %v", i.Phase, w.behind(80))
		}
	})
}

// The old instance stays, and has the traffic, until the readiness probe of
// the new one succeeds.
func TestReplacementWaitsForReadiness(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		w.commit(service("web", "a", published(80), with(planner.ProbeReadiness, every(1))))
		w.settle(3 * time.Second)
		old := w.behind(80)
		if len(old) != 1 {
			t.Fatalf("targets %v:\n%s", old, describe(w.agent))
		}
		a.set("readiness", 1)
		// The old one fails as well, but not often enough for its next check to count.
		w.commit(service("web", "b", published(80), with(planner.ProbeReadiness, every(10))))
		w.settle(2 * time.Second)
		w.wantRunning("web-0 a", "web-0 b")
		if now := w.behind(80); !slices.Equal(now, old) {
			t.Errorf("targets %v, want the old %v", now, old)
		}
		a.set("readiness", 0)
		w.settle(20 * time.Second)
		w.wantRunning("web-0 b")
		if now := w.behind(80); len(now) != 1 || slices.Equal(now, old) {
			t.Errorf("targets %v", now)
		}
	})
}

// What fails its liveness is stopped at once and started after the back-off of
// a crash loop; every start has its failureThreshold anew.
func TestLivenessRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		a.set("liveness", 1)
		w.commit(service("web", "a", with(planner.ProbeLiveness, every(1))))
		w.settle(2 * time.Minute)
		// Each run takes 2 s until its third failure; it is up again at once,
		// then after 1 s, 2 s, 4 s …
		at, want := time.Duration(0), []time.Duration{0}
		for _, s := range []int{0, 1, 2, 4, 8, 16, 32} {
			at += time.Duration(2+s) * time.Second
			want = append(want, at)
		}
		got := w.startTimes()
		for n, moment := range want {
			if n >= len(got) || got[n] < moment || got[n] > moment+time.Duration(n+1)*300*time.Millisecond {
				t.Fatalf("starts at %v, want about %v", got, want)
			}
		}
		if checks := a.took()["liveness"]; checks < 3*len(got)-3 || checks > 3*len(got) {
			t.Errorf("%d checks in %d runs, want three each", checks, len(got))
		}
		i := w.only("web")
		if i.Restarts != len(got)-1 || !strings.Contains(i.Reason, "liveness probe failed: exec liveness: exit code 1 (3 of 3 failures)") || i.Phase != planner.PhaseFailed {
			t.Errorf("%d restarts in %d starts: %s %q", i.Restarts, len(got), i.Phase, i.Reason)
		}
		a.set("liveness", 0)
		w.settle(3 * time.Minute)
		if i := w.only("web"); i.Phase != planner.PhaseReady {
			t.Errorf("%s %q", i.Phase, i.Reason)
		}
	})
}

// Liveness waits for the startup probe; the grace of a probe's stop is the
// probe's own if it has one.
func TestStartupHoldsLiveness(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		a.set("startup", 1)
		a.set("liveness", 1)
		w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{Deaf: true}
		})
		five := int64(5)
		w.commit(service("web", "a", with(planner.ProbeLiveness, every(1)),
			with(planner.ProbeStartup, every(1), func(p *planner.Probe) { p.FailureThreshold = 20; p.TerminationGracePeriodSeconds = &five })))
		w.settle(15 * time.Second)
		if n := a.took(); n["liveness"] != 0 || n["startup"] < 14 {
			t.Errorf("while it starts: %v", n)
		}
		if i := w.only("web"); i.Phase != planner.PhaseStarting || !strings.Contains(i.Reason, "not ready yet: exec startup") {
			t.Errorf("%s %q", i.Phase, i.Reason)
		}
		w.settle(20 * time.Second) // 20 failures, 5 s of grace, a new start
		starts := w.startTimes()
		if len(starts) != 2 || starts[1] < 24*time.Second || starts[1] > 26*time.Second {
			t.Errorf("starts at %v, want the second 5 s after the twentieth failure", starts)
		}
		a.set("startup", 0)
		w.settle(2 * time.Second)
		if n := a.took(); n["liveness"] == 0 {
			t.Errorf("after the startup probe: %v", n)
		}
	})
}

// A new agent changes nothing that probes have found: what was ready has its
// traffic on, what failed once is stopped after two more failures.
func TestAgentRestartChangesNoProbe(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		w.driver.Before(func(ctx context.Context, _ runtimetest.Call) error { return alive(ctx) })
		var services []planner.Service
		for n := range 20 {
			services = append(services, service(fmt.Sprintf("web-%d", n), "a", published(8000+n), with(planner.ProbeReadiness), with(planner.ProbeLiveness)))
		}
		w.commit(services...)
		w.settle(15 * time.Second)
		var ready []runtime.Front
		for _, p := range w.network.Published() {
			if len(p.Targets) == 1 {
				ready = append(ready, p)
			}
		}
		if len(ready) != 20 {
			t.Fatalf("%d are ready:\n%s", len(ready), describe(w.agent))
		}
		a.set("liveness", 1)
		w.settle(10 * time.Second) // one failure each
		published := len(w.network.Called("Balance"))
		w.killHard()
		a.took()
		w.start()
		w.settle(100 * time.Millisecond)
		if n := a.took(); n["readiness"]+n["liveness"] > 12 {
			t.Errorf("a storm of %v checks", n)
		}
		for _, s := range w.agent.Status().Services {
			if s.Ready != 1 {
				t.Errorf("%s is not ready any more: %+v", s.Name, s.Instances)
			}
		}
		if starts := len(w.driver.Called("Start")); starts != 20 {
			t.Errorf("%d starts", starts)
		}
		for n, p := range w.network.Published() {
			if len(p.Targets) != 1 {
				t.Errorf("port %d of %d has lost its target (publications before: %d)", n, p.Port, published)
			}
		}
		w.settle(10300 * time.Millisecond)
		if n := a.took(); n["liveness"] < 20 || n["liveness"] > 40 {
			t.Errorf("%v checks in the first period, want about one each", n)
		}
		if starts := len(w.driver.Called("Start")); starts > 30 {
			t.Errorf("%d starts after two failures of nearly each", starts)
		}
		w.settle(10 * time.Second)
		if starts := len(w.driver.Called("Start")); starts != 40 {
			t.Errorf("%d starts: the third failure of each restarts it", starts)
		}
	})
}

// A check that the driver cannot make is no result.
func TestDriverAwayIsNoResult(t *testing.T) {
	inWorld(t, func(w *world) {
		w.answers()
		w.commit(service("web", "a", with(planner.ProbeReadiness, every(1)), with(planner.ProbeLiveness, every(1))))
		w.settle(3 * time.Second)
		w.driver.SetUnavailable(true)
		w.settle(time.Minute)
		w.driver.SetUnavailable(false)
		w.settle(3 * time.Second)
		if i := w.only("web"); i.Phase != planner.PhaseReady || i.Restarts != 0 {
			t.Errorf("%s %q after %d restarts", i.Phase, i.Reason, i.Restarts)
		}
	})
}

// A driver that runs no commands gets no service that needs them.
func TestCommandsNeedADriverThatRunsThem(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.more = map[string]runtime.Driver{planner.DriverContainerd: struct{ runtime.Driver }{w.driver}}
		w.start()
		w.commit(service("web", "a", with(planner.ProbeReadiness)), service("plain", "a"))
		w.settle(5 * time.Second)
		w.wantRunning("plain-0 a")
		if s := w.service("web"); !strings.Contains(s.Message, "has no commands run in an instance") {
			t.Errorf("message %q", s.Message)
		}
	})
}

// preStop runs before the stop signal, within the grace period; what uses it
// up leaves two seconds; one that fails delays nothing.
func TestPreStop(t *testing.T) {
	tests := []struct {
		name  string
		hook  planner.PreStop
		code  int           // of the command
		grace time.Duration // what Stop is given
		after time.Duration // when
	}{
		{"a command", planner.PreStop{Command: []string{"bye"}}, 0, 30 * time.Second, 0},
		{"that fails", planner.PreStop{Command: []string{"bye"}}, 1, 30 * time.Second, 0},
		{"that never ends", planner.PreStop{Command: []string{"bye"}}, -1, 2 * time.Second, 30 * time.Second},
		{"a sleep", planner.PreStop{Sleep: &planner.Sleep{Seconds: 12}}, 0, 18 * time.Second, 12 * time.Second},
		{"a long sleep", planner.PreStop{Sleep: &planner.Sleep{Seconds: 29}}, 0, 2 * time.Second, 29 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.answers()
				a.set("bye", tt.code)
				w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
					return runtimetest.Behaviour{Deaf: true}
				})
				hooked := func(s *planner.Service) {
					s.Template.Containers[0].Lifecycle = &planner.Lifecycle{PreStop: &tt.hook}
				}
				w.commit(service("web", "a", hooked), service("other", "b"))
				w.settle(3 * time.Second)
				began := time.Now()
				w.commit(service("other", "b")) // the lease is gone, and the manifest
				w.settle(time.Minute)
				w.wantRunning("other-0 b")
				stops := w.driver.Called("Stop")
				if len(stops) != 1 {
					t.Fatalf("%d stops", len(stops))
				}
				if at := stops[0].Begin.Sub(began); at < tt.after || at > tt.after+2*time.Second {
					t.Errorf("stopped after %v, want %v", at, tt.after)
				}
				// Deaf, it lives as long as the grace it is given.
				if took := stops[0].End.Sub(stops[0].Begin); took < tt.grace-2*time.Second || took > tt.grace {
					t.Errorf("killed after %v more, want %v", took, tt.grace)
				}
				if ran := a.took()["bye"]; ran > 1 || ran == 0 && tt.hook.Command != nil {
					t.Errorf("the hook ran %d times", ran)
				}
			})
		})
	}
}

// How an instance ended stands in the status with what it wrote last: bounded,
// and harmless to a terminal; an OOM by its name.
func TestAttack23LastLinesAreHarmless(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.Behave(func(l runtime.Workload, c runtime.Container) runtimetest.Behaviour {
			text := strings.Repeat("noise\n", 2000) + "\x1b[2Jpanic: \x07no leader\r\n" + strings.Repeat("x", 5000) + "\nthe end"
			if err := os.WriteFile(c.LogPath, []byte(text), 0o600); err != nil {
				t.Error(err)
			}
			return runtimetest.Behaviour{Exit: &planner.Exit{Code: 137, Signal: 9, OOM: true}, RunFor: time.Second / 2}
		})
		w.commit(service("web", "a"))
		w.settle(10 * time.Second)
		i := w.only("web")
		if i.Phase != planner.PhaseFailed || !strings.Contains(i.Reason, "out of memory") || i.Restarts == 0 {
			t.Errorf("%s after %d restarts: %q", i.Phase, i.Restarts, i.Reason)
		}
		if n := len(i.LastLog); n != lastLines || i.LastLog[n-1] != "the end" || i.LastLog[n-3] != `\x1b[2Jpanic: \ano leader` || len(i.LastLog[n-2]) > maxLastLine {
			t.Errorf("%d lines: %q", len(i.LastLog), i.LastLog)
		}
		w.driver.Behave(nil)
		w.settle(time.Minute)
		if i := w.only("web"); i.Phase != planner.PhaseReady || i.LastLog != nil {
			t.Errorf("%s with %d lines of before", i.Phase, len(i.LastLog))
		}
	})
}

func TestLastLinesOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	tests := []struct {
		text string
		want []string
	}{
		{"", nil},
		{"\n\n", nil},
		{"one", []string{"one"}},
		{"one\ntwo\n", []string{"one", "two"}},
		{"a\n\nb\n", []string{"a", "", "b"}},
		// Longer than what is read: the line that is cut off is left out.
		{strings.Repeat("x", maxLastBytes) + "\nwhole\n", []string{"whole"}},
		// One line longer than all that is read.
		{strings.Repeat("x", 2*maxLastBytes), []string{strings.Repeat("x", maxLastLine-3) + "…"}},
	}
	for _, tt := range tests {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastLinesOf(path); !slices.Equal(got, tt.want) {
			t.Errorf("%.20q: %.60q", tt.text, got)
		}
	}
	if got := lastLinesOf(path + "-none"); got != nil {
		t.Errorf("no file: %q", got)
	}
}

// Nothing that others are told changes with a check that decides nothing.
func TestToldPhaseIsStill(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.answers()
		a.set("readiness", 1)
		w.commit(service("web", "a", with(planner.ProbeReadiness, every(1), func(p *planner.Probe) { p.FailureThreshold = 5 })))
		w.settle(500 * time.Millisecond)
		told := map[string]int{}
		for n := range 20 {
			a.set("readiness", 1+n) // another text each time
			w.settle(time.Second)
			if err := w.agent.onLoop(context.Background(), func() error {
				all, _ := w.agent.instances()
				if len(all) != 1 {
					return errors.New("no instance")
				}
				phase, reason := w.agent.toldPhase(all[0])
				told[string(phase)+" "+reason]++
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if len(told) != 2 {
			t.Errorf("told %v, want starting, then unhealthy", told)
		}
	})
}

// What a probe asks is told with the address and the number of the port.
func TestProbeAsTold(t *testing.T) {
	a := &Agent{attached: map[string]runtime.Attachment{"web-0-1": {NetNS: "/run/netns/x", Address: "10.231.0.5"}}}
	d := &driverState{}
	d.info.Name, d.info.Capabilities.NetNS = "containerd", true
	a.drivers = map[string]*driverState{"containerd": d}
	i := planner.Instance{ID: "web-0-1", Driver: "containerd"}
	c := planner.Container{Ports: []planner.ContainerPort{{Name: "http", ContainerPort: 8080}}}
	for want, p := range map[string]planner.Probe{
		"httpGet http://10.231.0.5:8080/ready": {HTTPGet: &planner.ProbeHTTP{Path: "/ready", Port: "http"}},
		"httpGet http://192.0.2.1:80/":         {HTTPGet: &planner.ProbeHTTP{Port: "80", Host: "192.0.2.1"}},
		"tcpSocket 10.231.0.5:8080":            {TCPSocket: &planner.ProbePort{Port: "http"}},
		"tcpSocket 10.231.0.5:none":            {TCPSocket: &planner.ProbePort{Port: "none"}},
		"grpc :8080":                           {GRPC: &planner.ProbeGRPC{Port: "http"}},
		"exec /bin/true":                       {Exec: &planner.ProbeExec{Command: []string{"/bin/true"}}},
	} {
		if got := a.asked(i, c, &p).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
