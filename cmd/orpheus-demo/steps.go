//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

func (s *story) deploy(ctx context.Context) error {
	files := map[string]string{"fleet.yaml": fleetManifest, "web.yaml": s.webManifest("1"), "worker.yaml": s.workerManifest()}
	if err := s.write(files); err != nil {
		return err
	}
	show("cat fleet.yaml", files["fleet.yaml"])
	show("cat web.yaml", files["web.yaml"])
	commit, err := s.commit(ctx, "web and worker: first version")
	if err != nil {
		return err
	}
	say("\nOn each node an agent starts. There is no other server to set up: they agree through the repository.")
	show("orpheus agent --config agent.yaml   # on node-1, node-2, node-3", "")
	began := time.Now()
	if err := s.StartAgents(); err != nil {
		return err
	}
	if _, err := s.settles(ctx, commit, nil); err != nil {
		return err
	}
	took := time.Since(began)
	s.first = s.web(ctx)[0]
	if err := s.nodes(ctx); err != nil {
		return err
	}
	say("\nAll 9 slots are ready after %.1f s. The six of web:", took.Seconds())
	s.where(ctx)
	return s.answers(ctx)
}

func (s *story) rollOut(ctx context.Context) error {
	if err := s.write(map[string]string{"web.yaml": s.webManifest("2")}); err != nil {
		return err
	}
	if err := s.cmd(ctx, "git", "diff", "--unified=0"); err != nil {
		return err
	}
	commit, err := s.commit(ctx, "web: version 2")
	if err != nil {
		return err
	}
	began := time.Now()
	fewest, err := s.settles(ctx, commit, nil)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if err := s.cmd(ctx, s.orpheus, "history", "web", "-n", "3"); err != nil {
		return err
	}
	say("\nOne slot after the other, the new instance first: %.1f s, and never fewer than %d of 6 were ready.", took.Seconds(), fewest)
	return s.answers(ctx)
}

func (s *story) nodeDies(ctx context.Context) error {
	n := s.Nodes[2]
	commit, err := s.head(ctx)
	if err != nil {
		return err
	}
	show(fmt.Sprintf("kill -9 %s   # all that runs on %s", numbers(n.Processes()), n.Name), "")
	began := time.Now()
	if err := n.Kill(); err != nil {
		return err
	}
	if _, err := s.settles(ctx, commit, nil); err != nil {
		return err
	}
	took := time.Since(began)
	if err := s.Await(ctx, func(all []*api.Status) string { return s.knowAs(all, n, "fenced") }); err != nil {
		return err
	}
	if err := s.nodes(ctx); err != nil {
		return err
	}
	// What is no longer needed has left since, a slot at a time.
	if err := s.cmd(ctx, s.orpheus, "history", "web", "-n", "3"); err != nil {
		return err
	}
	say("\nWhat it ran runs elsewhere, %.1f s after its death.", took.Seconds())
	return nil
}

func (s *story) nodeReturns(ctx context.Context) error {
	n := s.Nodes[2]
	commit, err := s.head(ctx)
	if err != nil {
		return err
	}
	before := s.web(ctx)
	if err := n.Start(); err != nil {
		return err
	}
	show("orpheus agent --config agent.yaml   # on "+n.Name+", switched on again", "")
	if err := n.StartAgent(); err != nil {
		return err
	}
	began := time.Now()
	if err := s.Await(ctx, func(all []*api.Status) string { return s.knowAs(all, n, "live") }); err != nil {
		return err
	}
	if _, err := s.settles(ctx, commit, nil); err != nil {
		return err
	}
	if err := same(before, s.web(ctx)); err != nil {
		return err
	}
	if err := s.nodes(ctx); err != nil {
		return err
	}
	say("\nIt takes part again %.1f s after its start. No slot runs twice, and nothing was moved back.", time.Since(began).Seconds())
	return nil
}

func (s *story) drain(ctx context.Context) error {
	n := s.Nodes[1]
	if err := s.cmd(ctx, s.orpheus, "drain", n.Name, "-m", "new disks"); err != nil {
		return err
	}
	commit, err := s.head(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	fewest, err := s.settles(ctx, commit, func(places []place) string {
		for _, p := range places {
			if p.node == n.Name {
				return fmt.Sprintf("%s-%s is still on %s", p.service, p.slot, n.Name)
			}
		}
		return ""
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	if err := s.nodes(ctx); err != nil {
		return err
	}
	say("\n%s is empty after %.1f s; never fewer than %d of 6 were ready. It may be opened now.", n.Name, took.Seconds(), fewest)
	if err := s.cmd(ctx, s.orpheus, "uncordon", n.Name); err != nil {
		return err
	}
	if commit, err = s.head(ctx); err != nil {
		return err
	}
	_, err = s.settles(ctx, commit, nil)
	return err
}

func (s *story) goDark(ctx context.Context) error {
	say("Connections to the Git server break, and nobody listens there any more.")
	commit, err := s.head(ctx)
	if err != nil {
		return err
	}
	s.StopGit()
	if err := s.Await(ctx, s.missGit); err != nil {
		return err
	}
	before := s.web(ctx)
	victim := before[0]
	show(fmt.Sprintf("kill -9 %d   # web-%s on %s", victim.pid, victim.slot, victim.node), "")
	began := time.Now()
	if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil {
		return err
	}
	_, err = s.settles(ctx, commit, func(places []place) string {
		for _, p := range places {
			if p.pid == victim.pid && p.node == victim.node {
				return "its death has not been noticed"
			}
		}
		return ""
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	after := s.web(ctx)
	if err := same(before[1:], after[1:]); err != nil {
		return err
	}
	node, err := s.Node(victim.node)
	if err != nil {
		return err
	}
	if err := s.cmd(ctx, s.orpheus, "status", "--socket", node.Socket()); err != nil {
		return err
	}
	say("\nweb-%s is ready again after %.1f s, the others were not touched.", victim.slot, took.Seconds())
	if err := s.StartGit(); err != nil {
		return err
	}
	began = time.Now()
	if err := s.Await(ctx, s.readGit); err != nil {
		return err
	}
	say("Git is back, and all nodes have read it %.1f s later.", time.Since(began).Seconds())
	return nil
}

// missGit says which agent has not noticed yet that Git is away.
func (s *story) missGit(all []*api.Status) (missing string) {
	for k, st := range all {
		if st == nil || st.Fleet.Error == "" {
			return s.Nodes[k].Name + " does not miss Git"
		}
	}
	return ""
}

// readGit says which agent cannot read yet.
func (s *story) readGit(all []*api.Status) (missing string) {
	for k, st := range all {
		if st == nil || st.Repository.Error != "" || st.Fleet.Error != "" {
			return s.Nodes[k].Name + " has not read"
		}
	}
	return ""
}

func (s *story) breakIt(ctx context.Context) error {
	broken := strings.Replace(s.webManifest("3"), "replicas: 6", "replicas: many", 1)
	if err := s.write(map[string]string{"web.yaml": broken}); err != nil {
		return err
	}
	out, err := s.quiet(ctx, s.orpheus, "validate", ".")
	if err == nil {
		return fmt.Errorf("orpheus validate accepts it: %s", out)
	}
	show("orpheus validate .", out)
	before := s.web(ctx)
	commit, err := s.commit(ctx, "web: version 3, in a hurry")
	if err != nil {
		return err
	}
	err = s.Await(ctx, func(all []*api.Status) string {
		for k, st := range all {
			if st == nil || len(st.Faults) == 0 {
				return s.Nodes[k].Name + " reports no fault"
			}
		}
		return s.follow(all, commit)
	})
	if err != nil {
		return err
	}
	if err := same(before, s.web(ctx)); err != nil {
		return err
	}
	say("\nPushed all the same, every node reports the fault in `orpheus status`, and keeps web as it was.")
	return nil
}

func (s *story) revert(ctx context.Context) error {
	if s.Registry != nil {
		_, moved, err := s.PushImage("web:1", "other")
		if err != nil {
			return err
		}
		say("Meanwhile somebody has pushed another image to the tag web:1, %.19s.", moved)
	}
	second, err := s.quiet(ctx, "git", "log", "--format=%h", "--grep=^web: version 2$")
	if err != nil {
		return err
	}
	second = strings.TrimSpace(second)
	for _, args := range [][]string{{"revert", "--no-edit", "HEAD", second}, {"push", "--quiet"}} {
		if _, err := s.quiet(ctx, "git", args...); err != nil {
			return err
		}
	}
	show(fmt.Sprintf("git revert --no-edit HEAD %s && git push", second), "")
	commit, err := s.head(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.settles(ctx, commit, nil); err != nil {
		return err
	}
	took := time.Since(began)
	for _, p := range s.web(ctx) {
		if p.revision != s.first.revision || p.image != s.first.image {
			return fmt.Errorf("web-%s is revision %s of image %s, not %s of %s", p.slot, p.revision, p.image, s.first.revision, s.first.image)
		}
	}
	if err := s.answers(ctx); err != nil {
		return err
	}
	what := "revision " + s.first.revision.Short()
	if s.first.image != "" {
		what = fmt.Sprintf("the very image of the beginning, %.19s, whatever the tag says", s.first.image)
	}
	say("\nVersion 1 again after %.1f s: %s.", took.Seconds(), what)
	return nil
}

func (s *story) remove(ctx context.Context) error {
	if err := s.cmd(ctx, "git", "rm", "--quiet", "web.yaml", "worker.yaml"); err != nil {
		return err
	}
	commit, err := s.commit(ctx, "the demo is over")
	if err != nil {
		return err
	}
	err = s.Await(ctx, func(all []*api.Status) string {
		for _, st := range all {
			if st != nil && len(st.Services) > 0 {
				return fmt.Sprintf("%s is still on %s", st.Services[0].Name, st.Node)
			}
		}
		return s.follow(all, commit)
	})
	if err != nil {
		return err
	}
	return s.nodes(ctx)
}

// same demands that instances were neither moved nor started again.
func same(before, after []place) error {
	if len(after) != len(before) {
		return fmt.Errorf("%d instances became %d", len(before), len(after))
	}
	for k, was := range before {
		if is := after[k]; is.slot != was.slot || is.node != was.node || is.pid != was.pid || is.id != was.id {
			return fmt.Errorf("web-%s was touched: process %d on %s became %d on %s", was.slot, was.pid, was.node, is.pid, is.node)
		}
	}
	return nil
}

// numbers are process ids as people type them; many of them are cut.
func numbers(pids []int) string {
	const few = 8
	var words []string
	for _, pid := range pids[:min(len(pids), few)] {
		words = append(words, fmt.Sprint(pid))
	}
	if len(pids) > few {
		words = append(words, "…")
	}
	return strings.Join(words, " ")
}
