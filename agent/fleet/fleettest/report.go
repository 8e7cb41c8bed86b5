package fleettest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// report is how the instances of this process's machine fare.
func (p *process) report() fleet.Report {
	r := fleet.Report{
		Applied: p.m.disk.followed.Commit.Hash, Rejected: p.rejected, Specs: p.specs,
		Drivers: []string{planner.DriverContainerd}, Volumes: p.volumes(), Images: p.resolved(),
	}
	bySlot := map[planner.SlotID][]*instance{}
	ids := slices.Sorted(maps.Keys(p.m.instances))
	for _, id := range ids {
		i := p.m.instances[id]
		bySlot[i.Slot] = append(bySlot[i.Slot], i)
	}
	told, held := map[string]bool{}, map[planner.LeaseKey]bool{}
	p.tellAt = 0
	for _, id := range sortedIDs(p.standing.Docs) {
		for _, l := range p.standing.Docs[id].Leases {
			slot := planner.SlotID{Service: id, Name: l.Slot}
			r.Instances = append(r.Instances, p.tellLease(slot, l, bySlot[slot], told))
			held[planner.LeaseKey{Service: id, Token: l.Token}] = true
		}
	}
	r.Failing = p.fails()
	maps.DeleteFunc(p.health, func(key planner.LeaseKey, _ *health) bool { return !held[key] })
	for _, id := range ids {
		if i := p.m.instances[id]; !told[id] {
			r.Instances = append(r.Instances, planner.InstanceStatus{Slot: i.Slot, Revision: i.Revision, Phase: p.phase(i)})
		}
	}
	slices.SortStableFunc(r.Instances, func(a, b planner.InstanceStatus) int {
		return cmp.Or(a.Slot.Compare(b.Slot), cmp.Compare(a.Token, b.Token), cmp.Compare(a.Revision, b.Revision))
	})
	for key, reason := range p.refused {
		r.Refusals = append(r.Refusals, planner.Refusal{Service: key.Service, Revision: key.Revision, Reason: reason})
	}
	slices.SortFunc(r.Refusals, func(a, b planner.Refusal) int {
		return cmp.Or(a.Service.Compare(b.Service), cmp.Compare(a.Revision, b.Revision))
	})
	return r
}

// tellLease describes a lease by the instance it covers.
func (p *process) tellLease(slot planner.SlotID, l planner.Lease, have []*instance, told map[string]bool) planner.InstanceStatus {
	out := planner.InstanceStatus{Slot: slot, Token: l.Token, Revision: l.Revision, Phase: planner.PhasePending}
	id := planner.InstanceID(slot, l)
	var found *instance
	for _, i := range have {
		if i.Revision != l.Revision {
			continue
		}
		told[i.ID] = true
		if found == nil || found.State != planner.StateRunning {
			id, out.Phase, found = i.ID, p.phase(i), i
		}
	}
	running := found != nil && found.State == planner.StateRunning
	if !running {
		out.Prepared = p.isPrepared(p.specs[l.Revision]) && !p.m.disk.followed.Services[slot.Service].Observe
		if p.flights[id] != nil {
			out.Phase = planner.PhaseStarting
		}
	}
	if l.Hook != "" || p.specs[l.Revision].Once {
		return p.tellOnce(out, l, found, p.flights[id] != nil)
	}
	if b := p.backoff[id]; b.Failures > 0 && out.Phase != planner.PhaseReady {
		out.Phase, out.Reason = planner.PhaseFailed, b.Reason
	}
	p.tellFares(&out, slot.Service, l, id, found)
	return out
}

// tellFares adds whether the instance of a lease is available, or given up.
func (p *process) tellFares(out *planner.InstanceStatus, id planner.ServiceID, l planner.Lease, instance string, i *instance) {
	s, followed := p.m.disk.followed.Services[id]
	if !followed || s.Orphan {
		return
	}
	ready := time.Duration(0)
	if i != nil && i.isReady(p.w.now) {
		ready = i.ready
	} else if i != nil && i.ready > p.w.now {
		// Its own clock may say that the instant is here, by a rounding.
		p.tell(max(p.m.clock.at(i.ready), p.now().Boot) + time.Microsecond)
	}
	h := p.fares(s, l, i != nil || p.flights[instance] != nil, ready, p.failures[instance])
	out.Available = s.MinReady > 0 && h.available(s, p.now().Boot)
	if out.Phase == planner.PhaseReady && p.givenUpOn(out.Slot, l.Revision) > 0 { // otherwise nobody asks
		out.Steady = h.steady(s, p.now().Boot)
		p.tell(h.ready + planner.BackoffReset)
	}
	if h.lapsed(s, p.now().Boot) {
		out.Lapsed, out.Reason = true, fmt.Sprintf("has not been available for %v", s.Deadline())
	}
	if why := h.given(s, p.now().Boot); why != "" {
		out.Failing, out.Reason = true, why
	}
}

// givenUpOn is the number of nodes on which a slot was given up at a revision.
func (p *process) givenUpOn(slot planner.SlotID, rev planner.Revision) int {
	return p.standing.Docs[slot.Service].GivenUpOn(slot.Name, rev)
}

// tellOnce describes the lease of what runs to its end.
func (p *process) tellOnce(out planner.InstanceStatus, l planner.Lease, i *instance, busy bool) planner.InstanceStatus {
	s := p.m.disk.followed.Services[out.Slot.Service]
	out.Phase, out.Reason = p.once(i, p.m.disk.begun[onceKey{s.ID, l.Token, l.Revision}], busy)
	if out.Phase == planner.PhaseSucceeded || out.Phase == planner.PhaseFailed {
		return out
	}
	key := planner.LeaseKey{Service: s.ID, Token: l.Token}
	if p.health[key] == nil || p.left(s) {
		p.health[key] = &health{since: p.now().Boot}
	}
	hook := s.Hooks[l.Hook]
	if due := p.health[key].since + hook.Deadline(); p.due(due) {
		out.Failing, out.Reason = true, fmt.Sprintf("it did not end within %v", hook.Deadline())
	} else {
		p.tell(due)
	}
	return out
}

func (p *process) phase(i *instance) planner.Phase {
	switch {
	case i.State == planner.StateExited:
		return planner.PhaseFailed
	case i.isReady(p.w.now):
		return planner.PhaseReady
	}
	return planner.PhaseStarting
}

// volumes lists the slots whose local volumes lie here: they stay.
func (p *process) volumes() []planner.SlotID {
	var slots []planner.SlotID
	for _, id := range slices.Sorted(maps.Keys(p.m.instances)) {
		i := p.m.instances[id]
		if s, ok := p.m.disk.followed.Services[i.Slot.Service]; ok && s.HasVolumes() {
			slots = append(slots, i.Slot)
		}
	}
	slices.SortFunc(slots, planner.SlotID.Compare)
	return slices.Compact(slots)
}

// resolved are the digests of leased revisions without pins, as found here.
func (p *process) resolved() []planner.ResolvedImages {
	var out []planner.ResolvedImages
	for _, id := range sortedIDs(p.standing.Docs) {
		doc := p.standing.Docs[id]
		for _, l := range doc.Leases {
			t := p.specs[l.Revision]
			missing := slices.ContainsFunc(t.Images(), func(ref string) bool { return doc.Images[l.Revision][ref] == "" })
			if !missing || slices.ContainsFunc(out, func(r planner.ResolvedImages) bool { return r.Service == id && r.Revision == l.Revision }) {
				continue
			}
			for _, iid := range slices.Sorted(maps.Keys(p.m.instances)) {
				i := p.m.instances[iid]
				if i.Slot.Service == id && i.Revision == l.Revision && len(i.Containers) > 0 && i.Containers[0].Digest != "" {
					out = append(out, planner.ResolvedImages{
						Service: id, Revision: l.Revision, Images: map[string]string{i.Containers[0].Image: i.Containers[0].Digest},
					})
					break
				}
			}
		}
	}
	return out
}

// takeOn decides which leases this node takes on, and keeps the list of what it
// refuses (design L8).
func (p *process) takeOn(st planner.NodeState) planner.NodeState {
	taken := planner.TakeOn(st, planner.ResourceList{CPUMillis: p.m.cores, MemoryBytes: p.m.memory}, func(planner.Service) string { return "" }, p.refused)
	p.refused, st.Docs = taken.Refused, taken.Docs
	st.Behind = maps.Clone(st.Behind)
	if st.Behind == nil {
		st.Behind = map[planner.LeaseKey]string{}
	}
	maps.Copy(st.Behind, taken.Behind)
	return st
}
