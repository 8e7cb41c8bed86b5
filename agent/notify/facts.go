package notify

import "github.com/orpheus-cd/orpheus/planner"

// Facts are what a node knows of its fleet, as far as it is told. Whoever made
// them does not change them any more.
type Facts struct {
	Node  planner.NodeName
	Fleet string // its name; "" = it has none
	// Rank is how many live nodes tell what all of them see before this one does.
	Rank int
	// Stale is set while the repository or the records cannot be read: but for
	// Alarm the rest is what was true, and nothing follows from it.
	Stale bool
	// Unsettled is set while this node may not know everybody who starts with it,
	// and with that its Rank: it posts no status.
	Unsettled bool

	// Fresh is set on a node alone before it has followed its first commit: nothing
	// was given to it yet, and what comes is news.
	Fresh bool

	Commit planner.Commit // that is followed; no hash = none yet
	// Refused is the newest commit, where it is not followed, and Refusal why.
	Refused planner.Commit
	Refusal string
	// Faults are the first of Commit, FaultCount is how many there are.
	Faults     []string
	FaultCount int
	// Waits says what of Commit is not carried out before a person approves it;
	// "" = nothing.
	Waits string
	// Services are those that Commit asks for and that are not left alone by
	// it (suspended, observed), ordered.
	Services []Service
	Nodes    []Node // of the fleet, ordered
	// Alarm is set when records went back.
	Alarm string
}

// Service is how the rollout of one service fares.
type Service struct {
	ID planner.ServiceID
	// Mine is set where this node tells of it: it decided on its leases last.
	Mine     bool
	Revision planner.Revision // that the manifest asks for
	Phase    Phase
	// Commit is the hash of the one that gave the service Revision, as far as its
	// document tells; "" = it does not.
	Commit string
	// BlockedAt is the hash of the commit that was followed when Revision failed:
	// it names the attempt. "" = it is not blocked, and may be tried (again).
	BlockedAt string
	// Why says why it is blocked, or waits, in the user's words.
	Why string
	// Failing says which instance is given up, and why, although the rollout goes
	// on: there is no revision to go back to. "" = none is.
	Failing string
	// Step is the number of the step that waits for approval, from 1.
	Step int
	// Back is the revision that a blocked one gives way to; "" = none does.
	Back planner.Revision
	// Hooks are those that failed at Revision.
	Hooks []Hook
}

// Hook is a hook that failed.
type Hook struct {
	Kind planner.HookKind
	Why  string
}

// Phase is where the rollout of a revision is.
type Phase string

// The phases.
const (
	Waiting  Phase = "waiting"  // no slot has it yet
	Rolling  Phase = "rolling"  // some slots have it
	Paused   Phase = "paused"   // a step waits for a person's approval
	Done     Phase = "done"     // all slots have it, and are available
	Blocked  Phase = "blocked"  // it failed; what has it is on its way back, or stays
	Reverted Phase = "reverted" // it failed, and all slots are back
)

// Node is a node of the fleet.
type Node struct {
	Name planner.NodeName
	Live bool
	// FencedBy is who fenced it, at Epoch, and Why; "" = nobody did.
	FencedBy planner.NodeName
	Epoch    uint64
	Why      string
}
