package fleet

import (
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// What coordinators decide by is told at once, the rest when it has waited.
func TestMatters(t *testing.T) {
	at := planner.InstanceStatus{Slot: planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: "web"}, Name: "0"}, Token: 1, Phase: planner.PhaseStarting}
	status := func(edit func(*planner.InstanceStatus)) planner.NodeStatus {
		i := at
		edit(&i)
		return planner.NodeStatus{Instances: []planner.InstanceStatus{i}}
	}
	plain := status(func(*planner.InstanceStatus) {})
	for _, tt := range []struct {
		name string
		then planner.NodeStatus
		want bool
	}{
		{"nothing", plain, false},
		{"it failed, and is tried again", status(func(i *planner.InstanceStatus) { i.Phase, i.Restarts = planner.PhaseFailed, 3 }), false},
		{"another reason", status(func(i *planner.InstanceStatus) { i.Reason = "exited with code 1" }), false},
		{"it is ready", status(func(i *planner.InstanceStatus) { i.Phase = planner.PhaseReady }), true},
		{"it is available", status(func(i *planner.InstanceStatus) { i.Available = true }), true},
		{"it is prepared", status(func(i *planner.InstanceStatus) { i.Prepared = true }), true},
		{"it is given up", status(func(i *planner.InstanceStatus) { i.Failing = true }), true},
		{"it has lapsed", status(func(i *planner.InstanceStatus) { i.Lapsed = true }), true},
		// It has been so for long, and is not waited for.
		{"it holds", status(func(i *planner.InstanceStatus) { i.Steady = true }), false},
		{"a hook succeeded", status(func(i *planner.InstanceStatus) { i.Phase = planner.PhaseSucceeded }), true},
		{"a hook failed", status(func(i *planner.InstanceStatus) {
			i.Slot.Name, i.Phase = string(planner.HookPreRollout), planner.PhaseFailed
		}), true},
		{"the node fails", planner.NodeStatus{Instances: plain.Instances, Failing: "5 starts failed"}, true},
	} {
		if got := matters(plain, tt.then); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if got := matters(tt.then, plain); got != tt.want {
			t.Errorf("%s, taken back: %v", tt.name, got)
		}
	}
}
