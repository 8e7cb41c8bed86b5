package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// reportRollout is how a service stands in its fleet, or on this node where it
// stands alone; nil = its manifest does not tell. bySlot holds the instances here;
// nil = who asks has not looked.
func (a *Agent) reportRollout(id planner.ServiceID, bySlot map[planner.SlotID][]planner.Instance) *api.Rollout {
	s, followed := a.state.followed.Services[id]
	held := func(h planner.Held) bool { return h.Service == id }
	if !followed || s.Orphan || s.Observe || slices.ContainsFunc(a.state.followed.Held, held) {
		return nil
	}
	f := api.RolloutFacts{Service: s, Now: a.cfg.Clock(), Commit: a.state.followed.Commit}
	if a.fleet == nil {
		f.View, f.Doc.Doc = a.viewOfSelf(id, bySlot)
		f.Doc.StepSince, f.Waiting = a.progress.steps[id].since, a.waitsFor[id]
		return api.RolloutOf(f)
	}
	decided := a.fleet.member.Decided()
	f.View, f.Unplaced, f.Waiting = a.fleet.member.View(), decided.Unplaced, decided.Waiting[id]
	f.Doc = f.View.Docs[id]
	if f.Doc.Since != 0 {
		f.Stands = f.Now.Boot - f.Doc.Since
	}
	if bySlot != nil {
		f.Own = func(l planner.Lease) planner.InstanceStatus {
			slot := planner.SlotID{Service: id, Name: l.Slot}
			i, _ := a.tellLease(slot, a.heldAt(slot, l), bySlot[slot])
			return i
		}
	}
	nodes, now := f.View.Nodes, f.Now.Boot
	f.Quiet = func(node planner.NodeName) time.Duration {
		n := nodes[node]
		return now - max(n.StatusSince, n.Life)
	}
	return api.RolloutOf(f)
}

// Rollout tells how a service of the fleet stands, whether or not this node has
// anything to do with it; nil = no manifest that is followed has it. It may be
// called from any goroutine.
func (a *Agent) Rollout(ctx context.Context, id planner.ServiceID) (*api.Rollout, error) {
	var found *api.Rollout
	err := a.onLoop(ctx, func() error {
		if a.fleet != nil {
			found = a.reportRollout(id, nil)
		}
		return nil
	})
	if err != nil {
		return nil, err // the loop may write found still
	}
	return found, nil
}

// viewOfSelf shows one service on a node that stands alone, and its document, as
// the records of a fleet of one would.
func (a *Agent) viewOfSelf(id planner.ServiceID, bySlot map[planner.SlotID][]planner.Instance) (planner.View, planner.LeaseDoc) {
	const epoch, process = 1, "this"
	self := a.cfg.Node.Name
	n := planner.NodeView{
		Record: planner.NodeRecord{Node: self, Epoch: epoch, Incarnation: process},
		Status: planner.NodeStatus{Node: self, Incarnation: process},
	}
	doc := a.state.docs[id]
	doc.Leases = slices.Clone(doc.Leases)
	for k, l := range doc.Leases {
		slot := planner.SlotID{Service: id, Name: l.Slot}
		i, _ := a.tellLease(slot, a.heldAt(slot, l), bySlot[slot])
		i.Token, i.Revision = l.Token, l.Revision
		n.Status.Instances = append(n.Status.Instances, i)
		doc.Leases[k].Node, doc.Leases[k].Epoch = self, epoch
	}
	return planner.View{Self: self, Specs: a.state.specs, Nodes: map[planner.NodeName]planner.NodeView{self: n}}, doc
}

// reportRollouts are those of the fleet that concern none of what this node
// shows, and are under way or have failed.
func (a *Agent) reportRollouts(shown []api.Service) []*api.Rollout {
	here := map[planner.ServiceID]bool{}
	for _, s := range shown {
		here[s.ID()] = true
	}
	var out []*api.Rollout
	docs := a.fleet.member.View().Docs
	for _, id := range slices.SortedFunc(maps.Keys(a.state.followed.Services), planner.ServiceID.Compare) {
		if here[id] || atRest(a.state.followed.Services[id], docs[id].Doc) {
			continue
		}
		if r := a.reportRollout(id, nil); r != nil && !r.Steady() {
			out = append(out, r)
		}
		if len(out) == maxReported {
			break
		}
	}
	return out
}

// atRest reports whether a document alone tells that nothing changes: it spares
// a look at every instance of the fleet.
func atRest(s planner.Service, doc planner.LeaseDoc) bool {
	if len(doc.Blocked) > 0 || doc.LastGood != "" && doc.LastGood != s.Revision || !s.EveryNode && len(doc.Leases) != max(0, s.Replicas) {
		return false
	}
	return !slices.ContainsFunc(doc.Leases, func(l planner.Lease) bool { return l.Revision != s.Revision })
}
