package api

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Rollout is how a service and the change of it stand: in its whole fleet, as
// the one who tells it knows the records, or on a node that stands alone.
type Rollout struct {
	Service string `json:"service"`        // "web", "shop/web"
	File    string `json:"file,omitempty"` // of its manifest
	// State is one of planner.RolloutState, or RolloutDegraded.
	State planner.RolloutState `json:"state"`
	// Wanted is the revision that the manifest asks for, Commit the one that
	// brought it, as far as that is recorded. LastGood is the last revision whose
	// rollout was completed. Target is what slots are to have now: Wanted, or
	// LastGood while Wanted is blocked and reverted, or no slot was given it; "" =
	// they stay as they are.
	Wanted         planner.Revision `json:"wanted,omitempty"`
	Commit         string           `json:"commit,omitempty"`
	LastGood       planner.Revision `json:"lastGood,omitempty"`
	LastGoodCommit string           `json:"lastGoodCommit,omitempty"`
	Target         planner.Revision `json:"target,omitempty"`
	// Failure says in a sentence why Wanted failed, and what became of it; it is
	// not tried again.
	Failure string `json:"failure,omitempty"`
	// Replicas is how many slots there are to be, Updated how many of them have a
	// lease at Target, Available how many an instance that is available at any
	// revision, and Done how many one at Target.
	Replicas  int `json:"replicas"`
	Updated   int `json:"updated"`
	Available int `json:"available"`
	Done      int `json:"done"`
	// Step is how many of Steps the rollout has behind it.
	Step  int `json:"step,omitempty"`
	Steps int `json:"steps,omitempty"`
	// PauseUntil is until when the rollout rests at Step at least, where that is
	// known.
	PauseUntil time.Time `json:"pauseUntil,omitzero"`
	Budget     Budget    `json:"budget"`
	// Waits are sentences about what is awaited, what counts most first.
	Waits []string `json:"waits,omitempty"`
	// WaitsFor are the services that are waited for (spec.dependsOn).
	WaitsFor []string      `json:"waitsFor,omitempty"`
	Hooks    []RolloutHook `json:"hooks,omitempty"`
	Slots    []RolloutSlot `json:"slots,omitempty"` // ordered
	// Avoided are the nodes on which a slot kept failing and that do not get it
	// again at that revision, Refusals those that do not take Target.
	Avoided  []Avoided  `json:"avoided,omitempty"`
	Refusals []Refusing `json:"refusals,omitempty"`
	// Unplaced are slots that no node takes, with each node's reason.
	Unplaced []Unplaced `json:"unplaced,omitempty"`
}

// RolloutDegraded is the state, beside those of planner.RolloutState, of a
// service that was rolled out, and of which not all slots are available now.
const RolloutDegraded planner.RolloutState = "degraded"

// Failed reports whether what is wanted failed: only another commit makes it
// well.
func (r *Rollout) Failed() bool {
	return r.State == planner.RolloutBlocked || r.State == planner.RolloutReverting || r.State == planner.RolloutReverted
}

// Steady reports whether all slots have what is wanted and are available.
func (r *Rollout) Steady() bool { return r.State == planner.RolloutDone }

// Budget is what a rollout, drains and moves may do at once, and how much of it
// is used.
type Budget struct {
	Surge          int `json:"surge"` // slots with two instances
	MaxSurge       int `json:"maxSurge"`
	Unavailable    int `json:"unavailable"` // slots without an available one
	MaxUnavailable int `json:"maxUnavailable"`
}

// RolloutSlot is one lease of a slot; a slot that has none has one without a
// node.
type RolloutSlot struct {
	Slot     string           `json:"slot"`
	Node     planner.NodeName `json:"node,omitempty"`
	Revision planner.Revision `json:"revision,omitempty"`
	// Phase is what the node reports; "" = nothing yet.
	Phase     planner.Phase `json:"phase,omitempty"`
	Available bool          `json:"available,omitempty"`
	Failing   bool          `json:"failing,omitempty"`
	Void      bool          `json:"void,omitempty"` // the node was lost, or has begun anew
	// Silent: the node should have told of it by now. It may not know of it.
	Silent   bool   `json:"silent,omitempty"`
	Restarts int    `json:"restarts,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// RolloutHook is one hook of a service for one revision.
type RolloutHook struct {
	Hook     string           `json:"hook"`     // preRollout, postRollout
	Revision planner.Revision `json:"revision"` // of the service
	State    HookState        `json:"state"`
	Node     planner.NodeName `json:"node,omitempty"` // where it runs, or ran
	Reason   string           `json:"reason,omitempty"`
}

// HookState is where a hook is.
type HookState string

// The states of hooks.
const (
	HookDue       HookState = "due"
	HookRuns      HookState = "running"
	HookSucceeded HookState = "succeeded"
	HookFailed    HookState = "failed"
)

// Avoided is a node that a slot left because it kept failing there.
type Avoided struct {
	Slot     string           `json:"slot"`
	Node     planner.NodeName `json:"node"`
	Revision planner.Revision `json:"revision"`
}

// Refusing is a node that does not take what slots are to have.
type Refusing struct {
	Node   planner.NodeName `json:"node"`
	Reason string           `json:"reason"`
}
