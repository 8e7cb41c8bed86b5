package api

import (
	"fmt"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// tellsWithin is how long a node may take, at least, to tell of a lease: it reads
// the records every few seconds, and what it has to say is written at once.
const tellsWithin = 2 * time.Minute

// untold says why a node has told nothing of a lease that it has. silent: it
// should have; as a rule it does not reach the repository.
func (f RolloutFacts) untold(node planner.NodeName) (why string, silent bool) {
	n, who := f.View.Nodes[node], "the node"
	if node == f.View.Self {
		who = "this node"
	}
	switch {
	case n.Blind:
		why, silent = "the node cannot read the repository, as it says: it does not know of it", true
	case f.Stands < f.patience():
		why = who + " has not told of it yet"
	default:
		why, silent = who+" has not told of it for "+inMinutes(f.Stands), true
		if f.Quiet != nil && f.Quiet(node) > f.Stands {
			why += ", nor of anything else for " + inMinutes(f.Quiet(node))
		}
	}
	if n.Probe == planner.ProbeDown {
		why += ", nor does it answer"
	}
	return why, silent
}

// patience is how long a node may take to tell what is new.
func (f RolloutFacts) patience() time.Duration { return max(tellsWithin, 4*f.View.Poll) }

// uncounted says why a slot does not count whose node told that it is ready, or on
// its way there, and of nothing that is wrong; "" = it counts, or the phase says it
// all. silent: the node should have told more by now.
func (f RolloutFacts) uncounted(node planner.NodeName, slot RolloutSlot) (why string, silent bool) {
	ready := slot.Phase == planner.PhaseReady
	if slot.Available || slot.Reason != "" || !ready && slot.Phase != planner.PhasePending && slot.Phase != planner.PhaseStarting {
		return "", false
	}
	n, quiet := f.View.Nodes[node], time.Duration(0)
	if f.Quiet != nil && node != f.View.Self {
		quiet = f.Quiet(node)
	}
	switch {
	case n.Blind:
		why, silent = fmt.Sprintf("it was %s when the node told of it last; the node cannot read the repository, as it says", slot.Phase), true
	case !ready: // however long that takes
		return "", false
	case quiet < f.Service.MinReady+f.patience():
		return "counts once it was ready for " + shortTime(f.Service.MinReady), false
	default:
		why, silent = fmt.Sprintf("it was ready, and counts once that lasted %s, but the node has told nothing for %s", shortTime(f.Service.MinReady), inMinutes(quiet)), true
	}
	if n.Probe == planner.ProbeDown {
		why += ", nor does it answer"
	}
	return why, silent
}

// here says what this node does about a lease that it has not told of yet.
func here(own planner.InstanceStatus) string {
	switch {
	case own.Reason != "":
		return own.Reason
	case own.Phase == planner.PhaseReady:
		return "ready on this node, which is about to tell so"
	case own.Phase == planner.PhasePending:
		return "this node is about to begin with it"
	}
	return string(own.Phase) + " on this node"
}

// inMinutes is a time in minutes, a long one in days.
func inMinutes(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return shortTime(d.Truncate(time.Minute))
}

// awaited says what a rollout waits for that has not begun, although nothing is
// known to hold it back; "" = who tells does not know.
func (f RolloutFacts) awaited() string {
	if f.Commit.Hash == "" || f.Service.Suspend != nil || f.Service.Observe {
		return ""
	}
	ranked := slices.DeleteFunc(f.View.Coordinators(f.Service.ID), func(n planner.NodeName) bool { return f.View.Nodes[n].Blind })
	if len(ranked) == 0 {
		return "no node is live that could decide on it"
	}
	who, applied := ranked[0], f.View.Nodes[ranked[0]].Status.Applied
	switch {
	case who == f.View.Self:
		return "this node decides on it with its next look at the repository"
	case applied == f.Commit.Hash:
		return fmt.Sprintf("%s decides on it with its next look at the repository", who)
	case applied == "":
		return fmt.Sprintf("%s, which decides on it, has not told yet that it follows commit %s", who, f.Commit.Short())
	}
	return fmt.Sprintf("%s, which decides on it, has not told yet that it follows commit %s: it follows %s", who, f.Commit.Short(), planner.Commit{Hash: applied}.Short())
}
