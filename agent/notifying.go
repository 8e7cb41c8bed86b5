package agent

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/notify"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// notifyEvery is the least time between two accounts for others: they go
	// over every service.
	notifyEvery = time.Second
	// everyNodeSettled is how long a service on every node may have no document
	// before it is taken for one that no node matches.
	everyNodeSettled = time.Minute
	// maxNotifiedFaults bounds the faults that are told in words.
	maxNotifiedFaults = 5
)

// notifying is the loop's part in telling others.
type notifying struct {
	at  time.Duration // boot time of the last account
	due time.Duration // of the next one; 0 = with the next pass
	// alone is what leases were last decided on, on a node that grants them to
	// itself.
	alone planner.Alone
}

// notify hands on what there is to tell others. It waits for nothing.
func (a *Agent) notify() {
	if a.cfg.Notify == nil && len(a.firsts.open) == 0 {
		return
	}
	now := a.cfg.Clock()
	n := &a.notifying
	if n.due = n.at + notifyEvery; n.at != 0 && now.Boot < n.due {
		return
	}
	n.at, n.due = now.Boot, 0
	a.tellFirstReleases(now)
	if a.cfg.Notify != nil {
		a.cfg.Notify(a.notifyFacts(now))
	}
}

// notifyFacts are what this node knows, as far as others are told of it.
func (a *Agent) notifyFacts(now planner.Time) notify.Facts {
	f := a.state.followed
	out := notify.Facts{
		Node: a.cfg.Node.Name, Fleet: f.Fleet.Name, Commit: f.Commit, Waits: deletionsWait(f.Held),
		Stale: a.desired == nil && a.source.refused == "" || a.source.look.Err != nil || a.unwritten,
	}
	// A commit that cannot be read yet is not refused.
	if src := a.source; src.refused != "" && (src.retryAt == 0 || src.tries.Failures == 0) {
		out.Refused, out.Refusal = src.failed, src.refused
	}
	for _, fault := range f.Faults {
		if fault.Warning {
			continue
		}
		if out.FaultCount++; len(out.Faults) < maxNotifiedFaults {
			out.Faults = append(out.Faults, fault.String())
		}
	}
	if a.fleet != nil {
		a.notifyFleet(&out, now)
	} else {
		out.Fresh = f.Commit.Hash == ""
		a.notifyAlone(&out, now)
	}
	return out
}

// deletionsWait says which deletions wait for a person's word.
func deletionsWait(held []planner.Held) string {
	text, more := "", 0
	for _, h := range held {
		switch {
		case h.Approve == "":
		case text == "":
			text = fmt.Sprintf("%s runs on until a commit says %s", h.Service, h.Approve)
		default:
			more++
		}
	}
	if more > 0 {
		text = fmt.Sprintf("%d services, such as %s", more+1, text)
	}
	return text
}

// notifyFleet adds what the records say.
func (a *Agent) notifyFleet(out *notify.Facts, now planner.Time) {
	member := a.fleet.member
	view := member.View()
	failed, _ := member.Look()
	self := view.Nodes[view.Self]
	out.Alarm = view.Alarm
	out.Stale = out.Stale || failed != "" || !member.Whole() || view.Alarm != "" || !self.Live()
	out.Rank = notifyRank(view, planner.ServiceID{})
	out.Unsettled = view.Settled == planner.Never || now.Boot < view.Settled
	for _, name := range slices.Sorted(maps.Keys(view.Nodes)) {
		rec := view.Nodes[name].Record
		n := notify.Node{Name: name, Live: rec.Live()}
		if rec.Fence != nil {
			n.FencedBy, n.Epoch, n.Why = rec.Fence.By, rec.Fence.Epoch, rec.Fence.Reason
		}
		out.Nodes = append(out.Nodes, n)
	}
	for _, id := range sortedServices(a.state.followed.Services) {
		s := a.state.followed.Services[id]
		if leftAlone(s, now) {
			continue
		}
		dv, known := view.Docs[id]
		told := notifyService(s, dv.Doc, planner.RolloutOf(s, dv.Doc, view))
		if !known && s.EveryNode && now.Boot < max(view.FollowedSince, view.NodesSince)+everyNodeSettled {
			told.Phase = notify.Waiting
		}
		if told.Mine = dv.Doc.By == view.Self; !view.Nodes[dv.Doc.By].Live() {
			told.Mine = notifyRank(view, id) == 0
		}
		out.Services = append(out.Services, told)
	}
}

// notifyRank is how many live nodes that can read the repository come before
// this one in what a service's coordinator does; the zero service stands for
// what concerns all.
func notifyRank(view planner.View, id planner.ServiceID) int {
	rank := 0
	for _, name := range view.Coordinators(id) {
		if name == view.Self {
			break
		}
		if !view.Nodes[name].Blind {
			rank++
		}
	}
	return rank
}

// notifyAlone adds what a node knows that grants leases to itself.
func (a *Agent) notifyAlone(out *notify.Facts, now planner.Time) {
	f := a.state.followed
	view := a.notifying.alone
	view.Docs = a.state.docs
	for _, id := range sortedServices(f.Services) {
		s := f.Services[id]
		if leftAlone(s, now) || !planner.RunsHere(a.cfg.Node, f.Fleet, s) {
			continue
		}
		doc := a.state.docs[id]
		told := notifyService(s, doc, planner.RolloutAlone(s, doc, view))
		if s.EveryNode && len(doc.Leases) == 0 {
			told.Phase = notify.Waiting
		}
		told.Mine = true
		out.Services = append(out.Services, told)
	}
}

// leftAlone reports whether a service is not rolled out by what its manifest or
// a person says.
func leftAlone(s planner.Service, now planner.Time) bool {
	return s.Orphan || s.Observe || s.Suspended(now)
}

// notifyService puts a rollout into the words of notifications.
func notifyService(s planner.Service, doc planner.LeaseDoc, r planner.Rollout) notify.Service {
	out := notify.Service{ID: s.ID, Revision: s.Revision, Phase: notify.Rolling, Commit: doc.BroughtBy(s.Revision), Failing: r.Failing}
	for _, h := range doc.Hooks {
		if h.Revision == s.Revision && h.Failed != "" {
			out.Hooks = append(out.Hooks, notify.Hook{Kind: h.Kind, Why: h.Failed})
		}
	}
	blocked := doc.IsBlocked(s.Revision) // until the document says so it is only about to be
	if blocked {
		out.BlockedAt = doc.BlockedAt
	}
	switch {
	case r.State == planner.RolloutReverted && blocked:
		out.Phase, out.Why, out.Back = notify.Reverted, doc.BlockedWhy, doc.LastGood
	case r.State == planner.RolloutReverting && blocked:
		out.Phase, out.Why, out.Back = notify.Blocked, doc.BlockedWhy, doc.LastGood
	case r.State == planner.RolloutBlocked && blocked:
		out.Phase, out.Why = notify.Blocked, doc.BlockedWhy
	case r.State == planner.RolloutWaiting:
		out.Phase, out.Step = notify.Paused, r.Step
		out.Why = fmt.Sprintf("step %d of %d is done; to let it go on: orpheus promote %s", r.Step, r.Steps, s.ID)
	case r.State == planner.RolloutDone && r.Updated >= r.Slots:
		out.Phase = notify.Done
	case r.Updated == 0:
		out.Phase = notify.Waiting
	}
	return out
}
