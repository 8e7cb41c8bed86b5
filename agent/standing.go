package agent

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// adoptStanding makes the leases that stand for this node the ones it works
// by, once they are on disk.
func (a *Agent) adoptStanding(all []planner.Instance) {
	ms := a.fleet
	standing := ms.member.Standing()
	a.unwritten = false
	var docs []planner.LeaseDoc
	for _, id := range sortedServices(standing.Docs) {
		if doc := standing.Docs[id]; !sameDuties(doc, a.state.docs[id]) {
			docs = append(docs, doc)
		}
	}
	for _, id := range sortedServices(a.state.docs) {
		if _, stands := standing.Docs[id]; !stands {
			docs = append(docs, planner.LeaseDoc{Service: id})
		}
	}
	if len(docs) > 0 || a.unsaved || a.lacksSpec() {
		next := a.state.with(docs, all)
		for _, doc := range next.docs {
			for _, rev := range neededRevisions(doc) {
				if spec, ok := ms.member.Spec(rev); ok {
					next.specs[rev] = spec
				}
			}
		}
		for id, doc := range next.docs {
			if len(doc.Leases) == 0 {
				delete(next.docs, id)
			}
		}
		if err := next.save(filepath.Join(a.cfg.StateDir, statePath), true); err != nil {
			a.problem("state", fmt.Errorf("%w: nothing new is started or stopped until it can be written", err))
			a.unwritten = true
			return
		}
		a.problem("state", nil)
		a.state, a.unsaved, a.statefile = next, false, true
	}
	ms.standing = standing
	a.want(a.waitingRevisions())
}

// lacksSpec reports whether the template of a leased revision, or of a last good
// one, has become known.
func (a *Agent) lacksSpec() bool {
	for _, doc := range a.state.docs {
		for _, rev := range neededRevisions(doc) {
			if _, here := a.state.specs[rev]; here {
				continue
			}
			if _, known := a.fleet.member.Spec(rev); known {
				return true
			}
		}
	}
	return false
}

// sameDuties reports whether two documents ask the same of this node.
func sameDuties(a, b planner.LeaseDoc) bool {
	if a.Commit != b.Commit || a.LastGood != b.LastGood || !slices.Equal(a.Leases, b.Leases) {
		return false
	}
	for _, l := range a.Leases {
		if fmt.Sprint(a.Images[l.Revision]) != fmt.Sprint(b.Images[l.Revision]) {
			return false
		}
	}
	return true
}

// waitingRevisions lists the revisions whose images are made ready although
// their instance cannot start yet: its predecessor has to stop first, and
// should do so only for something that can take its place.
func (a *Agent) waitingRevisions() []planner.RevisionKey {
	var keys []planner.RevisionKey
	for _, id := range sortedServices(a.state.docs) {
		if a.state.followed.Services[id].Observe {
			continue // what runs is not ended for anything
		}
		leases := a.state.docs[id].Leases
		for k, l := range leases {
			waits := a.fleet.standing.Behind[planner.LeaseKey{Service: id, Token: l.Token}] != "" ||
				slices.ContainsFunc(leases[:k], func(o planner.Lease) bool { return o.Slot == l.Slot })
			key := planner.RevisionKey{Service: id, Revision: l.Revision}
			if _, known := a.serviceOf(key); waits && known {
				keys = append(keys, key)
			}
		}
	}
	return slices.Compact(keys)
}
