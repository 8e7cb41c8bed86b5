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
		text = fmt.Sprintf("%d of %d slots available", r.Available, r.Replicas)
	default:
		text = fmt.Sprintf("%d of %d slots available at %s", r.Done, r.Replicas, r.Wanted.Short())
	}
	if len(r.Waits) > 0 {
		text += "; " + r.Waits[0]
	}
	return text
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
