package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// report makes the status anew and puts it where other goroutines read it.
func (a *Agent) report() {
	from := a.cfg.Source.Describe()
	src := a.source
	st := &api.Status{
		Node: a.cfg.Node.Name, Version: a.cfg.Version, StartedAt: a.startedAt, Holds: a.reportHolds(),
		Repository: api.Repository{
			URL: from.URL, Branch: from.Branch, Following: from.Following, Path: from.Path, LastRead: from.LastRead,
			Applied: a.state.followed.Commit, Seen: src.look.Commit, Refused: src.refused,
		},
		Network:  a.network,
		Services: []api.Service{},
		Faults:   a.state.followed.Faults,
		FaultsIn: a.state.followed.Commit.Short(),
	}
	if src.refused != "" && len(src.faults) > 0 {
		st.Faults, st.FaultsIn = src.faults, src.look.Commit.Short()
	}
	if src.look.Err != nil {
		st.Repository.Error, st.Repository.ErrorSince = src.look.Err.Error(), src.look.Since
	}
	if a.fleet != nil {
		st.Fleet = a.reportFleet()
	} else {
		st.Repository.Floor = a.floor.commit
	}
	st.Pressure = a.reportPressure()
	for _, name := range slices.Sorted(maps.Keys(a.drivers)) {
		st.Drivers = append(st.Drivers, a.reportDriver(a.drivers[name]))
	}
	for _, what := range slices.Sorted(maps.Keys(a.problems)) {
		st.Problems = append(st.Problems, what+": "+a.problems[what])
	}
	st.Deletions = a.reportDeletions()
	st.NotOpened = slices.Concat(a.balance.told, a.balance.own.closed)
	all, _ := a.instances()
	bySlot := map[planner.SlotID][]planner.Instance{}
	for _, i := range all {
		bySlot[i.Slot] = append(bySlot[i.Slot], i)
	}
	for _, id := range a.reported(all) {
		st.Services = append(st.Services, a.reportService(id, bySlot))
	}
	if a.fleet != nil {
		st.Fleet.Rollouts = a.reportRollouts(st.Services)
	}
	a.cfg.Metrics.reported(st)
	a.reportPulls(st)
}

func (a *Agent) reportDriver(d *driverState) api.Driver {
	out := api.Driver{Name: d.name, Version: d.info.Version, Instances: len(d.instances), Notes: d.info.Notes}
	switch {
	case d.err != nil:
		out.Error = d.err.Error()
	case d.infoErr != nil:
		out.Error = d.infoErr.Error()
	}
	return out
}

// reported lists the services that have anything to do with this node.
func (a *Agent) reported(all []planner.Instance) []planner.ServiceID {
	running := map[planner.ServiceID]bool{}
	for _, i := range all {
		running[i.Slot.Service] = true
	}
	return slices.DeleteFunc(a.concerned(all), func(id planner.ServiceID) bool {
		s, followed := a.state.followed.Services[id]
		leased := followed && len(a.state.docs[id].Leases) > 0
		wanted := s.Orphan || a.fleet == nil && len(planner.Slots(a.cfg.Node, a.state.followed.Fleet, s)) > 0
		return !running[id] && !leased && !wanted
	})
}

func (a *Agent) reportService(id planner.ServiceID, bySlot map[planner.SlotID][]planner.Instance) api.Service {
	s, followed := a.state.followed.Services[id]
	doc := a.state.docs[id]
	slots := planner.Slots(a.cfg.Node, a.state.followed.Fleet, s)
	if a.fleet != nil {
		slots = leasedSlots(doc)
	}
	out := api.Service{
		Namespace: id.Namespace, Name: id.Name, File: s.File, Revision: s.Revision,
		Replicas: len(slots), Commit: doc.Commit,
	}
	if followed && !s.Orphan {
		out.Driver = s.Template.DriverName()
	}
	for _, p := range s.Ports {
		if p.Publish != nil {
			out.Published = append(out.Published, describePort(p))
		}
	}
	shown := map[string]bool{}
	ready, updated := map[string]bool{}, map[string]bool{} // slots, of which one in transition has two leases
	for _, l := range doc.Leases {
		slot := planner.SlotID{Service: id, Name: l.Slot}
		i := a.reportLease(slot, a.heldAt(slot, l), bySlot[slot], doc)
		a.tellOnce(id, l, &i.Phase, &i.Reason)
		shown[i.ID] = true
		out.Instances = append(out.Instances, i)
		if i.Phase == planner.PhaseReady && l.Hook == "" {
			ready[l.Slot] = true
		}
		if l.Revision == s.Revision {
			updated[l.Slot] = true
		}
	}
	out.Ready, out.Updated = len(ready), len(updated)
	for slot, instances := range bySlot {
		for _, i := range instances {
			if slot.Service == id && !shown[i.ID] {
				out.Instances = append(out.Instances, a.reportUnleased(i))
			}
		}
	}
	slices.SortStableFunc(out.Instances, func(x, y api.Instance) int {
		if c := (planner.SlotID{Service: id, Name: x.Slot}).Compare(planner.SlotID{Service: id, Name: y.Slot}); c != 0 {
			return c
		}
		return strings.Compare(x.ID, y.ID)
	})
	out.Rollout = a.reportRollout(id, bySlot)
	a.explain(&out, s, followed)
	return out
}

// leasedSlots lists the slots that a document gives this node.
func leasedSlots(doc planner.LeaseDoc) []string {
	var slots []string
	for _, l := range doc.Leases {
		if l.Hook == "" {
			slots = append(slots, l.Slot)
		}
	}
	return slices.Compact(slots)
}

// reportLease describes a lease by the instance it covers, if there is one.
func (a *Agent) reportLease(slot planner.SlotID, l planner.Lease, have []planner.Instance, doc planner.LeaseDoc) api.Instance {
	out := api.Instance{
		Slot: l.Slot, ID: planner.InstanceID(slot, l), Phase: planner.PhasePending,
		Token: l.Token, Revision: l.Revision, Images: doc.Images[l.Revision],
	}
	for _, i := range have {
		if i.Revision == l.Revision && (out.StartedAt.IsZero() || i.State == planner.StateRunning) {
			a.fill(&out, i)
		}
	}
	t := a.tracks[out.ID]
	if t != nil {
		out.Restarts = t.restarts
		if out.Phase != planner.PhaseReady {
			out.LastLog = t.lastLog
		}
	}
	if f := a.flights[out.ID]; f != nil && !f.over {
		out.Phase, out.Reason = planner.PhaseStarting, f.action.Reason
		if f.action.Kind == planner.ActionStop || f.action.Kind == planner.ActionKill {
			out.Phase = planner.PhaseStopping
		}
		return out
	}
	if w, ok := a.waits[planner.LeaseKey{Service: slot.Service, Token: l.Token}]; ok {
		out.Reason = w.Reason
		if t != nil && t.backoff.Failures > 0 {
			out.Phase = planner.PhaseFailed
			if w.Until > a.cfg.Clock().Boot {
				out.Reason += a.tried(t.backoff)
			}
		}
	} else if t != nil && t.lastExit != "" && out.Phase != planner.PhaseReady {
		last := "last run: " + t.lastExit
		if out.Reason == "" || out.Phase == planner.PhaseFailed {
			out.Reason = last
		} else {
			out.Reason += "; " + last
		}
	}
	key := planner.LeaseKey{Service: slot.Service, Token: l.Token}
	if why := cmp.Or(a.failing(key), a.lapsed(key)); why != "" {
		out.Reason = why
		if t != nil && out.Phase == planner.PhaseFailed {
			out.Reason += a.tried(t.backoff)
		}
	}
	return out
}

func (a *Agent) fill(out *api.Instance, i planner.Instance) {
	out.ID, out.StartedAt = i.ID, i.StartedAt
	out.Address = a.attached[i.ID].Address
	out.Containers = nil
	for _, c := range i.Containers {
		out.Containers = append(out.Containers, api.Container{Name: c.Name, PID: c.PID, State: string(c.State), Exit: c.Exit})
	}
	out.Phase, out.Reason = a.phaseOf(i)
	out.Probes = a.reportProbes(i)
}

// reportUnleased describes an instance that is on its way out, or kept
// although nobody knows its manifest.
func (a *Agent) reportUnleased(i planner.Instance) api.Instance {
	out := api.Instance{Slot: i.Slot.Name, Token: i.Token, Revision: i.Revision}
	a.fill(&out, i)
	if f := a.flights[i.ID]; f != nil {
		out.Phase, out.Reason = planner.PhaseStopping, f.action.Reason
	}
	return out
}

// explain finds the one sentence that says most about a service.
func (a *Agent) explain(out *api.Service, s planner.Service, followed bool) {
	for _, h := range a.state.followed.Held {
		if h.Service == out.ID() {
			out.Message, out.Approve = h.Reason, h.Approve
			return
		}
	}
	if !followed {
		out.Message = "not in the manifests any more: being removed"
		return
	}
	if s.Orphan {
		out.Message = "found running, but no manifest is known for it: kept until the repository is read"
		return
	}
	if now := a.cfg.Clock(); s.Suspended(now) {
		out.Message = s.Suspend.String()
		return
	}
	if s.Observe {
		out.Message = a.explainObserved(s)
		return
	}
	r := out.Rollout
	if r != nil && (r.Failed() || r.Asks()) {
		out.Message = r.Summary()
		return
	}
	out.Message = a.explainRevision(out, s)
	if out.Message == "" {
		out.Message = a.explainShort(out)
	}
	if out.Message == "" && r != nil && len(r.Waits) > 0 && !slices.ContainsFunc(out.Instances, notReady) {
		out.Message = r.Summary() // it is not this node that is waited for
	}
	if out.Message == "" && out.Updated > 0 && out.Updated < out.Replicas {
		out.Message = fmt.Sprintf("replacing: %d of %d slots have revision %s", out.Updated, out.Replicas, s.Revision.Short())
	}
	if out.Message != "" {
		return
	}
	for _, i := range out.Instances {
		if i.Phase == planner.PhaseFailed || i.Phase == planner.PhaseUnhealthy {
			out.Message = i.Reason
			return
		}
	}
}

func notReady(i api.Instance) bool { return i.Phase != planner.PhaseReady }

// explainObserved says what would be done for a service that is only observed.
func (a *Agent) explainObserved(s planner.Service) string {
	var would []string
	for _, o := range a.observed {
		if o.Slot.Service == s.ID {
			would = append(would, o.String())
		}
	}
	if len(would) == 0 {
		return "mode: observe: nothing would be done"
	}
	return "mode: observe: would " + someOf(would)
}

// explainRevision says what keeps the wanted revision of a service from its
// first start; "" = nothing does.
func (a *Agent) explainRevision(out *api.Service, s planner.Service) string {
	stays := ""
	if len(out.Instances) > 0 {
		stays = ", what runs stays"
	}
	revision := "revision " + s.Revision.Short()
	p := a.prepares[planner.RevisionKey{Service: out.ID(), Revision: s.Revision}]
	d := a.drivers[out.Driver]
	if reasons := planner.Admit(a.cfg.Policy, s); len(reasons) > 0 && out.Replicas > 0 {
		return revision + " is refused by this node" + stays + ": " + strings.Join(reasons, "; ")
	}
	if d != nil && d.err != nil && d.err != errNotListed {
		return "driver " + d.name + " does not answer, what runs goes on: " + d.err.Error()
	}
	switch {
	case p == nil || p.done:
		return ""
	case p.refused != "":
		return revision + " is refused by this node" + stays + ": " + p.refused
	case a.waitsForRoom(p, s) != "":
		return revision + " waits for room for its images" + stays + ": " + a.waitsForRoom(p, s)
	case p.active:
		return preparing + p.lastTry() // see livePulls
	case p.backoff.Failures > 0:
		return revision + " cannot start yet" + stays + ": " + p.backoff.Reason + a.tried(p.backoff)
	}
	return preparing
}

// tried says how often something failed and when it is tried again.
func (a *Agent) tried(b planner.Backoff) string {
	times := "once"
	if b.Failures > 1 {
		times = fmt.Sprintf("%d times", b.Failures)
	}
	left := b.NotBefore - a.cfg.Clock().Boot
	if left <= 0 {
		return " (tried " + times + ")"
	}
	return fmt.Sprintf(" (tried %s; again in %d s)", times, int(left.Seconds())+1)
}
