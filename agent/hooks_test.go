package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// withHook gives a service a preRollout hook of this image. It is suspended:
// leases stay as the test gives them.
func withHook(image string, edit ...func(*planner.Template)) func(*planner.Service) {
	return func(s *planner.Service) {
		s.Suspend = &planner.Suspension{Until: time.Now().AddDate(1, 0, 0)}
		t := planner.Template{
			Once: true, Of: planner.RevisionOf(s.Template),
			Containers: []planner.Container{{Name: "main", Image: "registry.example.com/" + image}},
		}
		for _, e := range edit {
			e(&t)
		}
		s.Hooks = map[planner.HookKind]planner.Hook{planner.HookPreRollout: {Template: t, Revision: planner.RevisionOf(t)}}
	}
}

// giveHook restarts the agent with a lease for the hook of a service that is
// followed already, and with this in the file of what was begun.
func (w *world) giveHook(s planner.Service, once ...string) {
	w.t.Helper()
	w.commit(s)
	w.settle(time.Second)
	w.crash()
	path := filepath.Join(w.state, statePath)
	state, err := loadState(path)
	if err != nil {
		w.t.Fatal(err)
	}
	hook := s.Hooks[planner.HookPreRollout]
	state.docs[s.ID] = planner.LeaseDoc{
		Service: s.ID, Commit: state.followed.Commit.Hash, Tokens: 1,
		Leases: []planner.Lease{{Slot: "prerollout", Hook: planner.HookPreRollout, Node: w.name, Token: 1, Revision: hook.Revision}},
	}
	state.followed.Services[s.ID] = s
	state.specs[hook.Revision] = hook.Template
	if err := state.save(path, true); err != nil {
		w.t.Fatal(err)
	}
	for _, text := range once {
		if err := os.WriteFile(filepath.Join(w.state, oncePath), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	w.start()
}

// hook is what the status says of the hook of service web.
func (w *world) hook() api.Instance {
	w.t.Helper()
	for _, i := range w.service("web").Instances {
		if i.Slot == "prerollout" {
			return i
		}
	}
	w.t.Fatalf("no hook in the status:\n%s", describe(w.agent))
	return api.Instance{}
}

func (w *world) wantHook(phase planner.Phase, reason string) {
	w.t.Helper()
	if h := w.hook(); h.Phase != phase || !strings.HasPrefix(h.Reason, reason) || reason == "" && h.Reason != "" {
		w.t.Errorf("the hook is %s %q, want %s %q", h.Phase, h.Reason, phase, reason)
	}
}

// begun counts how often the hook has run.
func (w *world) begun() (n int) {
	running := map[string]bool{}
	for _, e := range w.driver.History() {
		now := !e.Removed && e.Instance.State != planner.StatePartial
		if now && !running[e.Instance.ID] {
			n++
		}
		running[e.Instance.ID] = now
	}
	return n
}

// endsAfter is a program that ends with a code after some time.
func endsAfter(d time.Duration, code int) runtimetest.Behaviour {
	return runtimetest.Behaviour{RunFor: d, Exit: &planner.Exit{Code: code}}
}

// behaves has all that is started behave like this.
func (w *world) behaves(b runtimetest.Behaviour) {
	w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour { return b })
}

func TestHookRunsOnce(t *testing.T) {
	restart := func(w *world) { w.crash(); w.start() }
	vanish := func(w *world) {
		for _, id := range w.ids() {
			w.driver.Vanish(id)
		}
	}
	for _, c := range []struct {
		name   string
		code   int // it ends with, after 10 s
		middle func(w *world)
		phase  planner.Phase
		reason string
	}{
		{"succeeds", 0, func(*world) {}, planner.PhaseSucceeded, ""},
		{"fails", 3, func(*world) {}, planner.PhaseFailed, "exited with code 3"},
		{"the agent is started again", 0, restart, planner.PhaseSucceeded, ""},
		{"the agent is started again, and it fails", 3, restart, planner.PhaseFailed, "exited with code 3"},
		{"it ends while no agent runs", 0, func(w *world) { w.crash(); time.Sleep(time.Minute); w.start() }, planner.PhaseSucceeded, ""},
		{"it fails while no agent runs", 3, func(w *world) { w.crash(); time.Sleep(time.Minute); w.start() }, planner.PhaseFailed, "exited with code 3"},
		{"it is removed by hand", 0, vanish, planner.PhaseFailed, notFoundAgain},
		{"it is removed by hand while no agent runs", 0, func(w *world) { w.crash(); vanish(w); w.start() }, planner.PhaseFailed, notFoundAgain},
		{"it is removed by hand while no agent runs, after the state folder was deleted", 0, func(w *world) {
			if err := os.RemoveAll(w.state); err != nil {
				w.t.Fatal(err)
			}
			w.settle(6 * time.Second)
			w.crash()
			vanish(w)
			w.start()
		}, planner.PhaseFailed, notFoundAgain},
		{"the machine is started again", 0, func(w *world) { w.crash(); w.driver.Reboot(); w.start() }, planner.PhaseFailed, outcomeUnknown},
		{"the driver does not answer for a while", 0, func(w *world) {
			w.driver.SetUnavailable(true)
			w.settle(time.Minute)
			w.driver.SetUnavailable(false)
		}, planner.PhaseSucceeded, ""},
		{"agent and driver are away", 0, func(w *world) {
			w.driver.SetUnavailable(true)
			restart(w)
			w.settle(time.Minute)
			w.wantHook(planner.PhasePending, "driver containerd does not answer")
			w.driver.SetUnavailable(false)
		}, planner.PhaseSucceeded, ""},
		{"a person holds it down", 0, func(w *world) {
			if _, err := w.agent.Hold(context.Background(), api.HoldRequest{Target: "web-prerollout", Stop: true, For: time.Hour, Reason: "test"}); err != nil {
				w.t.Error(err)
			}
		}, planner.PhaseFailed, outcomeUnknown + "it was stopped: held down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.behaves(endsAfter(10*time.Second, c.code))
				w.giveHook(service("web", "a", published(80), withHook("b")))
				w.settle(3 * time.Second)
				w.wantHook(planner.PhaseRunning, "")
				if s := w.service("web"); s.Ready != 0 || len(w.network.Published()) > 0 && len(w.network.Published()[0].Targets) > 0 {
					t.Errorf("%d are ready, ports %+v: a hook takes no connections", s.Ready, w.network.Published())
				}
				c.middle(w)
				w.settle(3 * time.Minute)
				w.wantHook(c.phase, c.reason)

				// Final: whatever comes, also without what the driver knew.
				vanish(w)
				w.settle(time.Minute)
				restart(w)
				w.settle(time.Hour)
				w.wantHook(c.phase, c.reason)
				if n := w.begun(); n != 1 {
					t.Errorf("it ran %d times", n)
				}
				if ended := w.agent.endedHooks(); len(ended) != 1 || (ended[planner.LeaseKey{Service: planner.ServiceID{Namespace: "default", Name: "web"}, Token: 1}] == "") != (c.phase == planner.PhaseSucceeded) {
					t.Errorf("what is decided on is %v", ended)
				}
			})
		})
	}
}

// The agent is killed at every call of a start, before it has an effect, in its
// middle and after it: the hook never runs twice, and its outcome is told.
func TestHookIsBegunAtMostOnceWhereverTheAgentDies(t *testing.T) {
	for _, verb := range []string{"Prepare", "Attach", "Mount", "Start"} {
		for _, when := range []time.Duration{0, time.Second, 3 * time.Second} {
			t.Run(fmt.Sprint(verb, " ", when), func(t *testing.T) {
				inWorld(t, func(w *world) {
					reached := make(chan struct{}, 100)
					slow := func(ctx context.Context, c runtimetest.Call) error {
						if err := alive(ctx); err != nil {
							return err
						}
						if c.Verb != verb {
							return nil
						}
						select {
						case reached <- struct{}{}:
						default:
						}
						time.Sleep(2 * time.Second)
						return alive(ctx)
					}
					b := endsAfter(10*time.Second, 0)
					b.StartDelay = time.Second // a start takes from 2 s to 3 s after it was asked for
					w.behaves(b)
					w.driver.Before(slow)
					w.network.Before(slow)
					w.volumes.Before(slow)
					w.giveHook(service("web", "a", withHook("b")))
					<-reached
					time.Sleep(when)
					w.killHard()
					w.start()
					w.settle(time.Minute)
					h := w.hook()
					switch n := w.begun(); {
					case n > 1:
						t.Errorf("it ran %d times", n)
					case h.Phase == planner.PhaseSucceeded && n == 1:
					case h.Phase == planner.PhaseFailed && strings.HasPrefix(h.Reason, outcomeUnknown) && verb == "Start":
					default:
						t.Errorf("it ran %d times and is %s %q", n, h.Phase, h.Reason)
					}
				})
			})
		}
	}
}

// An agent that is told to end lets a start that has begun come to its end.
func TestHookStartOutlivesAnAgentThatStops(t *testing.T) {
	inWorld(t, func(w *world) {
		b := endsAfter(10*time.Second, 0)
		b.StartDelay = 2 * time.Second
		w.behaves(b)
		w.giveHook(service("web", "a", withHook("b")))
		w.settle(1500 * time.Millisecond)
		w.crash()
		w.start()
		w.settle(time.Minute)
		w.wantHook(planner.PhaseSucceeded, "")
		if n := w.begun(); n != 1 {
			t.Errorf("it ran %d times", n)
		}
	})
}

func TestHookIsTriedAgainOnlyWhereItDidNotBegin(t *testing.T) {
	t.Run("its image cannot be pulled", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.driver.DeleteImage("registry.example.com/missing")
			w.behaves(endsAfter(time.Second, 0))
			w.giveHook(service("web", "a", withHook("missing")))
			w.settle(time.Minute)
			if h := w.hook(); h.Phase != planner.PhasePending || !strings.Contains(h.Reason, "missing") {
				t.Errorf("it is %s %q, want it pending for the reason of the pull", h.Phase, h.Reason)
			}
			if ended := w.agent.endedHooks(); len(ended) > 0 {
				t.Errorf("outcome %v before it began", ended)
			}
			w.driver.PushImage("registry.example.com/missing")
			w.settle(6 * time.Minute)
			w.wantHook(planner.PhaseSucceeded, "")
		})
	})
	t.Run("its start failed before it ran", func(t *testing.T) {
		inWorld(t, func(w *world) {
			b := endsAfter(time.Second, 0)
			b.StartError = errors.New("no room for its root filesystem")
			w.behaves(b)
			w.giveHook(service("web", "a", withHook("b")))
			w.settle(time.Minute)
			if n := len(w.driver.Called("Start")); n < 3 || w.begun() > 0 {
				t.Errorf("%d starts, %d runs; want it tried again", n, w.begun())
			}
			w.behaves(endsAfter(time.Second, 0))
			w.settle(6 * time.Minute)
			w.wantHook(planner.PhaseSucceeded, "")
		})
	})
	t.Run("its program is not there", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.behaves(runtimetest.Behaviour{StartError: fmt.Errorf("execute /app/migrate: no such file: %w", runtime.ErrInvalid)})
			w.giveHook(service("web", "a", withHook("b")))
			w.settle(time.Hour)
			w.wantHook(planner.PhaseFailed, "start ")
			if n := len(w.driver.Called("Start")); n != 1 {
				t.Errorf("%d starts", n)
			}
		})
	})
	t.Run("its init container fails", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.behaves(endsAfter(time.Second, 1))
			w.giveHook(service("web", "a", withHook("b", func(t *planner.Template) {
				t.InitContainers = []planner.Container{{Name: "before", Image: "registry.example.com/c"}}
			})))
			w.settle(time.Hour)
			if h := w.hook(); h.Phase != planner.PhaseFailed || !strings.Contains(h.Reason, "before ended with code 1") {
				t.Errorf("it is %s %q", h.Phase, h.Reason)
			}
			if n := len(w.driver.Called("Start")); n != 1 {
				t.Errorf("%d starts", n)
			}
		})
	})
}

// A hook of two containers has succeeded when both have, and failed as soon as
// one did not.
func TestHookOfSeveralContainers(t *testing.T) {
	two := func(t *planner.Template) {
		t.Containers = append(t.Containers, planner.Container{Name: "side", Image: "registry.example.com/c"})
	}
	for _, c := range []struct {
		name       string
		main, side int // codes; main ends after 10 s, side after 5 min
		after      time.Duration
		phase      planner.Phase
		reason     string
	}{
		{"one is at work", 0, 0, time.Minute, planner.PhaseRunning, "it runs once: exited with code 0; the rest of it runs on"},
		{"both succeed", 0, 0, 6 * time.Minute, planner.PhaseSucceeded, ""},
		{"the first fails", 2, 0, time.Minute, planner.PhaseFailed, "exited with code 2"},
		{"the last fails", 0, 2, 6 * time.Minute, planner.PhaseFailed, "container side exited with code 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.driver.Behave(func(_ runtime.Workload, ctr runtime.Container) runtimetest.Behaviour {
					if ctr.Name == "side" {
						return endsAfter(5*time.Minute, c.side)
					}
					return endsAfter(10*time.Second, c.main)
				})
				w.giveHook(service("web", "a", withHook("b", two)))
				w.settle(c.after)
				w.wantHook(c.phase, c.reason)
			})
		})
	}
}

// Where it cannot be read what was begun, nothing of it runs again.
func TestHookMemoryThatCannotBeRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.behaves(endsAfter(time.Second, 0))
		w.giveHook(service("web", "a", withHook("b")), "{")
		w.settle(time.Hour)
		w.wantHook(planner.PhaseFailed, outcomeUnknown)
		if n := w.begun(); n != 0 {
			t.Errorf("it ran %d times", n)
		}
		if p := w.agent.Status().Problems; !slices.ContainsFunc(p, func(s string) bool { return strings.Contains(s, "hooks were begun") }) {
			t.Errorf("problems %q", p)
		}
	})
}

// An outcome that cannot be written down is told to nobody until it can: whoever
// decides would take it for final, and the next process might not know it.
func TestHookOutcomeThatCannotBeWritten(t *testing.T) {
	for code, want := range map[int]planner.Phase{0: planner.PhaseSucceeded, 3: planner.PhaseFailed} {
		inWorld(t, func(w *world) {
			w.behaves(endsAfter(20*time.Second, code))
			w.giveHook(service("web", "a", withHook("b")))
			w.settle(10 * time.Second)
			path := filepath.Join(w.state, oncePath)
			if err := errors.Join(os.Rename(path, path+".away"), os.MkdirAll(filepath.Join(path, "in the way"), 0o700)); err != nil {
				t.Fatal(err)
			}
			for range 60 {
				w.settle(5 * time.Second)
				w.wantHook(planner.PhaseRunning, "")
			}
			if ended := w.agent.endedHooks(); len(ended) > 0 {
				t.Errorf("what is decided on is %v", ended)
			}
			if p := w.agent.Status().Problems; !slices.ContainsFunc(p, func(s string) bool { return strings.Contains(s, "write what was begun") }) {
				t.Errorf("problems %q", p)
			}
			if err := errors.Join(os.RemoveAll(path), os.Rename(path+".away", path)); err != nil {
				t.Fatal(err)
			}
			w.settle(2 * time.Minute)
			if h := w.hook(); h.Phase != want {
				t.Errorf("it is %s %q, want %s", h.Phase, h.Reason, want)
			}
		})
	}
}

func TestHookEnvironment(t *testing.T) {
	inWorld(t, func(w *world) {
		s := service("web", "a", withHook("b"))
		w.behaves(endsAfter(time.Minute, 0))
		w.giveHook(s)
		w.settle(3 * time.Second)
		work, _ := w.driver.Workload(w.ids()[0])
		got := map[string]string{}
		for _, e := range work.Containers[0].Env {
			got[e.Name] = e.Value
		}
		for name, want := range map[string]string{
			"ORPHEUS_SERVICE": "web", "ORPHEUS_SLOT": "prerollout", "ORPHEUS_HOOK": "preRollout",
			"ORPHEUS_REVISION": string(s.Revision), "ORPHEUS_COMMIT": w.agent.Status().Repository.Applied.Hash,
		} {
			if got[name] != want {
				t.Errorf("%s=%q, want %q", name, got[name], want)
			}
		}
		if work.Hostname != "web-prerollout" || work.NetNS == "" {
			t.Errorf("hostname %q, network %q", work.Hostname, work.NetNS)
		}
	})
}

// What is remembered stays while its lease stands, and is bounded.
func TestOnceRunsAreBounded(t *testing.T) {
	o, err := loadOnce(filepath.Join(t.TempDir(), oncePath), nil)
	if err != nil {
		t.Fatal(err)
	}
	key := func(n int) onceKey { return onceKey{Token: uint64(n)} }
	for n := range maxOnce + 10 {
		o.runs = append(o.runs, onceRun{onceKey: key(n)})
	}
	o.trim(func(k onceKey) bool { return k.Token < 3 })
	if len(o.runs) != maxOnce {
		t.Errorf("%d are left", len(o.runs))
	}
	for n, kept := range map[int]bool{0: true, 2: true, 3: false, 12: false, 13: true, maxOnce + 9: true} {
		if _, is := o.of(key(n)); is != kept {
			t.Errorf("%d is kept: %v, want %v", n, is, kept)
		}
	}
	if err := errors.Join(o.begin(key(0)), o.refuse(key(0), "full")); !errors.Is(err, errBegun) || errors.Is(err, errRefused) {
		t.Errorf("begun or refused after it was begun: %v", err)
	}
}

// A hook that others were told is refused here may run on another node: it never
// begins here, whatever the next process makes of its lease.
func TestHookThatWasRefusedNeverBegins(t *testing.T) {
	path := filepath.Join(t.TempDir(), oncePath)
	key := onceKey{Service: planner.ServiceID{Namespace: "default", Name: "web"}, Token: 3, Revision: "r1-x"}
	o, err := loadOnce(path, nil)
	if err == nil {
		err = o.refuse(key, "no room")
	}
	if err == nil {
		o, err = loadOnce(path, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if run, begun := o.of(key); begun || run.Refused != "no room" {
		t.Errorf("begun %v: %+v", begun, run)
	}
	if err := o.begin(key); !errors.Is(err, errRefused) {
		t.Errorf("it begins all the same: %v", err)
	}
	key.Token++
	if err := o.begin(key); err != nil {
		t.Errorf("under another lease it does not begin: %v", err)
	}
}
