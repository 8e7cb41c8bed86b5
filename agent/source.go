package agent

import (
	"context"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Source is where commits come from.
type Source interface {
	// Follow looks at the repository until ctx ends and reports every change:
	// a new commit, a failure, another one, a recovery. Only the latest look matters, older
	// ones may be dropped. interval is read before each wait.
	Follow(ctx context.Context, interval func() time.Duration) <-chan Look

	// Load reads what a commit asks for, from what Follow fetched. since is the
	// hash of the commit in force, "" if there is none. A *Refusal means the
	// commit as a whole is not accepted; any other error is tried again.
	Load(ctx context.Context, commit planner.Commit, since string) (Loaded, error)

	// Describe names the repository for status, without credentials.
	Describe() Description
}

// Description says what is followed, and when it was last read.
type Description struct {
	URL, Path string
	Branch    string // "" = no branch is followed
	// Following names what is followed: "branch main", "tag v1.4.2 of range >=1.2".
	Following string
	// Exact: the node's own configuration names this very commit.
	Exact bool
	// LastRead is when the repository last answered; zero = not yet, or it is not
	// asked (Exact).
	LastRead time.Time
}

// Look is a change of what looking at the repository shows.
type Look struct {
	Commit planner.Commit // what is to be followed, as last seen
	Err    error          // why the repository cannot be read now
	Since  time.Time      // when Err began
}

// Loaded is what one commit asks for.
type Loaded struct {
	Desired planner.Desired
	// Approved lists the commits named by Prune-Approved trailers since the
	// commit in force.
	Approved []string
}

// Refusal says why a commit as a whole is not accepted: no fleet.yaml at the
// path, or one that cannot be read.
type Refusal struct {
	Reason string // in one sentence, with the remedy; "" = the first fault says it
	Faults []planner.Fault
}

func (r *Refusal) Error() string {
	switch {
	case r.Reason != "":
		return r.Reason
	case len(r.Faults) == 0:
		return "refused"
	}
	s := r.Faults[0].String()
	if n := len(r.Faults) - 1; n > 0 {
		s += " (and more)"
	}
	return s
}
