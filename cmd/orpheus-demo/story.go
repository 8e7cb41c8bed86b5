//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// story is a fleet and a user who works on it.
type story struct {
	fleet   *devfleet.Fleet
	orpheus string
	work    string // the user's clone of the fleet's repository
	port    int    // where web is published
}

func newStory(ctx context.Context, orpheus, driver string) (*story, error) {
	cast := "a Git server and one node"
	if driver == planner.DriverContainerd {
		cast = "a Git server, an image registry, containerd and one node"
	}
	say("Orpheus, on this machine alone: %s.", cast)
	orpheus, err := filepath.Abs(orpheus)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	fleet, err := devfleet.New(ctx, devfleet.Options{Orpheus: orpheus, Driver: driver})
	if err != nil {
		return nil, err
	}
	return &story{fleet: fleet, orpheus: orpheus, work: filepath.Join(fleet.Dir, "fleet"), port: port}, nil
}

// tell is the story, in the order a newcomer would try things.
func (s *story) tell(ctx context.Context) error {
	steps := []struct {
		title string
		do    func(context.Context) error
	}{
		{"Deploy: commit a manifest", s.deploy},
		{"Roll out: change it and commit", s.rollOut},
		{"Heal: kill what runs", s.heal},
		{"A broken commit changes nothing", s.breakIt},
		{"Git and the agent die: what runs goes on", s.goDark},
		{"Roll back: git revert", s.revert},
		{"Remove: delete the files and commit", s.remove},
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	for n, step := range steps {
		title(n+1, step.title)
		stepCtx, cancel := context.WithTimeout(ctx, patience)
		err := step.do(stepCtx)
		cancel()
		if err != nil {
			return fmt.Errorf("step %d (%s): %w", n+1, step.title, err)
		}
	}
	say("\nThat was it. Everything the demo started is being stopped and removed.")
	return nil
}

func (s *story) prepare(ctx context.Context) error {
	if s.fleet.Registry != nil {
		for _, version := range []string{"1", "2"} {
			if _, _, err := s.fleet.PushImage("web:"+version, version); err != nil {
				return err
			}
		}
	}
	return s.cmd(ctx, s.fleet.Dir, "git", "clone", "--quiet", s.fleet.RepoURL(), "fleet")
}

func (s *story) deploy(ctx context.Context) error {
	files := map[string]string{
		"fleet.yaml":  "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: demo}\nspec: {pollInterval: 1s}\n",
		"web.yaml":    s.web("1"),
		"worker.yaml": s.worker(),
	}
	if err := s.write(files); err != nil {
		return err
	}
	show("cat web.yaml", files["web.yaml"])
	if err := s.commit(ctx, "web and worker: first version"); err != nil {
		return err
	}
	say("\nThe agent of the node starts, and from now on looks at the repository every second:")
	show("orpheus agent --config agent.yaml &", "")
	if err := s.fleet.StartAgent(); err != nil {
		return err
	}
	return s.ends(ctx, "1")
}

func (s *story) rollOut(ctx context.Context) error {
	if err := s.write(map[string]string{"web.yaml": s.web("2")}); err != nil {
		return err
	}
	if err := s.cmd(ctx, s.work, "git", "diff", "--unified=0", "--no-color"); err != nil {
		return err
	}
	if err := s.commit(ctx, "web: version 2"); err != nil {
		return err
	}
	if err := s.ends(ctx, "2"); err != nil {
		return err
	}
	say("\nOnly web was replaced; worker has not noticed.")
	return nil
}

func (s *story) heal(ctx context.Context) error {
	st, err := s.fleet.Status(ctx)
	if err != nil {
		return err
	}
	pid := devfleet.PIDs(st, "web")["0"]
	if pid == 0 {
		return fmt.Errorf("web-0 does not run")
	}
	show(fmt.Sprintf("kill -9 %d   # web-0", pid), "")
	begin := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	err = s.fleet.Await(ctx, func(st *api.Status) string {
		if next := devfleet.PIDs(st, "web")["0"]; next == 0 || next == pid {
			return "web-0 is not running again"
		}
		return ""
	})
	if err != nil {
		return err
	}
	say("\nweb-0 runs again, %.1f s later.", time.Since(begin).Seconds())
	return s.ends(ctx, "2")
}

func (s *story) breakIt(ctx context.Context) error {
	broken := strings.Replace(s.web("3"), "spec:", "spec:\n  replicas: many", 1)
	broken = strings.Replace(broken, "  env:", "  enviroment:", 1)
	if err := s.write(map[string]string{"web.yaml": broken}); err != nil {
		return err
	}
	say("Before pushing, `orpheus validate` tells what is wrong, all of it at once:")
	_ = s.cmd(ctx, s.work, s.orpheus, "validate", ".") // it ends with 1, as it should
	say("\nPushed all the same, the agent refuses the file and keeps web as it was:")
	if err := s.commit(ctx, "web: version 3, in a hurry"); err != nil {
		return err
	}
	err := s.fleet.Await(ctx, func(st *api.Status) string {
		if len(st.Faults) == 0 {
			return "no fault is reported"
		}
		return ""
	})
	if err != nil {
		return err
	}
	return s.ends(ctx, "2")
}

func (s *story) goDark(ctx context.Context) error {
	st, err := s.fleet.Status(ctx)
	if err != nil {
		return err
	}
	before := devfleet.PIDs(st, "web")
	show(fmt.Sprintf("kill -9 %d   # the agent; and the Git server goes away", s.fleet.AgentPID()), "")
	if err := s.fleet.EndAgent(syscall.SIGKILL); err != nil {
		return err
	}
	s.fleet.Git.SetFault(gitsynctest.Status(http.StatusServiceUnavailable, "", "gone for a while"))
	if err := s.answers(ctx, "2"); err != nil {
		return err
	}
	say("\nweb still answers. The agent starts again, without Git:")
	if err := s.fleet.StartAgent(); err != nil {
		return err
	}
	err = s.fleet.Await(ctx, func(st *api.Status) string {
		if st.Repository.Error == "" {
			return "the agent has not looked for Git yet"
		}
		return devfleet.Settled(st)
	})
	if err != nil {
		return err
	}
	if err := s.status(ctx); err != nil {
		return err
	}
	if st, err = s.fleet.Status(ctx); err != nil {
		return err
	}
	for slot, pid := range devfleet.PIDs(st, "web") {
		if pid != before[slot] {
			return fmt.Errorf("web-%s was restarted: process %d became %d", slot, before[slot], pid)
		}
	}
	say("\nThe same processes as before: nothing was restarted.")
	s.fleet.Git.SetFault(nil)
	return nil
}

func (s *story) revert(ctx context.Context) error {
	if s.fleet.Registry != nil {
		if _, _, err := s.fleet.PushImage("web:1", "other"); err != nil {
			return err
		}
		say("Meanwhile somebody has pushed another image to the tag web:1.")
	}
	// First the broken commit, then the one before it, which is now two further back.
	for _, commit := range []string{"HEAD", "HEAD~2"} {
		if err := s.cmd(ctx, s.work, "git", "revert", "--no-edit", commit); err != nil {
			return err
		}
	}
	if err := s.cmd(ctx, s.work, "git", "push", "--quiet", "origin", "HEAD:main"); err != nil {
		return err
	}
	if err := s.ends(ctx, "1"); err != nil {
		return err
	}
	if s.fleet.Registry != nil {
		say("\nVersion 1 again, the very same image: revisions keep the digest they began with.")
	}
	return nil
}

func (s *story) remove(ctx context.Context) error {
	if err := s.cmd(ctx, s.work, "git", "rm", "--quiet", "web.yaml", "worker.yaml"); err != nil {
		return err
	}
	if err := s.commit(ctx, "the demo is over"); err != nil {
		return err
	}
	err := s.fleet.Await(ctx, func(st *api.Status) string {
		if len(st.Services) > 0 {
			return st.Services[0].Name + " is still there"
		}
		return ""
	})
	if err != nil {
		return err
	}
	return s.status(ctx)
}

// ends waits until a version of web answers and everything has settled, and
// shows the status.
func (s *story) ends(ctx context.Context, version string) error {
	if err := s.answers(ctx, version); err != nil {
		return err
	}
	if err := s.fleet.Await(ctx, devfleet.Settled); err != nil {
		return err
	}
	return s.status(ctx)
}

func (s *story) web(version string) string {
	if s.fleet.Registry == nil {
		return fmt.Sprintf(`apiVersion: orpheus/v1
kind: Service
metadata: {name: web}
spec:
  driver: process
  command: [%s, serve]
  ports:
  - {name: http, containerPort: %d, publish: %d}
  env:
  - {name: PORT, value: "%d"}
  - {name: VERSION, value: "%s"}
`, s.fleet.Payload, s.port, s.port, s.port, version)
	}
	return fmt.Sprintf(`apiVersion: orpheus/v1
kind: Service
metadata: {name: web}
spec:
  image: %s/web:%s
  ports:
  - {name: http, containerPort: 8080, publish: %d}
  env:
  - {name: GREETING, value: hello}
  resources: {limits: {memory: 64Mi}}
`, s.fleet.Registry.Host, version, s.port)
}

func (s *story) worker() string {
	if s.fleet.Registry == nil {
		return fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: worker}\nspec:\n  driver: process\n  command: [%s, lines]\n", s.fleet.Payload)
	}
	return fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: worker}\nspec:\n  replicas: 2\n  image: %s/web:1\n  args: [lines]\n", s.fleet.Registry.Host)
}
