//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// patience is how long the story waits for one step.
const patience = 2 * time.Minute

// story is a fleet and a user who works on it.
type story struct {
	*devfleet.Cluster
	orpheus string
	work    string // the user's clone of the fleet's repository
	began   time.Time

	first place // one of web as it was deployed
}

func newStory(ctx context.Context, orpheus, driver string) (*story, error) {
	began := time.Now()
	root := os.Geteuid() == 0
	cast := "a Git server, and three nodes with an agent each"
	if driver == planner.DriverContainerd {
		cast = "a Git server, an image registry, and three nodes,\neach with a network, a containerd and an agent of its own"
	}
	say("Orpheus, on this machine alone: %s.\nThe story takes about two minutes.", cast)
	orpheus, err := filepath.Abs(orpheus)
	if err != nil {
		return nil, err
	}
	payload, err := buildPayload(ctx)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(filepath.Dir(payload))
	cluster, err := devfleet.NewCluster(ctx, devfleet.ClusterOptions{
		Orpheus: orpheus, Driver: driver, Nodes: 3, Loopback: !root, Payload: payload,
	})
	if err != nil {
		return nil, err
	}
	s := &story{Cluster: cluster, orpheus: orpheus, work: filepath.Join(cluster.Dir, "fleet"), began: began}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, cluster.Close())
	}
	return s, nil
}

// buildPayload makes the program that the story's services run, in a folder of
// its own.
func buildPayload(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "orpheus-payload-")
	if err != nil {
		return "", err
	}
	payload, err := imagetest.BuildPayload(ctx, dir)
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return payload, nil
}

// prepare fills the registry and makes the user's clone.
func (s *story) prepare(ctx context.Context) error {
	if s.Registry != nil {
		for _, version := range []string{"1", "2"} {
			if _, _, err := s.PushImage("web:"+version, version); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(s.work, 0o755); err != nil {
		return err
	}
	if _, err := s.quiet(ctx, "git", "clone", "--quiet", s.RepoURL(), "."); err != nil {
		return err
	}
	show("git clone "+s.RepoURL()+" fleet", "")
	return nil
}

// tell is the story, in the order a newcomer would try things.
func (s *story) tell(ctx context.Context) error {
	steps := []struct {
		title string
		do    func(context.Context) error
	}{
		{"Deploy: commit manifests, start the agents", s.deploy},
		{"Roll out: change a manifest and commit", s.rollOut},
		{"A node dies", s.nodeDies},
		{"The node comes back", s.nodeReturns},
		{"Drain a node, by a commit", s.drain},
		{"Git goes away: what runs runs on, and heals", s.goDark},
		{"A broken commit changes nothing", s.breakIt},
		{"Roll back: git revert", s.revert},
		{"Remove: delete the files and commit", s.remove},
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
	return nil
}

// close takes everything away again.
func (s *story) close() error {
	err := s.Cluster.Close()
	if err == nil {
		say("\nAll that the demo started is stopped and removed, after %.0f s.", time.Since(s.began).Seconds())
	}
	return err
}
