package fleet

import (
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// SameStep reports whether two values of a document are at the same step of the
// same rollout: then a pause counts on from where it began.
func SameStep(a, b planner.LeaseDoc) bool {
	return newest(a) == newest(b) && a.Step == b.Step && slices.Equal(a.Blocked, b.Blocked)
}

// newest is the revision a service was given last; "" = none was.
func newest(d planner.LeaseDoc) planner.Revision {
	if len(d.History) == 0 {
		return ""
	}
	return d.History[0].Revision
}
