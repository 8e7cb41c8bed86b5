package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// nodesCutOff: a node that is cut from its peers or from Git keeps its
// work, one that is cut from both is replaced, and after healing nothing runs
// twice.
func nodesCutOff(t *testing.T) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 3})
	web := map[string]int{"web": 6}
	f.begin(map[string]string{"fleet.yaml": three, "web.yaml": f.manifest(spec{name: "web", replicas: 6})}, web)
	before := f.places()
	epochs := f.epochs(f.Nodes[0])
	n := f.Nodes[2]

	f.must(n.Cut(devfleet.FromPeers))
	f.await("the others miss it", patience, func(all []*api.Status) string {
		if is := nodeOf(all[0], n.Name); is.Probe != "down" && nodeOf(all[1], n.Name).Probe != "down" {
			return fmt.Sprintf("it is %s for node-1", is.Probe)
		}
		return ""
	})
	f.keeps("cut from peers", time.Minute, before, epochs)
	if log := f.Nodes[0].AgentLog(1<<20) + f.Nodes[1].AgentLog(1<<20); !containsAll(log, "is challenged", n.Name) {
		t.Error("it was never challenged: this proves nothing")
	}
	f.must(n.Heal())
	f.reach(n, f.Nodes)

	f.must(n.Cut(devfleet.FromGit))
	f.await("it misses Git", patience, func(all []*api.Status) string {
		if all[2] == nil || all[2].Fleet.Error == "" {
			return "it does not"
		}
		return ""
	})
	f.keeps("cut from Git", 30*time.Second, before, epochs)
	f.must(n.Heal())
	f.await("it reads Git again", patience, func(all []*api.Status) string {
		if all[2] == nil || all[2].Fleet.Error != "" {
			return "it does not"
		}
		return ""
	})

	f.must(n.Cut(devfleet.FromBoth))
	others := f.Nodes[:2]
	took := f.await("the others take over", patience, func(all []*api.Status) string {
		return placesOf(all[:2]).exactly(web)
	})
	t.Logf("cut from both: replaced after %s", took.Round(100*time.Millisecond))
	if lives := placesOf(f.Statuses(t.Context())[2:]); len(lives) != 2 {
		t.Errorf("cut from both: %d of 2 instances run on", len(lives))
	}
	if now := f.epochs(f.Nodes[0])[n.Name]; now <= epochs[n.Name] {
		t.Errorf("its epoch is %d still", now)
	}
	f.must(n.Heal())
	took = f.await("healed", patience, func(all []*api.Status) string {
		if is := nodeOf(all[0], n.Name); is.State != "live" {
			return fmt.Sprintf("it is %s", is.State)
		}
		return placesOf(all).exactly(web)
	})
	t.Logf("healed: nothing runs twice after %s", took.Round(100*time.Millisecond))
	f.reach(n, others)
	f.watch("healed", 2*time.Second, func(all []*api.Status) string { return placesOf(all).exactly(web) })
}

// epochs are those of all nodes as one knows them.
func (f *fleet) epochs(n *devfleet.Node) map[string]uint64 {
	f.t.Helper()
	out := map[string]uint64{}
	for _, is := range f.status(n).Fleet.Nodes {
		out[string(is.Name)] = is.Epoch
	}
	return out
}

// keeps demands for a while that every instance runs on, and that nobody is
// fenced.
func (f *fleet) keeps(what string, lasts time.Duration, before places, epochs map[string]uint64) {
	f.t.Helper()
	f.watch(what, lasts, func(all []*api.Status) string {
		for k, st := range all {
			switch {
			case f.Nodes[k].AgentPID() == 0:
				continue
			case st == nil:
				return f.Nodes[k].Name + " does not answer"
			}
			for name, epoch := range epochs {
				if is := nodeOf(st, name); is.State != "live" || is.Epoch != epoch {
					return fmt.Sprintf("%s says that %s is %s, epoch %d: %s", st.Node, name, is.State, is.Epoch, is.Reason)
				}
			}
		}
		now := placesOf(all)
		if len(now) != len(before) {
			return fmt.Sprintf("%d of %d slots run", len(now), len(before))
		}
		return before.changed(now)
	})
}

// reach waits until no node misses another.
func (f *fleet) reach(n *devfleet.Node, by []*devfleet.Node) {
	f.t.Helper()
	f.await(n.Name+" is reached again", patience, func(all []*api.Status) string {
		for k, st := range all {
			if slices.Contains(by, f.Nodes[k]) && f.Nodes[k] != n && (st == nil || nodeOf(st, n.Name).Probe != "up") {
				return "not by " + f.Nodes[k].Name
			}
		}
		return ""
	})
}
