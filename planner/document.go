package planner

import (
	"cmp"
	"maps"
	"slices"
)

// cloneDoc is a copy of a document that may be edited.
func cloneDoc(d LeaseDoc, id ServiceID) LeaseDoc {
	d.Service = id
	d.Leases = slices.Clone(d.Leases)
	d.Images = maps.Clone(d.Images)
	d.History = slices.Clone(d.History)
	d.Blocked = slices.Clone(d.Blocked)
	d.Hooks = slices.Clone(d.Hooks)
	d.Failed = slices.Clone(d.Failed)
	return d
}

// remember notes the commit and revision decided on, and forgets the pins of
// revisions that are neither leased nor among the last.
func remember(d *LeaseDoc, rev Revision, commit string) {
	d.Commit = commit
	given := slices.ContainsFunc(d.Leases, func(l Lease) bool { return l.Revision == rev })
	if given && (len(d.History) == 0 || d.History[0].Revision != rev) {
		d.History = slices.Insert(d.History, 0, Applied{Revision: rev, Commit: d.of(rev, commit)})
		d.Step = 0
	}
	d.trimHistory()
	for r := range d.Images {
		leased := func(l Lease) bool { return l.Revision == r }
		applied := func(a Applied) bool { return a.Revision == r }
		if r != rev && !slices.ContainsFunc(d.Leases, leased) && !slices.ContainsFunc(d.History, applied) {
			delete(d.Images, r)
		}
	}
}

// of is the commit that has a revision which is given now: where another is
// blocked, the one that gave it before.
func (d *LeaseDoc) of(rev Revision, commit string) string {
	if len(d.Blocked) > 0 {
		for _, a := range d.History {
			if a.Revision == rev {
				return a.Commit
			}
		}
	}
	return commit
}

// BroughtBy is the hash of the commit that brought a revision, as far back as the
// document tells: of one that failed before any slot was given it, the commit with
// which its hook began, or else that was followed then. "" = it does not tell.
func (d LeaseDoc) BroughtBy(rev Revision) string {
	for _, a := range d.History {
		if a.Revision == rev {
			return a.Commit
		}
	}
	if !d.IsBlocked(rev) {
		return ""
	}
	for _, h := range d.Hooks {
		if h.Revision == rev && h.Failed != "" && h.Commit != "" {
			return h.Commit
		}
	}
	return d.BlockedAt
}

// changedBy is the hash of the commit that asks for a revision, of which slots have
// another: the one with which its rollout began or, where none has begun, the one
// that is followed.
func (d LeaseDoc) changedBy(rev Revision, followed string) string {
	if len(d.History) > 0 && d.History[0].Revision == rev && !d.IsBlocked(rev) {
		return cmp.Or(d.History[0].Commit, followed)
	}
	return followed
}

// endRollout forgets how far the rollout of a service is that was deleted: made
// again, it begins anew. It reports whether a revision was blocked.
func (d *LeaseDoc) endRollout() (blocked bool) {
	blocked = len(d.Blocked) > 0
	d.Hooks = slices.DeleteFunc(d.Hooks, func(h HookRun) bool { return h.Failed != "" })
	d.Blocked, d.BlockedWhy, d.BlockedAt, d.BlockedManifest = nil, "", "", ""
	d.LastGood, d.Step, d.Failed = "", 0, nil
	return blocked
}

// trimHistory bounds the history, and keeps the last good revision in it.
func (d *LeaseDoc) trimHistory() {
	if len(d.History) <= MaxHistory {
		return
	}
	last := d.History[MaxHistory-1]
	isGood := func(a Applied) bool { return a.Revision == d.LastGood }
	if good := slices.IndexFunc(d.History, isGood); good >= MaxHistory {
		last = d.History[good]
	}
	d.History = append(slices.Clone(d.History[:MaxHistory-1]), last)
}

// stopFirst reports whether an old lease and one of the new template may not
// run side by side. An old template nobody knows any more is taken for one
// that must not.
func stopFirst(specs map[Revision]Template, old Lease, next Template) bool {
	spec, ok := specs[old.Revision]
	return !ok || spec.SingleWriter() || next.SingleWriter()
}

// sortLeases puts leases in the order of a document: by slot, then token.
func sortLeases(leases []Lease) {
	slices.SortFunc(leases, func(a, b Lease) int {
		return cmp.Or(compareSlotNames(a.Slot, b.Slot), cmp.Compare(a.Token, b.Token))
	})
}

// bySlot groups leases that are in that order by slot. The groups share them.
func bySlot(leases []Lease) map[string][]Lease {
	groups := map[string][]Lease{}
	for len(leases) > 0 {
		n := 1
		for n < len(leases) && leases[n].Slot == leases[0].Slot {
			n++
		}
		groups[leases[0].Slot], leases = leases[:n:n], leases[n:]
	}
	return groups
}

func sameLease(a, b Lease) bool {
	return a.Slot == b.Slot && a.Node == b.Node && a.Epoch == b.Epoch && a.Token == b.Token && a.Revision == b.Revision && a.StopFirst == b.StopFirst && a.Hook == b.Hook
}

// Pin adds the digests that a revision's image references were resolved to.
// A reference that is pinned already keeps its digest.
func Pin(d LeaseDoc, rev Revision, digests map[string]string) LeaseDoc {
	d.Images = maps.Clone(d.Images)
	if d.Images == nil {
		d.Images = map[Revision]map[string]string{}
	}
	pins := maps.Clone(d.Images[rev])
	if pins == nil {
		pins = map[string]string{}
	}
	for ref, digest := range digests {
		if _, ok := pins[ref]; !ok && digest != "" {
			pins[ref] = digest
		}
	}
	if len(pins) > 0 {
		d.Images[rev] = pins
	}
	return d
}
