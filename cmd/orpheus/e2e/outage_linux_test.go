package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// gitGoneForAll: without the Git server nothing stops and everything
// heals; when it is back what waited is rolled out, and when it is back with
// an older state nothing moves until a person says so.
func gitGoneForAll(t *testing.T) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	f.push("app:2", "2")
	slots := map[string]int{"web": 3, "calm": 3}
	web := func(image string) string { return f.manifest(spec{name: "web", image: image, replicas: 3}) }
	f.begin(map[string]string{
		"fleet.yaml": three,
		"web.yaml":   web("app:1"),
		"calm.yaml":  f.manifest(spec{name: "calm", replicas: 3}),
	}, slots)
	old := filepath.Join(t.TempDir(), "old")
	f.must(f.BackupGit(old))
	f.settles("version 2", f.commit("version 2", map[string]string{"web.yaml": web("app:2")}), slots)

	f.withoutGit(slots, map[string]string{"web.yaml": web("app:1")})
	f.restored(old, slots, map[string]string{"web.yaml": web("app:2")})
}

// withoutGit takes the server away for a minute, and commits meanwhile.
func (f *fleet) withoutGit(slots map[string]int, next map[string]string) {
	f.t.Helper()
	f.StopGit()
	stopped := time.Now()
	f.await("all miss Git", patience, func(all []*api.Status) string {
		for k, st := range all {
			if st == nil || st.Fleet.Error == "" || st.Repository.Error == "" {
				return f.Nodes[k].Name + " does not"
			}
		}
		return ""
	})
	before := f.places()

	crashed := before["web/0"][0]
	f.must(syscall.Kill(crashed.PID, syscall.SIGKILL))
	took := f.await("a crashed container comes back", patience, func(all []*api.Status) string {
		now := placesOf(all)
		if at := now["web/0"]; len(at) != 1 || at[0].node != crashed.node || at[0].PID == crashed.PID || !at[0].ready {
			return fmt.Sprintf("it is %+v", at)
		}
		return now.exactly(slots)
	})
	f.t.Logf("no Git: a crashed container is ready again after %s", took.Round(100*time.Millisecond))
	before = f.places()
	for _, n := range f.Nodes {
		f.restart(n)
	}
	f.await("the agents are back", patience, func(all []*api.Status) string {
		for k, st := range all {
			if st == nil {
				return f.Nodes[k].Name + " is not"
			}
		}
		return placesOf(all).exactly(slots)
	})
	hash := f.commit("while the server is away", next)
	f.watch("without Git", time.Until(stopped.Add(time.Minute)), func(all []*api.Status) string {
		if missing := placesOf(all).exactly(slots); missing != "" {
			return missing
		}
		return before.changed(placesOf(all))
	})
	out, _ := f.orpheus("status", "--socket", f.Nodes[0].Socket())
	contains(f.t, "orpheus status", out, "cannot be read since")

	f.must(f.StartGit())
	back := time.Now()
	f.settles("Git is back", hash, slots)
	f.t.Logf("Git is back after a minute: the commit that waited is rolled out after %s", time.Since(back).Round(100*time.Millisecond))
	delete(before, "web/0")
	delete(before, "web/1")
	delete(before, "web/2")
	f.untouched("Git was away", before)
}

// restored puts an older state of the repository in place, as after a crash of
// the server, and lets people set it right.
func (f *fleet) restored(old string, slots map[string]int, next map[string]string) {
	f.t.Helper()
	laptop := filepath.Join(f.t.TempDir(), "laptop") // has the newest commits
	f.must(f.BackupGit(laptop))
	before := f.places()
	applied := f.status(f.Nodes[0]).Repository.Applied.Hash
	generation := f.status(f.Nodes[0]).Fleet.Generation
	f.must(f.RestoreGit(old))
	f.await("all raise an alarm", patience, func(all []*api.Status) string {
		for k, st := range all {
			if st == nil || !strings.Contains(strings.Join(st.Problems, "\n"), "floor reset") {
				return f.Nodes[k].Name + " does not"
			}
		}
		return ""
	})
	out, _ := f.orpheus("status", "--socket", f.Nodes[1].Socket())
	contains(f.t, "orpheus status", out, "backup", "orpheus floor reset")
	f.watch("the server was restored", 8*time.Second, func(all []*api.Status) string {
		return before.changed(placesOf(all))
	})
	for _, n := range f.Nodes {
		if st := f.status(n); st.Repository.Applied.Hash != applied {
			f.t.Errorf("%s went back to %.8s", n.Name, st.Repository.Applied.Hash)
		}
	}

	_, err := f.Repo.Git("", "fetch", laptop, "main:main") // somebody pushes again
	f.must(err)
	if out, code := f.orpheus("floor", "reset", "--socket", f.Nodes[1].Socket()); code != 0 {
		f.t.Fatalf("orpheus floor reset: %s", out)
	}
	f.await("the floor is reset", patience, func(all []*api.Status) string {
		for k, st := range all {
			switch n := f.Nodes[k]; {
			case st == nil:
				return n.Name + " does not answer"
			case st.Fleet.Generation <= generation:
				return fmt.Sprintf("%s is at generation %d", n.Name, st.Fleet.Generation)
			case len(st.Problems) > 0:
				return fmt.Sprintf("%s has problems: %q", n.Name, st.Problems)
			case !st.Fleet.Registered:
				return n.Name + " is not registered"
			}
		}
		return placesOf(all).exactly(slots)
	})
	f.watch("the floor was reset", 3*time.Second, func(all []*api.Status) string {
		return placesOf(all).exactly(slots)
	})
	if changed := before.changed(f.places()); changed != "" {
		f.t.Logf("the reset moved something: %s", changed)
	}
	f.settles("the next commit", f.commit("after the reset", next), slots)
}
