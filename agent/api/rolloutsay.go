package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// Summary is the sentence about a service that is not at rest; "" = it is.
func (r *Rollout) Summary() string {
	text := r.Failure
	switch {
	case r.Steady() || r.Failed():
		return text
	case r.State == RolloutDegraded:
		text = fmt.Sprintf("%d of %s available", r.Available, r.slots())
	default:
		text = fmt.Sprintf("%d of %s available at %s", r.Done, r.slots(), r.Wanted.Short())
	}
	if len(r.Waits) > 0 {
		text += "; " + r.Waits[0]
	}
	return text
}

func (r *Rollout) slots() string {
	if r.Replicas == 1 {
		return "1 slot"
	}
	return fmt.Sprintf("%d slots", r.Replicas)
}

// Stands names a node that has a lease of a slot in force, the newest such; false
// = none has.
func (r *Rollout) Stands(slot string) (planner.NodeName, bool) {
	var node planner.NodeName
	for _, l := range r.Slots {
		if l.Slot == slot && l.Node != "" && !l.Void {
			node = l.Node
		}
	}
	return node, node != ""
}

// Runs is the revision that most slots have; of those that have as many the one
// that comes first. "" = no slot has any.
func (r *Rollout) Runs() planner.Revision {
	has := map[planner.Revision]int{}
	var most planner.Revision
	for _, l := range r.Slots {
		if l.Node != "" && !l.Void {
			has[l.Revision]++
		}
	}
	for _, l := range r.Slots {
		if has[l.Revision] > has[most] {
			most = l.Revision
		}
	}
	return most
}

// Asks reports whether the rollout goes on only with a person's approval.
func (r *Rollout) Asks() bool { return r.State == planner.RolloutWaiting }

// Slot is the name of a slot within the service, of what people call it:
// "web-0". A nil rollout has none.
func (r *Rollout) Slot(called string) (slot string, is bool) {
	if r == nil {
		return "", false
	}
	slot, is = strings.CutPrefix(called, r.Service+"-")
	return slot, is && slices.ContainsFunc(r.Slots, func(l RolloutSlot) bool { return l.Slot == slot })
}
