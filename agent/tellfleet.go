package agent

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// tellFleet is how this node's instances fare, for the others.
func (a *Agent) tellFleet(all []planner.Instance) fleet.Report {
	ms := a.fleet
	a.takeOn(a.nodeState(all))
	r := fleet.Report{
		Applied: a.state.followed.Commit.Hash, Specs: a.state.specs, Volumes: ms.volumes, Drivers: a.usableDrivers(),
		Images: a.resolvedImages(all), Pressure: a.shortResources(), Failing: a.tellsFailing(),
		Serving: a.serving.number,
	}
	if src := a.source; src.refused != "" {
		r.Rejected = &planner.RejectedCommit{Commit: src.failed.Hash, Reason: src.refused}
	}
	bySlot := map[planner.SlotID][]planner.Instance{}
	for _, i := range all {
		bySlot[i.Slot] = append(bySlot[i.Slot], i)
	}
	told := map[string]bool{}
	for _, id := range sortedServices(a.state.docs) {
		for _, l := range a.state.docs[id].Leases {
			slot := planner.SlotID{Service: id, Name: l.Slot}
			i, ids := a.tellLease(slot, l, bySlot[slot])
			a.tellOnce(id, l, &i.Phase, &i.Reason)
			r.Instances = append(r.Instances, i)
			for _, covered := range ids {
				told[covered] = true
			}
		}
	}
	for _, i := range all {
		if !told[i.ID] {
			phase, _ := a.toldPhase(i)
			r.Instances = append(r.Instances, planner.InstanceStatus{
				Slot: i.Slot, Revision: i.Revision, Phase: phase, Endpoints: a.serving.endpointsOf(i.Slot, i.Revision),
			})
		}
	}
	slices.SortStableFunc(r.Instances, func(x, y planner.InstanceStatus) int {
		if c := x.Slot.Compare(y.Slot); c != 0 {
			return c
		}
		if x.Token != y.Token {
			return int(int64(x.Token) - int64(y.Token))
		}
		return strings.Compare(string(x.Revision), string(y.Revision))
	})
	var untold error
	for key, reason := range ms.refused {
		if err := a.neverBegin(key, reason); err != nil {
			untold = err
			continue
		}
		r.Refusals = append(r.Refusals, planner.Refusal{Service: key.Service, Revision: key.Revision, Reason: reason})
	}
	a.problem("refusals of hooks", untold)
	slices.SortFunc(r.Refusals, func(x, y planner.Refusal) int {
		if c := x.Service.Compare(y.Service); c != 0 {
			return c
		}
		return strings.Compare(string(x.Revision), string(y.Revision))
	})
	return r
}

// tellLease describes a lease by the instance it covers. Nothing in it changes
// with time alone, or every node would have news all the time.
func (a *Agent) tellLease(slot planner.SlotID, l planner.Lease, have []planner.Instance) (out planner.InstanceStatus, covered []string) {
	out = planner.InstanceStatus{
		Slot: slot, Token: l.Token, Revision: l.Revision, Phase: planner.PhasePending,
		Endpoints: a.serving.endpointsOf(slot, l.Revision), // also those a former process told of, until this one knows better
	}
	id := planner.InstanceID(slot, l)
	running := false
	for _, i := range have {
		if i.Revision != l.Revision {
			continue
		}
		covered = append(covered, i.ID)
		if running {
			continue
		}
		id = i.ID
		out.Phase, out.Reason = a.toldPhase(i)
		running = i.State == planner.StateRunning
	}
	key := planner.RevisionKey{Service: slot.Service, Revision: l.Revision}
	if p := a.prepares[key]; p != nil && !running {
		out.Prepared = p.done
		if p.backoff.Failures > 0 {
			out.Phase, out.Reason = planner.PhaseFailed, p.backoff.Reason
		}
	}
	if f := a.flights[id]; f != nil && !f.over && !running {
		out.Phase = planner.PhaseStarting
	}
	if w, ok := a.waits[planner.LeaseKey{Service: slot.Service, Token: l.Token}]; ok && out.Reason == "" {
		out.Reason = w.Reason
	}
	if t := a.tracks[id]; t != nil {
		out.Restarts = t.restarts
		if t.backoff.Failures > 0 && out.Phase != planner.PhaseReady {
			out.Phase, out.Reason = planner.PhaseFailed, t.backoff.Reason
		}
	}
	out.Available = out.Phase == planner.PhaseReady && a.tellsAvailable(slot, id)
	out.Steady = out.Phase == planner.PhaseReady && a.tellsSteady(slot, l.Revision, id)
	lease := planner.LeaseKey{Service: slot.Service, Token: l.Token}
	if why := a.lapsed(lease); why != "" {
		out.Lapsed, out.Reason = true, why
	}
	if why := a.failing(lease); why != "" {
		out.Failing, out.Reason = true, why
	}
	return out, covered
}

// takeOn decides which leases this node takes on, and keeps the list of what it
// refuses (design L8). A node that stands alone runs them all, but for those
// whose ports are taken.
func (a *Agent) takeOn(st planner.NodeState) planner.NodeState {
	ms := a.fleet
	if ms == nil {
		st.Behind = planner.PortsBehind(st)
		return st
	}
	policy := func(s planner.Service) string {
		_, why := a.admit(s)
		return why
	}
	taken := planner.TakeOn(st, ms.cfg.Member.Self.Capacity, policy, ms.refused)
	ms.refused = taken.Refused
	st.Docs = taken.Docs
	if len(taken.Behind) > 0 {
		behind := maps.Clone(taken.Behind)
		maps.Copy(behind, st.Behind)
		st.Behind = behind
	}
	return st
}

// usableDrivers names the drivers that answer and that the node's policy lets
// services use.
func (a *Agent) usableDrivers() []string {
	allowed := a.cfg.Policy.Drivers
	if len(allowed) == 0 {
		allowed = []string{planner.DriverContainerd}
	}
	var names []string
	for name, d := range a.drivers {
		if slices.Contains(allowed, name) && (d.listed || d.err == nil) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// resolvedImages are the digests of the images of leased revisions that have
// no pins yet, as they were found here.
func (a *Agent) resolvedImages(all []planner.Instance) []planner.ResolvedImages {
	var out []planner.ResolvedImages
	for _, id := range sortedServices(a.state.docs) {
		doc := a.state.docs[id]
		for _, l := range doc.Leases {
			key := planner.RevisionKey{Service: id, Revision: l.Revision}
			missing := slices.ContainsFunc(a.state.specs[l.Revision].Images(), func(ref string) bool { return doc.Images[l.Revision][ref] == "" })
			if !missing || slices.ContainsFunc(out, func(r planner.ResolvedImages) bool { return r.Service == id && r.Revision == l.Revision }) {
				continue
			}
			if digests := listedDigests(all, key); len(digests) > 0 {
				out = append(out, planner.ResolvedImages{Service: id, Revision: l.Revision, Images: digests})
			}
		}
	}
	return out
}

// rate counts requests over the last hour.
type rate struct {
	at    []time.Duration // boot time of each sample
	count []fleet.Stats
}

// note takes a sample now and then and returns what was asked in the last
// hour, as far back as this process goes.
func (r *rate) note(now time.Duration, stats fleet.Stats) (reads, pushes uint64) {
	const every, kept = time.Minute, time.Hour
	if n := len(r.at); n == 0 || now-r.at[n-1] >= every {
		r.at, r.count = append(r.at, now), append(r.count, stats)
	}
	for len(r.at) > 1 && now-r.at[0] > kept {
		r.at, r.count = r.at[1:], r.count[1:]
	}
	first := r.count[0]
	return stats.Lists + stats.Reads - first.Lists - first.Reads, stats.Pushes - first.Pushes
}
