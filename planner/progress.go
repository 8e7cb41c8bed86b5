package planner

import (
	"slices"
	"strconv"
)

// Rollout is how far the newest revision of a service is, for people and for
// who tells them.
type Rollout struct {
	// Revision is the manifest's.
	Revision Revision
	State    RolloutState
	// Reason says why it is in that state, in the user's words, and what a person
	// may do; "" = nothing is to be said.
	Reason string
	// Target is the revision that slots are to have now: that of the manifest, or
	// the one that is gone back to; "" = they stay as they are.
	Target Revision
	// Failing says which instance of a first release is given up, or was on
	// another node, and why. It blocks nothing: there is no revision to go back
	// to, and this one is tried further. "" = none is.
	Failing string
	// Slots is how many the service has, Updated how many of them have Target, or
	// the manifest's where slots stay as they are, and Available how many are
	// available at it.
	Slots, Updated, Available int
	// Step is how many of Steps are done; both 0 = it has none.
	Step, Steps int
}

// RolloutState is where a rollout is.
type RolloutState string

// The states of a rollout.
const (
	RolloutRolling   RolloutState = "rolling"
	RolloutPaused    RolloutState = "paused"    // between two steps, goes on by itself
	RolloutWaiting   RolloutState = "waiting"   // goes on when a person says so
	RolloutDone      RolloutState = "done"      // all have it and are available, and its hooks succeeded
	RolloutBlocked   RolloutState = "blocked"   // it failed, and every slot stays as it is
	RolloutReverting RolloutState = "reverting" // it failed, and the last good revision is given back
	RolloutReverted  RolloutState = "reverted"  // it failed on some slot, and all have the last good revision again
)

// Over reports whether nothing more happens until the service is changed.
func (s RolloutState) Over() bool {
	return s == RolloutDone || s == RolloutBlocked || s == RolloutReverted
}

// RolloutOf is the rollout of a service of a fleet, from the records alone.
func RolloutOf(s Service, doc LeaseDoc, v View) Rollout {
	return summary(&s, doc, &fleetFacts{v: &v, s: &s})
}

// RolloutAlone is the same on a node that grants leases to itself.
func RolloutAlone(s Service, doc LeaseDoc, v Alone) Rollout {
	return summary(&s, doc, &aloneFacts{v: &v, s: &s})
}

func summary(s *Service, doc LeaseDoc, f facts) Rollout {
	doc = cloneDoc(doc, s.ID)
	r := newRollout(s, &doc, f, "")
	rev := r.s.Revision
	all, updated, available := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, l := range r.leases {
		all[l.Slot] = true
		if l.Revision == rev && f.inForce(l) {
			updated[l.Slot] = true
			if f.available(l) {
				available[l.Slot] = true
			}
		}
	}
	out := Rollout{
		Revision: s.Revision, Target: rev, Updated: len(updated), Available: len(available), Slots: max(0, s.Replicas),
		Step: r.step, Steps: len(s.Update.Steps),
	}
	if s.EveryNode {
		out.Slots = len(all)
	}
	out.judge(r)
	if !out.State.Over() && r.doc.LastGood == "" {
		out.Failing = r.troubled(available)
	}
	return out
}

// troubled says why the wanted revision does not get on; available are the slots
// that are at it.
func (r *rollout) troubled(available map[string]bool) string {
	rev := r.s.Revision
	if why := r.failure(rev); why != "" {
		return why
	}
	for _, on := range r.doc.Failed {
		if on.Revision == rev && !available[on.Slot] {
			return SlotID{r.s.ID, on.Slot}.String() + " on " + string(on.Node) + ": it kept failing there"
		}
	}
	return ""
}

// judge works out the state.
func (out *Rollout) judge(r *rollout) {
	steps := r.steps(out.Slots, out.Available, 0, Time{})
	whole := out.Available >= out.Slots
	none := out.Slots == 0 && !r.manifest.EveryNode // for which no hook runs
	out.State = RolloutRolling
	switch {
	case r.stays:
		out.State, out.Reason, out.Target = RolloutBlocked, r.whyBlocked(), ""
	case r.reverts():
		out.State, out.Reason = out.wayBack(r), r.whyBlocked()
	case r.hook != nil:
		out.Reason = "a " + r.hook.Hook.Field() + " hook runs on " + string(r.hook.Node)
	case steps.why != "":
		out.State, out.Reason = RolloutPaused, steps.why
		if steps.person {
			out.State = RolloutWaiting
		}
	case r.doc.LastGood == r.s.Revision:
		out.State = RolloutDone
		out.Step = out.Steps
	case none, whole && !r.needs(HookPostRollout) && !r.needs(HookPreRollout):
		out.State = RolloutDone
	}
	if out.State == RolloutRolling && out.Reason == "" {
		out.Reason = strconv.Itoa(out.Updated) + " of " + plural(out.Slots, "slot") + " have " + r.s.Revision.Short() + ", " + strconv.Itoa(out.Available) + " are available"
	}
}

// wayBack is how far a service is on the way to its last good revision. One of
// which no slot was given the revision that failed has no way to go, unless that
// came in the middle of another rollout.
func (out *Rollout) wayBack(r *rollout) RolloutState {
	strays := slices.ContainsFunc(r.leases, func(l Lease) bool { return l.Revision != r.s.Revision && r.facts.inForce(l) })
	tried := r.doc.Tried(r.manifest.Revision)
	switch {
	case !tried && !strays:
		return RolloutBlocked
	// A slot without a lease in force, for no node takes it, has nothing to go
	// back from.
	case tried && (out.Available >= out.Slots || out.Available == out.Updated && !strays):
		return RolloutReverted
	}
	return RolloutReverting
}
