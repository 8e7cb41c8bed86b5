package planner

import "strings"

// pinning says how many slots may have the wanted revision for now: a tag must
// mean one image in the whole fleet.
type pinning int

// The states of the pins.
const (
	pinsKnown  pinning = iota // every image is pinned or needs no pin
	pinsByNode                // the registry does not answer here: one slot may, its node tells the digests
	pinsAsked                 // they are being looked for: none may
)

// pin pins the images of the wanted revision, as far as their digests are
// known. What the node of a lease at that revision resolved counts first: that
// is what runs.
func (sv *survey) pin(ss *serviceState) {
	rev := ss.s.Revision
	missing := unpinned(ss.s.Template, ss.doc.Images[rev])
	if len(missing) == 0 {
		return
	}
	ss.doc = Pin(ss.doc, rev, only(missing, RestartPins(ss.doc, sv.v.Specs, ss.s.Template)))
	if missing = unpinned(ss.s.Template, ss.doc.Images[rev]); len(missing) == 0 {
		return
	}
	leased := false
	for _, l := range ss.doc.Leases {
		if l.Revision == rev && ss.holder == "" {
			ss.holder = l.Slot
		}
		if l.Revision != rev || !sv.v.InForce(l) {
			continue
		}
		leased = true
		if n := sv.v.Nodes[l.Node]; n.Current() {
			for _, r := range n.Status.Images {
				if r.Service == ss.id && r.Revision == rev {
					ss.doc = Pin(ss.doc, rev, only(missing, r.Images))
				}
			}
		}
	}
	key := RevisionKey{ss.id, rev}
	if !leased {
		ss.doc = Pin(ss.doc, rev, only(missing, sv.v.Resolved[key]))
	}
	_, unresolvable := sv.v.Unresolvable[key]
	switch {
	case len(unpinned(ss.s.Template, ss.doc.Images[rev])) == 0:
	case leased || unresolvable || ss.roll.reverts(): // what is gone back to nobody looks up any more
		ss.pins = pinsByNode
	default:
		ss.pins = pinsAsked
	}
}

// unpinned lists the images of a template that need a pin and have none.
func unpinned(t Template, pins map[string]string) []string {
	if t.DriverName() == DriverProcess {
		return nil
	}
	var missing []string
	for _, ref := range t.Images() {
		if !strings.Contains(ref, "@sha256:") && pins[ref] == "" {
			missing = append(missing, ref)
		}
	}
	return missing
}

// only takes the digests of some references.
func only(refs []string, digests map[string]string) map[string]string {
	some := map[string]string{}
	for _, ref := range refs {
		if d := digests[ref]; strings.HasPrefix(d, "sha256:") {
			some[ref] = d
		}
	}
	return some
}

// grantable reports whether a slot may get a lease at a revision as far as
// pins go. One that is not the wanted one was given before and may be again.
func (ss *serviceState) grantable(st *slotState, rev Revision) bool {
	switch {
	case rev != ss.s.Revision || ss.pins == pinsKnown:
		return true
	case ss.pins == pinsAsked:
		return false
	}
	return ss.holder == "" || ss.holder == st.id.Name
}
