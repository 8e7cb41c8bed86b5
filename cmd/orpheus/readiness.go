package main

import (
	"slices"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// readinessColour is that of how much of a service is ready, in its fleet where it
// has slots on other nodes: what becomes of its rollout is told beside it.
func readinessColour(s api.Service) colour {
	if elsewhere(s) {
		return availableColour(s.Rollout)
	}
	return instancesColour(s)
}

// instancesColour is that of the instances on this node.
func instancesColour(s api.Service) colour {
	switch {
	case slices.ContainsFunc(s.Instances, func(i api.Instance) bool { return phaseColour(i.Phase) == red }):
		return red
	case s.Ready >= s.Replicas:
		return green
	}
	return yellow
}

// availableColour is that of the slots of a fleet: red where one that is not
// available fails, or has no node.
func availableColour(r *api.Rollout) colour {
	if r.Available >= r.Replicas {
		return green
	}
	for _, l := range r.Slots {
		_, stands := r.Stands(l.Slot)
		if _, c := slotState(l); c == red && (l.Node != "" && !l.Void || !stands) {
			return red
		}
	}
	return yellow
}
