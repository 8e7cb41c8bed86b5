package main

import (
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestReadinessColour: what is ready is ready, also where the manifest asks for a
// revision that failed.
func TestReadinessColour(t *testing.T) {
	ready := api.Instance{Slot: "0", Phase: planner.PhaseReady}
	failed := api.Instance{Slot: "0", Phase: planner.PhaseFailed}
	slot := api.RolloutSlot{Slot: "0", Node: "a", Available: true}
	there := func(state planner.RolloutState, available int, other ...api.RolloutSlot) *api.Rollout {
		return &api.Rollout{State: state, Replicas: 2, Available: available, Slots: append([]api.RolloutSlot{slot}, other...)}
	}
	for _, c := range []struct {
		name string
		s    api.Service
		want colour
	}{
		{"ready here, its revision blocked", api.Service{Ready: 1, Replicas: 1, Instances: []api.Instance{ready}, Rollout: &api.Rollout{State: planner.RolloutReverted, Replicas: 1, Available: 1}}, green},
		{"starting here", api.Service{Replicas: 1, Instances: []api.Instance{{Slot: "0", Phase: planner.PhaseStarting}}}, yellow},
		{"fails here", api.Service{Replicas: 1, Instances: []api.Instance{failed}}, red},
		{"ready in the fleet, its revision blocked", api.Service{Rollout: there(planner.RolloutReverted, 2, api.RolloutSlot{Slot: "1", Node: "b", Available: true})}, green},
		{"one starts", api.Service{Rollout: there(planner.RolloutRolling, 1, api.RolloutSlot{Slot: "1", Node: "b"})}, yellow},
		{"one fails", api.Service{Rollout: there(planner.RolloutRolling, 1, api.RolloutSlot{Slot: "1", Node: "b", Failing: true})}, red},
		{"one has no node", api.Service{Rollout: there(planner.RolloutRolling, 1, api.RolloutSlot{Slot: "1"})}, red},
		{"one was lost", api.Service{Rollout: there(planner.RolloutRolling, 1, api.RolloutSlot{Slot: "1", Node: "b", Void: true})}, red},
		{"one was lost and starts elsewhere", api.Service{Rollout: there(planner.RolloutRolling, 1, api.RolloutSlot{Slot: "1", Node: "b", Void: true}, api.RolloutSlot{Slot: "1", Node: "c"})}, yellow},
	} {
		if got := readinessColour(c.s); got != c.want {
			t.Errorf("%s: colour %q, want %q", c.name, got, c.want)
		}
	}
}
