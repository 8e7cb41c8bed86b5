package agent

import (
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// whyOverdue says what was waited for when the deadline passed.
func (a *Agent) whyOverdue(s planner.Service, l planner.Lease, t *term, i planner.Instance, covered bool) string {
	what := fmt.Sprintf("did not become ready within %v", t.limit)
	track := a.tracks[i.ID]
	switch {
	case l.Hook != "":
		what = fmt.Sprintf("did not end within %v", t.limit)
	case s.MinReady > 0 && track != nil && track.worked:
		what = fmt.Sprintf("was not ready for %v without a break within %v", s.MinReady, t.limit)
	}
	if why := a.lacking(l, t, i, covered); why != "" {
		what += ": " + why
	}
	return shortened(what)
}

// lacking is what keeps a lease from having an instance that is ready.
func (a *Agent) lacking(l planner.Lease, t *term, i planner.Instance, covered bool) string {
	id := planner.InstanceID(t.slot, l)
	if covered {
		id = i.ID
	}
	key := planner.RevisionKey{Service: t.slot.Service, Revision: l.Revision}
	track, prepared, flight := a.tracks[id], a.prepares[key], a.flights[id]
	wait := a.waits[planner.LeaseKey{Service: key.Service, Token: l.Token}]
	switch {
	case covered && i.State == planner.StateRunning:
		return a.failedCheck(i)
	case track != nil && track.backoff.Failures > 0:
		return track.backoff.Reason
	case prepared != nil && !prepared.done && prepared.backoff.Failures > 0:
		return prepared.backoff.Reason
	case a.fleet != nil && a.fleet.refused[key] != "":
		return "refused by this node: " + a.fleet.refused[key]
	case wait.Reason != "":
		return wait.Reason
	case flight != nil && !flight.over && len(flight.pull.list()) > 0:
		return "its images are still being pulled"
	case flight != nil && !flight.over:
		return "its start has not ended"
	}
	return ""
}

// failedCheck is the check for which a running instance is not ready, and what
// it said; nothing that the container wrote.
func (a *Agent) failedCheck(i planner.Instance) string {
	for _, c := range a.state.specs[i.Revision].Containers {
		if !c.Gated() {
			continue
		}
		found := a.probes.Found(i.ID, c.Name, runOf(i, c.Name))
		if found.Ready(c) {
			continue
		}
		kind := planner.ProbeReadiness
		if !found.Started(c) {
			kind = planner.ProbeStartup
		}
		return string(kind) + " probe" + describeProbe(c, a.asked(i, c, c.Probe(kind)), found.Said[kind], planner.Checks{})
	}
	return ""
}

// shortened makes a reason fit for a record.
func shortened(reason string) string {
	const most = 400
	return planner.OneLine(strings.ReplaceAll(reason, "\n", "; "), most)
}
