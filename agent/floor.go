package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// ResetFloor is a person's word that the records are as they should be; see
// fleet.Member. It may be called from any goroutine.
func (a *Agent) ResetFloor(ctx context.Context, commit string) error {
	if a.fleet == nil {
		return errors.New("this node takes no part in a fleet (coordination: none)")
	}
	return a.onLoop(ctx, func() error { return a.fleet.member.ResetFloor(commit, a.cfg.Clock()) })
}

// floorRetry is how often a commit below the floor is judged again: a person
// may reset the floor.
const floorRetry = 10 * time.Second

// belowFloor says why a commit may not be followed although it is the tip of
// the branch: it does not come after what the fleet has followed already
// (design L6).
func (a *Agent) belowFloor(commit planner.Commit) string {
	if a.fleet == nil {
		return ""
	}
	for _, floor := range a.fleet.member.Floors() {
		switch a.fleet.cfg.Relate(floor, commit.Hash) {
		case planner.RelationSame, planner.RelationAncestor:
			continue
		}
		short := planner.Commit{Hash: floor}.Short()
		return fmt.Sprintf("it does not come after commit %s, which the fleet has followed: the branch was set back or rewritten. "+
			"Bring %s back into its history (git revert undoes a commit without that), or, if it is meant so: orpheus floor reset %s",
			short, short, commit.Short())
	}
	return ""
}
