package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// TestAttack21ReachForTheHost: what the node's policy forbids never starts, the
// revision before it runs on, and the status names field and setting.
func TestAttack21ReachForTheHost(t *testing.T) {
	container := func(edit func(*planner.Container)) func(*planner.Service) {
		return func(s *planner.Service) { edit(&s.Template.Containers[0]) }
	}
	hostPath := func(path string) func(*planner.Service) {
		return func(s *planner.Service) {
			s.Template.Volumes = []planner.Volume{{Name: "v", HostPath: &planner.HostPathVolume{Path: path}}}
		}
	}
	rows := []struct {
		name string
		edit func(*planner.Service)
		want string
	}{
		{"root of the host", hostPath("/"), "policy.hostPaths"},
		{"socket of the runtime", hostPath("/run/containerd/containerd.sock"), "policy.hostPaths"},
		{"device", container(func(c *planner.Container) { c.Devices = []string{"/dev/kmsg"} }), "policy.devices"},
		{"privileged", container(func(c *planner.Container) { c.Security.Privileged = true }), "policy.privileged"},
		{"capability", container(func(c *planner.Container) { c.Security.AddCapabilities = []string{"SYS_ADMIN"} }), "policy.capabilities"},
		{"host network", func(s *planner.Service) { s.Template.HostNetwork = true }, "policy.hostNetwork"},
		{"processes on the host", func(s *planner.Service) { s.Template.Driver = planner.DriverProcess }, "policy.drivers"},
		{"registry on the node itself", container(func(c *planner.Container) { c.Image = "127.0.0.1:5000/x" }), "registries in the agent"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.commit(service("web", "a"))
				w.settle(3 * time.Second)
				events := len(w.driver.History())
				w.commit(service("web", "a", row.edit), service("new", "b", row.edit))
				w.settle(time.Minute)
				w.wantRunning("web-0 a")
				if n := len(w.driver.History()) - events; n != 0 {
					t.Errorf("%d changes of instances, want none", n)
				}
				for _, name := range []string{"web", "new"} {
					if m := w.service(name).Message; !strings.Contains(m, "refused") || !strings.Contains(m, row.want) {
						t.Errorf("%s: message %q, want that %s refuses it", name, m, row.want)
					}
				}
			})
		})
	}
}

// TestAttack26AgentsOwnPort: ports are no part of a revision, so a change of
// ports alone passes no start; it must not take the agent's port either.
func TestAttack26AgentsOwnPort(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.policy.ReservedPorts = []int{9090}
		w.start()
		w.commit(service("web", "a", published(80)), service("evil", "b", published(9090)))
		w.settle(5 * time.Second)
		w.wantRunning("web-0 a")
		w.commit(service("web", "a", published(9090)), service("evil", "b", published(90)))
		w.settle(5 * time.Second)
		w.wantRunning("evil-0 b", "web-0 a")
		for _, p := range w.network.Published() {
			if p.Port == 9090 {
				t.Errorf("the agent's own port leads to %s", p.Service)
			}
		}
		if m := w.service("web").Message; !strings.Contains(m, "9090") {
			t.Errorf("message %q, want that port 9090 is the agent's", m)
		}
	})
}

// TestAttack24PortOfAnother: a service kept from an earlier commit and a new
// one claim a port: who has it keeps it, and other ports are opened.
func TestAttack24PortOfAnother(t *testing.T) {
	inWorld(t, func(w *world) {
		web := service("web", "a", published(80))
		w.commit(web)
		w.settle(3 * time.Second)
		w.repo.commit(planner.Desired{
			Services: byID([]planner.Service{service("aaa", "b", published(80)), service("api", "c", published(81))}),
			Faults:   []planner.Fault{{File: web.File, Reason: "broken"}},
		})
		w.settle(5 * time.Second)
		ports := map[int]string{}
		for _, p := range w.network.Published() {
			ports[p.Port] += p.Service.String()
		}
		if ports[80] != "web" || ports[81] != "api" {
			t.Errorf("published %v, want 80 web, 81 api", ports)
		}
		if p := w.agent.Status().Problems; len(p) != 1 || !strings.Contains(p[0], "web has it") {
			t.Errorf("problems %q", p)
		}
	})
}

// TestAttack41NoSecretsTold: values of the environment and contents of files
// are in no status and no log line, whatever fails.
func TestAttack41NoSecretsTold(t *testing.T) {
	const canary = "canary-7f3a"
	var mu sync.Mutex
	var logged bytes.Buffer
	inWorld(t, func(w *world) {
		w.crash()
		w.log = slog.NewJSONHandler(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return logged.Write(p)
		}), &slog.HandlerOptions{Level: slog.LevelDebug})
		w.start()
		secret := func(s *planner.Service) {
			c := &s.Template.Containers[0]
			c.Env = []planner.EnvVar{{Name: "PASSWORD", Value: canary + "-env"}}
			c.Args = []string{"--token", canary + "-arg"}
			s.Template.Volumes = append(s.Template.Volumes, planner.Volume{Name: "f", File: &planner.FileVolume{SHA256: "f00d"}})
			s.Files = []planner.File{{Volume: "f", Path: "f.txt", SHA256: "f00d", Data: []byte(canary + "-file")}}
		}
		w.driver.DeleteImage("registry.example.com/missing")
		w.commit(service("web", "a", secret), service("lost", "missing", secret))
		w.settle(5 * time.Second)
		w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
		w.settle(5 * time.Second)
		w.volumes.ForgetFiles()
		w.driver.Vanish(w.ids()[0])
		w.settle(5 * time.Second)
		w.commit(service("web", "b", secret))
		w.settle(5 * time.Second)
		status, err := json.Marshal(w.agent.Status())
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for what, text := range map[string]string{"status": string(status), "log": logged.String()} {
			if text == "" || strings.Contains(text, canary) {
				t.Errorf("%s tells a secret, or nothing:\n%s", what, text)
			}
		}
		info, err := os.Stat(filepath.Join(w.state, statePath))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the state file holds the environment: mode %v, %v; want 0600", info.Mode(), err)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestStatusTexts prints what a user reads (-v), and holds the parts that say
// what is wrong and what becomes of it.
func TestStatusTexts(t *testing.T) {
	rows := []struct {
		name string
		do   func(w *world)
		want []string
	}{
		{"registry down", func(w *world) {
			w.driver.SetRegistry(runtimetest.ErrRegistryDown)
			w.commit(service("web", "b"))
		}, []string{"what runs stays", "the registry does not answer", "again in"}},
		{"image missing", func(w *world) {
			w.driver.DeleteImage("registry.example.com/b")
			w.commit(service("web", "b"))
		}, []string{"what runs stays", "registry.example.com/b", "the registry does not know it"}},
		{"image missing, nothing runs", func(w *world) {
			w.driver.DeleteImage("registry.example.com/b")
			w.commit(service("web", "a"), service("new", "b"))
		}, []string{"new 0/1", "registry.example.com/b"}},
		{"containerd down", func(w *world) { w.driver.SetUnavailable(true) }, []string{"driver containerd does not answer", "what runs goes on"}},
		{"git down", func(w *world) { w.repo.fail(errors.New("connection refused")) }, []string{`error "connection refused"`}},
		{"refused commit", func(w *world) { w.repo.refuse("fleet.yaml is missing") }, []string{`refused "fleet.yaml: fleet.yaml is missing`}},
		{"held service", func(w *world) {
			w.repo.commit(planner.Desired{Faults: []planner.Fault{{File: "web.yaml", Line: 3, Reason: "broken"}}})
		}, []string{"kept as it was: web.yaml has faults"}},
		{"crash loop", func(w *world) {
			w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
				return runtimetest.Behaviour{RunFor: 200 * time.Millisecond, Exit: &planner.Exit{Code: 3}}
			})
			w.commit(service("web", "b"), service("api", "c"))
		}, []string{"exited with code 3", "tried", "web 1/1"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.commit(service("web", "a"))
				w.settle(3 * time.Second)
				row.do(w)
				w.settle(25 * time.Second)
				text := describe(w.agent)
				t.Log("\n" + text)
				for _, part := range row.want {
					if !strings.Contains(text, part) {
						t.Errorf("status lacks %q:\n%s", part, text)
					}
				}
				if w.repo.err != nil && !w.agent.Status().Repository.ErrorSince.Equal(w.repo.since) {
					t.Error("status does not say since when")
				}
			})
		})
	}
}
