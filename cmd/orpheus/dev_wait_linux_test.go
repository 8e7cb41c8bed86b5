package main

import (
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// Whoever waits for a fleet hears of all its nodes together.
func TestStandingOfNodes(t *testing.T) {
	nodes := []devNode{{Name: "node-1"}, {Name: "node-2"}}
	commit := testCommit("4f2a", "", 0).Hash
	node := func(services ...api.Service) *api.Status {
		st := testStatus(services...)
		st.Fleet = &api.Fleet{Registered: true, Nodes: []api.FleetNode{{Name: "node-1", State: nodeLive}, {Name: "node-2", State: nodeLive}}}
		return st
	}
	begun := func() *api.Status {
		st := node()
		st.Fleet.Rollouts = []*api.Rollout{{Service: "db", State: planner.RolloutRolling, Replicas: 1, Slots: []api.RolloutSlot{{Slot: "0"}}}}
		return st
	}
	pulling := node(testService("db", "1", 1))
	pulling.Services[0].Ready, pulling.Services[0].Instances = 0, nil
	pulling.Services[0].Pulls = []api.Pull{{Image: "registry.example.com/db:1"}}
	failed := node()
	failed.Fleet.Rollouts = []*api.Rollout{{Service: "db", State: planner.RolloutBlocked, Replicas: 1}}
	faulty := node(testService("web", "2", 1))
	faulty.Faults = []planner.Fault{{File: "db.yaml", Line: 3, Reason: "is not a field"}}
	alone := node()
	alone.Fleet.Nodes = alone.Fleet.Nodes[:1]
	early := node()
	early.Repository.Applied.Hash = testCommit("aaaa", "", 0).Hash
	for _, c := range []struct {
		name     string
		one, two *api.Status
		want     awaited
	}{
		{"all run", node(testService("web", "2", 1)), node(testService("db", "1", 1), testService("web", "2", 1)), awaited{ready: true, says: "2 of 2 up to date and ready"}},
		{"nothing to run", node(), node(), awaited{ready: true, says: "nothing is to run"}},
		{"one is silent", node(testService("web", "2", 1)), nil, awaited{says: "no answer from node-2; 1 of 1 up to date and ready"}},
		{"one has not read it", node(), early, awaited{says: "the commit is not followed yet by node-2; nothing is to run"}},
		{"one knows of itself alone", alone, node(), awaited{says: "not all nodes are known yet to node-1; nothing is to run"}},
		{"not given yet", begun(), begun(), awaited{says: "db (not begun); 0 of 1 up to date and ready"}},
		{"an image is pulled", begun(), pulling, awaited{says: "db (not begun); 0 of 1 up to date and ready; node-2 pulls registry.example.com/db:1"}},
		{"failed for good", failed, node(testService("web", "2", 1)), awaited{rests: true, says: "db (BLOCKED); 1 of 2 up to date and ready"}},
		{"a fault", faulty, faulty, awaited{rests: true, says: "1 fault of the manifests; 1 of 1 up to date and ready"}},
	} {
		agents := map[string]*api.Status{"node-1": c.one}
		if c.two != nil {
			agents["node-2"] = c.two
		}
		if got, _ := standingOfNodes(nodes, agents, commit, time.Now()); got != c.want {
			t.Errorf("%s: %+v\nwant %+v", c.name, got, c.want)
		}
	}
}
