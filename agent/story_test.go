package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// startTimes are the times of all starts so far, counted from the first.
func (w *world) startTimes() []time.Duration {
	var out []time.Duration
	calls := w.driver.Called("Start")
	for _, c := range calls {
		out = append(out, c.Begin.Sub(calls[0].Begin).Round(100*time.Millisecond))
	}
	return out
}

func TestCrashLoopBacksOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{Exit: &planner.Exit{Code: 1}} // ends at once
		})
		w.commit(service("web", "a"))
		w.settle(40 * time.Minute)
		got := w.startTimes()
		// At once, then after 1 s, doubling to 5 min.
		at, want := time.Duration(0), []time.Duration{0, 0}
		for _, s := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
			at += time.Duration(s) * time.Second
			want = append(want, at)
		}
		for n, moment := range want {
			if n >= len(got) || got[n] < moment || got[n] > moment+time.Duration(n+1)*200*time.Millisecond {
				t.Fatalf("starts at %v, want about %v", got, want)
			}
		}
		if s := w.agent.Status().Services[0]; !strings.Contains(s.Message, "exited with code 1 (tried ") {
			t.Errorf("message %q", s.Message)
		}
	})
}

func TestBackoffIsForgottenAfterTenMinutes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		for range 6 {
			w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
			w.settle(40 * time.Second)
		}
		w.wantRunning("web-0 a")
		w.settle(11 * time.Minute)
		w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
		w.settle(500 * time.Millisecond)
		w.wantRunning("web-0 a")
	})
}

func TestStuckStartsHoldUpNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.Behave(func(l runtime.Workload, _ runtime.Container) runtimetest.Behaviour {
			if l.Slot.Service.Name == "stuck" {
				return runtimetest.Behaviour{StartDelay: 24 * time.Hour}
			}
			return runtimetest.Behaviour{}
		})
		w.commit(service("stuck", "a", replicas(20)), service("web", "b"))
		w.settle(45 * time.Second)
		w.wantRunning("web-0 b")
		// A newer commit gives the start up; nothing of it remains.
		w.commit(service("stuck", "a"), service("web", "c"))
		w.settle(20 * time.Second)
		if n := len(w.ids()); n != 2 {
			t.Errorf("%d instances exist, want web and one start under way: %v", n, w.ids())
		}
		w.commit(service("web", "c"))
		w.settle(10 * time.Second)
		w.wantRunning("web-0 c")
		if ids := w.ids(); len(ids) != 1 || len(w.network.Attached()) != 1 {
			t.Errorf("instances %v, attachments %v; want those of web", ids, w.network.Attached())
		}
	})
}

// TestStartIsGivenUpOnce: a start that takes its time to end is told to once,
// and told of once, however often the loop looks at it.
func TestStartIsGivenUpOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		told := 0
		w.log = slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			told += strings.Count(string(p), "start given up")
			return len(p), nil
		}), nil)
		w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
			if c.Verb == "Start" {
				time.Sleep(time.Minute)
			}
			return nil
		})
		w.start()
		w.commit(service("web", "a"))
		w.settle(5 * time.Second)
		for range 5 {
			w.commit(service("other", "b"))
			w.settle(5 * time.Second)
		}
		if told != 1 {
			t.Errorf("told %d times that a start is given up", told)
		}
	})
}

func TestSilentRegistryHoldsUpNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.Before(func(ctx context.Context, c runtimetest.Call) error {
			if c.Verb == "Pull" && strings.HasSuffix(c.Image, "/a") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		var services []planner.Service
		for n := range 6 {
			services = append(services, service(fmt.Sprintf("slow%d", n), "a", func(s *planner.Service) { s.Template.Hostname = fmt.Sprint(n) }))
		}
		w.commit(append(services, service("web", "b"))...)
		w.settle(3 * time.Minute)
		w.wantRunning("web-0 b")
	})
}

func TestHangingDriverHoldsUpOnlyItself(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		procs := runtimetest.NewFake(planner.DriverProcess)
		procs.SetInfo(func(i *runtime.Info) { i.Capabilities = runtime.Capabilities{} })
		w.more = map[string]runtime.Driver{planner.DriverProcess: procs}
		w.policy.Drivers = []string{planner.DriverContainerd, planner.DriverProcess}
		hang := time.Now().Add(time.Minute)
		w.driver.Before(func(ctx context.Context, c runtimetest.Call) error {
			if c.Verb == "List" && time.Now().Before(hang) {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		w.start()
		tool := service("tool", "", func(s *planner.Service) {
			s.Template.Driver = planner.DriverProcess
			s.Template.Containers[0] = planner.Container{Name: "main", Command: []string{"/bin/tool"}}
		})
		w.commit(service("web", "a"), tool)
		w.settle(3 * time.Second)
		if have := procs.Listing(); len(have) != 1 || have[0].State != planner.StateRunning {
			t.Errorf("process driver has %v, want tool running", have)
		}
		procs.Exit(procs.Listing()[0].ID, planner.Exit{Code: 1})
		w.settle(time.Second)
		if have := procs.Listing(); have[0].State != planner.StateRunning {
			t.Errorf("tool is %s a second after its exit", have[0].State)
		}
		w.settle(90 * time.Second)
		w.wantRunning("web-0 a")
	})
}

// deafDriver has no hints and a Wait that knows nothing.
type deafDriver struct{ runtime.Driver }

func (deafDriver) Wait(ctx context.Context, _ string) (planner.Exit, error) {
	<-ctx.Done()
	return planner.Exit{}, ctx.Err()
}

func TestDriftIsCorrected(t *testing.T) {
	rows := []struct {
		name   string
		deaf   bool
		within time.Duration
	}{
		{"with the hint, within a second", false, time.Second},
		{"without any, at the next listing", true, 11 * time.Second},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				if row.deaf {
					w.crash()
					w.more = map[string]runtime.Driver{planner.DriverContainerd: deafDriver{w.driver}}
					w.start()
				}
				w.commit(service("web", "a"))
				w.settle(20 * time.Second)
				for n := range 3 {
					w.driver.Vanish(w.ids()[0])
					w.settle(row.within)
					w.wantRunning("web-0 a")
					if r := w.agent.Status().Services[0].Instances[0].Restarts; r != n+1 {
						t.Errorf("restarts %d, want %d", r, n+1)
					}
					w.settle(20 * time.Second)
				}
			})
		})
	}
}

func TestLongGraceHoldsUpNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		grace := int64(3600)
		deaf := func(s *planner.Service) { s.Template.TerminationGracePeriodSeconds = &grace }
		w.driver.Behave(func(l runtime.Workload, _ runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{Deaf: l.Slot.Service.Name == "deaf"}
		})
		w.commit(service("deaf", "a", deaf, replicas(40)), service("web", "a"), service("db", "b", withVolume))
		w.settle(10 * time.Second)
		w.commit(service("deaf", "a", deaf, replicas(0)), service("web", "b"), service("db", "c", withVolume))
		w.settle(30 * time.Second)
		got := w.running()
		if !slices.Contains(got, "web-0 b") || !slices.Contains(got, "db-0 c") || slices.Contains(got, "web-0 a") {
			t.Errorf("running %q, want web-0 b and db-0 c beside the deaf ones", got)
		}
	})
}

// TestOrderOfReplacement holds the order of driver and network calls of one
// replacement.
func TestOrderOfReplacement(t *testing.T) {
	rows := []struct {
		name string
		edit func(*planner.Service)
		want string
	}{
		// The new one runs and is published before the old one is stopped.
		{"start-first", func(*planner.Service) {}, "Start new, Publish new, Stop old"},
		// Connections are refused before the old one ends, and none runs meanwhile.
		{"stop-first", withVolume, "Publish none, Stop old, Start new, Publish new"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				published80 := published(80)
				w.commit(service("web", "a", published80, row.edit))
				w.settle(5 * time.Second)
				old, oldAddress := w.ids()[0], w.network.Published()[0].Targets[0].Address
				var log []string
				published := "old"
				var mu sync.Mutex
				look := func() {
					if now := w.targets(oldAddress); now != published {
						published = now
						log = append(log, "Publish "+now)
					}
				}
				w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
					if c.Verb == "Start" || c.Verb == "Stop" {
						mu.Lock()
						defer mu.Unlock()
						look()
						log = append(log, c.Verb+map[bool]string{true: " old", false: " new"}[c.ID == old])
					}
					return nil
				})
				w.network.Before(func(context.Context, runtimetest.Call) error {
					time.Sleep(50 * time.Millisecond) // what does not wait for it comes before it
					return nil
				})
				w.commit(service("web", "b", published80, row.edit))
				for range 500 { // the ports are looked at before each call, and now and then
					w.settle(10 * time.Millisecond)
					mu.Lock()
					look()
					mu.Unlock()
				}
				if got := strings.Join(log, ", "); got != row.want {
					t.Errorf("calls: %s\nwant:  %s", got, row.want)
				}
			})
		})
	}
}

// targets says which of two instances the published port leads to.
func (w *world) targets(old string) string {
	targets := w.network.Published()[0].Targets
	switch {
	case len(targets) == 0:
		return "none"
	case len(targets) > 1:
		return "both"
	case targets[0].Address == old:
		return "old"
	}
	return "new"
}

func TestPendingDeletionSurvivesTheAgent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("db", "a", withVolume), service("web", "b"))
		w.settle(3 * time.Second)
		deleted := w.commit(service("web", "b"))
		w.settle(3 * time.Second)
		w.crash()
		w.repo.fail(errors.New("connection refused"))
		w.start()
		w.settle(time.Minute)
		w.wantRunning("db-0 a", "web-0 b")
		w.repo.fail(nil)
		w.settle(time.Minute)
		w.wantRunning("db-0 a", "web-0 b")
		if s := w.service("db"); s.Approve != "Prune-Approved: "+deleted.Hash {
			t.Errorf("approve %q, message %q; want the trailer for %s", s.Approve, s.Message, deleted.Short())
		}
		if d := w.agent.Status().Deletions; len(d) != 1 || d[0].Count != 1 || d[0].Services[0] != "db" || d[0].Approve != "Prune-Approved: "+deleted.Hash {
			t.Errorf("deletions that wait: %+v", d)
		}
		w.repo.commit(planner.Desired{Services: byID([]planner.Service{service("web", "b")})}, deleted.Hash)
		w.settle(5 * time.Second)
		w.wantRunning("web-0 b")
	})
}

func TestRevertUsesTheSameDigest(t *testing.T) {
	digest := func(w *world) string { return w.driver.Listing()[0].Containers[0].Digest }
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		first := digest(w)
		w.commit(service("web", "b"))
		w.settle(5 * time.Second)
		w.driver.PushImage("registry.example.com/a")
		w.driver.ForgetImages()
		w.crash()
		w.start()
		w.commit(service("web", "a"))
		w.settle(5 * time.Second)
		if got := digest(w); got != first {
			t.Errorf("digest %s after the revert, was %s", got, first)
		}
	})
}

func TestLostStateKeepsDigests(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		first := w.driver.Listing()[0].Containers[0].Digest
		w.crash()
		w.state = filepath.Join(w.state, "lost")
		w.start()
		w.settle(100 * time.Millisecond)
		w.driver.PushImage("registry.example.com/a")
		w.crash()
		w.driver.Vanish(w.ids()[0]) // what it ran from is on disk alone
		w.driver.ForgetImages()
		w.start()
		w.settle(10 * time.Second)
		w.wantRunning("web-0 a")
		if got := w.driver.Listing()[0].Containers[0].Digest; got != first {
			t.Errorf("digest %s after the restart, was %s", got, first)
		}
	})
}

// TestBrokenStateStopsNothing: whatever is wrong with the state file, it is
// set aside, said, and what runs stays.
func TestBrokenStateStopsNothing(t *testing.T) {
	good := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	rows := []struct {
		name string
		make func(path string) string
	}{
		{"corrupted", func(p string) string { return strings.Replace(good(p), `"leases"`, `"leases`, 1) }},
		{"truncated", func(p string) string { d := good(p); return d[:len(d)/2] }},
		{"empty", func(string) string { return "" }},
		{"of a newer release", func(p string) string { return strings.Replace(good(p), `"format":1`, `"format":7`, 1) }},
		{"not JSON", func(string) string { return "\x7fELF\x00\x00" }},
		{"of a wrong type", func(string) string { return `{"format":1,"services":{"a":1}}` }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.commit(service("web", "a", published(80)), service("db", "b", withVolume))
				w.settle(3 * time.Second)
				w.crash()
				path := filepath.Join(w.state, statePath)
				if err := os.WriteFile(path, []byte(row.make(path)), 0o600); err != nil {
					t.Fatal(err)
				}
				events := len(w.driver.History())
				w.repo.fail(errors.New("connection refused"))
				w.start()
				if p := w.agent.Status().Problems; len(p) != 1 || !strings.Contains(p[0], "set aside") {
					t.Errorf("problems %q, want that the state was set aside", p)
				}
				w.settle(time.Minute)
				if ports := w.network.Published(); len(ports) != 1 || len(ports[0].Targets) != 1 {
					t.Errorf("published %v, want what was", ports)
				}
				w.repo.fail(nil)
				w.settle(time.Minute)
				w.wantRunning("db-0 b", "web-0 a")
				if n := len(w.driver.History()) - events; n != 0 {
					t.Errorf("%d changes of instances, want none", n)
				}
				if _, err := os.Stat(path + ".unreadable"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestLostStateAndFullDiskStopNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2)), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		w.crash()
		w.state = filepath.Join(w.state, "new")
		if err := os.MkdirAll(filepath.Join(w.state, statePath+".new"), 0o700); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.settle(10 * time.Minute)
		w.wantRunning("db-0 b", "web-0 a", "web-1 a")
	})
}

// TestNodeGetsAnotherName: the state folder is the node, not its name.
func TestNodeGetsAnotherName(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		events := len(w.driver.History())
		w.crash()
		w.name = "n2"
		w.start()
		w.settle(time.Minute)
		w.wantRunning("db-0 b", "web-0 a")
		if n := len(w.driver.History()) - events; n != 0 {
			t.Errorf("%d changes of instances, want none", n)
		}
	})
}

// TestStateIsBounded: a file that is no state of ours is not read whole.
func TestStateIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), statePath)
	if err := os.WriteFile(path, []byte("12345678"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := readBounded(path, 8); err != nil || len(data) != 8 {
		t.Errorf("file of the size allowed: %q, %v", data, err)
	}
	if _, err := readBounded(path, 7); err == nil || !strings.Contains(err.Error(), "larger than 7 bytes") {
		t.Errorf("larger file: %v", err)
	}
}

func TestStatusTellsOfTheNetwork(t *testing.T) {
	inWorld(t, func(w *world) {
		w.settle(time.Second)
		if n := w.agent.Status().Network; n == nil || n.Bridge == "" || n.Error != "" {
			t.Errorf("network %+v, want its bridge and no error", n)
		}
	})
}

// A registry that is away holds up only what needs something from it.
func TestRegistryDownChangeOfVariable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		before := w.driver.Listing()[1].Containers[0].Digest
		w.driver.PushImage("registry.example.com/a")
		w.driver.SetRegistry(runtimetest.ErrRegistryDown)
		changed := service("web", "a", func(s *planner.Service) {
			s.Template.Containers[0].Env = []planner.EnvVar{{Name: "LEVEL", Value: "debug"}}
		})
		w.commit(changed, service("db", "c", withVolume))
		w.settle(10 * time.Second)
		w.wantRunning("db-0 b", "web-0 a") // c is not on the node
		for _, i := range w.driver.Listing() {
			if i.Slot.Service.Name == "web" && (i.Revision != changed.Revision || i.Containers[0].Digest != before) {
				t.Errorf("web has revision %s and digest %s, want %s and %s", i.Revision.Short(), i.Containers[0].Digest, changed.Revision.Short(), before)
			}
		}
	})
}

// What is wrong with the commit in force is told also while the newest one is
// refused, if that is for something else.
func TestFaultsAreToldBesideARefusal(t *testing.T) {
	inWorld(t, func(w *world) {
		old := w.commit(service("web", "a"), service("db", "b"))
		w.settle(3 * time.Second)
		fault := planner.Fault{File: "web.yaml", Line: 7, Field: "spec.image", Reason: "is required"}
		faulty := w.repo.commit(planner.Desired{Services: byID([]planner.Service{service("db", "b")}), Faults: []planner.Fault{fault}})
		w.settle(3 * time.Second)
		w.repo.setBack(old)
		w.settle(time.Minute)
		if st := w.agent.Status(); st.Repository.Refused == "" || len(st.Faults) != 1 || st.Faults[0] != fault || st.FaultsIn != faulty.Short() {
			t.Errorf("refused: %q, faults %v in %s; want %v in %s", st.Repository.Refused, st.Faults, st.FaultsIn, fault, faulty.Short())
		}
		w.repo.setBack(faulty)
		broken := w.repo.refuse("is no fleet")
		w.settle(time.Minute)
		if st := w.agent.Status(); len(st.Faults) != 1 || st.Faults[0].File != "fleet.yaml" || st.FaultsIn != broken.Short() {
			t.Errorf("faults %v in %s; want those of %s", st.Faults, st.FaultsIn, broken.Short())
		}
	})
}

// What is wrong with the commit in force is told again after a restart
// without Git.
func TestFaultsAreToldAfterRestartWithoutGit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(3 * time.Second)
		fault := planner.Fault{File: "web.yaml", Line: 7, Field: "spec.image", Reason: "is required"}
		w.repo.commit(planner.Desired{Services: byID([]planner.Service{service("db", "b", withVolume)}), Faults: []planner.Fault{fault}})
		w.settle(3 * time.Second)
		w.crash()
		w.repo.fail(errors.New("connection refused"))
		w.start()
		w.settle(3 * time.Second)
		st := w.agent.Status()
		if len(st.Faults) != 1 || st.Faults[0] != fault {
			t.Errorf("faults %v, want %v", st.Faults, fault)
		}
		for _, s := range st.Services {
			if s.Name == "web" && s.Message == "" {
				t.Error("web does not say why it is held back")
			}
		}
	})
}
