package agent

import (
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// firstReleases are the services whose first release this process saw coming and
// not through yet. A document notes that one is rolled out only with what comes
// next; people are told when it is. Of what began before this process nobody
// knows whether it was told: it is not.
type firstReleases struct {
	commit string // whose services were looked through last
	open   map[planner.ServiceID]bool
}

// noteFirstReleases takes in the services of a commit that were given nothing yet.
// It comes before any of them is.
func (a *Agent) noteFirstReleases() {
	f := a.state.followed
	first := &a.firsts
	if f.Commit.Hash == first.commit || a.fleet != nil && !a.fleet.member.Whole() {
		return
	}
	first.commit = f.Commit.Hash
	docs := a.leaseDocs()
	for id, s := range f.Services {
		if doc := docs(id); !s.Orphan && doc.LastGood == "" && len(doc.History) == 0 {
			if first.open == nil {
				first.open = map[planner.ServiceID]bool{}
			}
			first.open[id] = true
		}
	}
	maps.DeleteFunc(first.open, func(id planner.ServiceID, _ bool) bool {
		_, followed := f.Services[id]
		return !followed
	})
}

// leaseDocs are the lease documents of all services, as this node knows them.
func (a *Agent) leaseDocs() func(planner.ServiceID) planner.LeaseDoc {
	if a.fleet == nil {
		return func(id planner.ServiceID) planner.LeaseDoc { return a.state.docs[id] }
	}
	view := a.fleet.member.View()
	return func(id planner.ServiceID) planner.LeaseDoc { return view.Docs[id].Doc }
}

// tellFirstReleases logs those that are through: in a fleet, on the node that
// decided on the service last.
func (a *Agent) tellFirstReleases(now planner.Time) {
	docs := a.leaseDocs()
	for _, id := range slices.SortedFunc(maps.Keys(a.firsts.open), planner.ServiceID.Compare) {
		s, doc := a.state.followed.Services[id], docs(id)
		if doc.LastGood != "" && doc.LastGood != s.Revision { // the next one is under way
			delete(a.firsts.open, id)
			continue
		}
		if leftAlone(s, now) || len(doc.Leases) == 0 {
			continue
		}
		var r planner.Rollout
		mine := true
		if a.fleet != nil {
			view := a.fleet.member.View()
			r, mine = planner.RolloutOf(s, doc, view), doc.By == view.Self
		} else {
			view := a.notifying.alone
			view.Docs = a.state.docs
			r = planner.RolloutAlone(s, doc, view)
		}
		if r.State != planner.RolloutDone || r.Updated < r.Slots {
			continue
		}
		delete(a.firsts.open, id)
		if mine {
			event.LogFirstRelease(a.log, doc, s.Revision)
		}
	}
}
