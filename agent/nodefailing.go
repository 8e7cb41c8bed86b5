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

// elsewhere is how the revision of a start that failed fares on other nodes.
type elsewhere struct{ fails, works bool }

// excuses reports whether the node is not to blame: a release that is broken
// everywhere is no reason to avoid every node.
func (e elsewhere) excuses() bool { return e.fails && !e.works }

// failed notes one more failure. services is how many have work here: where
// there is more than one, a single one that fails tells of itself, not of the
// node; where there is one, it has to work on other nodes.
func (n *nodeStarts) failed(f startFailure, services int, fares func(startFailure) elsewhere) {
	n.failures = append(slices.DeleteFunc(n.failures, func(o startFailure) bool { return o.At < f.At-nodeWithin }), f)
	n.failures = n.failures[max(0, len(n.failures)-maxStarts):]
	starts, works := 0, false
	slots, of := map[planner.SlotID]bool{}, map[planner.ServiceID]bool{}
	for _, o := range n.failures {
		if there := fares(o); !there.excuses() {
			starts, works = starts+1, works || there.works
			slots[o.Slot], of[o.Slot.Service] = true, true
		}
	}
	if starts < nodeFailures || len(slots) < 2 || len(of) < 2 && (services > 1 || !works) {
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
	n.until = f.At + min(nodeTrial<<max(0, min(n.strikes-1, 10)), nodeTrialMax)
}

// judge ends what is over: it was avoided for long enough, or all that failed
// turned out to fail elsewhere, too.
func (n *nodeStarts) judge(now time.Duration, fares func(startFailure) elsewhere) {
	if n.reason == "" {
		return
	}
	blamed := slices.ContainsFunc(n.failures, func(f startFailure) bool { return !fares(f).excuses() })
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
	a.progress.node.failed(f, services, a.faresElsewhere)
}

// judgeNode ends what is over, and tells this node's owner what is not.
func (a *Agent) judgeNode(now time.Duration) {
	n := &a.progress.node
	before := n.reason
	n.judge(now, a.faresElsewhere)
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

// faresElsewhere is how the revision of a start that failed here fares on other
// nodes, as they report it.
func (a *Agent) faresElsewhere(f startFailure) (there elsewhere) {
	if a.fleet == nil || f.Revision == "" {
		return there
	}
	for name, n := range a.fleet.member.View().Nodes {
		if name == a.cfg.Node.Name || !n.Live() || !n.Current() {
			continue
		}
		for _, i := range n.Status.Instances {
			if i.Slot.Service == f.Slot.Service && i.Revision == f.Revision {
				there.fails = there.fails || i.Failing || i.Phase == planner.PhaseFailed
				there.works = there.works || i.Phase == planner.PhaseReady
			}
		}
	}
	return there
}

// tellsFailing is why other nodes are to take the work of this one; "" = they are
// not, or there is none that could.
func (a *Agent) tellsFailing() string {
	for name, n := range a.fleet.member.View().Nodes {
		if name != a.cfg.Node.Name && n.Live() {
			return a.progress.node.reason
		}
	}
	return ""
}
