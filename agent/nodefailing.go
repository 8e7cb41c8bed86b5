package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// A node on which everything fails: so many starts within so long, while none
// worked.
const (
	nodeFailures = 5
	nodeWithin   = 5 * time.Minute
	// nodeTrial is how long it is avoided after it failed so often: without work
	// it has no way to show that it is well again. Each time in a row that it was
	// given work then and failed again it is avoided for twice as long.
	nodeTrial    = 5 * time.Minute
	nodeTrialMax = time.Hour
	// maxStarts bounds what is remembered of them.
	maxStarts = 100
)

// nodeStarts is what is counted of the starts on a node.
type nodeStarts struct {
	failures []startFailure // since one worked, within nodeWithin; oldest first
	reason   string         // why the node is avoided, in the user's words; "" = it is not
	until    time.Duration  // boot time at which that ends
	strikes  int            // how often in a row it began
}

// startFailure is a start that did not work: it failed, or what it started ended
// without ever having been ready.
type startFailure struct {
	At       time.Duration    `json:"at"` // boot time
	Slot     planner.SlotID   `json:"slot"`
	Revision planner.Revision `json:"revision,omitempty"`
	Reason   string           `json:"reason"`
}

// worked notes that something has become ready.
func (n *nodeStarts) worked() { *n = nodeStarts{} }

// failed notes one more failure. services is how many have work here: where
// there is more than one, a single one that fails tells of itself, not of the
// node. excused says of which failures something else is known to be the cause.
func (n *nodeStarts) failed(f startFailure, services int, excused func(startFailure) bool) {
	n.failures = append(slices.DeleteFunc(n.failures, func(o startFailure) bool { return o.At < f.At-nodeWithin }), f)
	n.failures = n.failures[max(0, len(n.failures)-maxStarts):]
	starts, slots, of := 0, map[planner.SlotID]bool{}, map[planner.ServiceID]bool{}
	for _, o := range n.failures {
		if !excused(o) {
			starts++
			slots[o.Slot], of[o.Slot.Service] = true, true
		}
	}
	if starts < nodeFailures || len(slots) < 2 || services > 1 && len(of) < 2 {
		return
	}
	if n.reason == "" {
		what := fmt.Sprintf("%d services", len(of))
		if len(of) == 1 {
			what = fmt.Sprintf("%d slots of %s", len(slots), f.Slot.Service)
		}
		n.reason = shortened(fmt.Sprintf("%d starts of %s failed here within %v, the last: %s: %s", starts, what, nodeWithin, f.Slot, f.Reason))
		n.strikes++
	}
	n.until = f.At + min(nodeTrial<<min(n.strikes-1, 10), nodeTrialMax)
}

// judge ends what is over: it was avoided for long enough, or all that failed
// turned out to fail elsewhere, too.
func (n *nodeStarts) judge(now time.Duration, excused func(startFailure) bool) {
	if n.reason == "" {
		return
	}
	blamed := slices.ContainsFunc(n.failures, func(f startFailure) bool { return !excused(f) })
	if now >= n.until || !blamed {
		n.reason, n.failures = "", nil
	}
}

// countStart takes in that a start did not work.
func (a *Agent) countStart(f startFailure) {
	services := 0
	for _, doc := range a.state.docs {
		if slices.ContainsFunc(doc.Leases, func(l planner.Lease) bool { return l.Hook == "" }) {
			services++
		}
	}
	a.progress.node.failed(f, services, a.failsElsewhere)
}

// judgeNode ends what is over, and tells this node's owner what is not.
func (a *Agent) judgeNode(now time.Duration) {
	n := &a.progress.node
	before := n.reason
	n.judge(now, a.failsElsewhere)
	a.progress.news = a.progress.news || n.reason != before
	var err error
	if n.reason != "" {
		err = errors.New(n.reason + "; other nodes get its work as long as there are any")
		if a.fleet == nil {
			err = errors.New(n.reason)
		}
	}
	a.problem("starts", err)
}

// failsElsewhere reports whether the revision of a start that failed fails on
// other nodes, too, and is ready on none: a release that is broken everywhere
// is no reason to avoid every node.
func (a *Agent) failsElsewhere(f startFailure) bool {
	if a.fleet == nil || f.Revision == "" {
		return false
	}
	fails, works := false, false
	for name, n := range a.fleet.member.View().Nodes {
		if name == a.cfg.Node.Name || !n.Live() || !n.Current() {
			continue
		}
		for _, i := range n.Status.Instances {
			if i.Slot.Service == f.Slot.Service && i.Revision == f.Revision {
				fails = fails || i.Failing || i.Phase == planner.PhaseFailed
				works = works || i.Phase == planner.PhaseReady
			}
		}
	}
	return fails && !works
}
