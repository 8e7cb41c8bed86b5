package agent

import (
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// lastPins are the digests that the newest revision of a service was given.
func lastPins(doc planner.LeaseDoc) map[string]string {
	if len(doc.History) == 0 {
		return nil
	}
	return doc.Images[doc.History[0].Revision]
}

// listedDigests are the digests that instances of a revision were made from.
func listedDigests(all []planner.Instance, key planner.RevisionKey) map[string]string {
	digests := map[string]string{}
	for _, i := range all {
		if i.Slot.Service != key.Service || i.Revision != key.Revision {
			continue
		}
		for _, c := range i.Containers {
			if c.Image != "" && c.Digest != "" {
				digests[c.Image] = c.Digest
			}
		}
	}
	return digests
}

// pinListed adds to changed documents, or changes others, where a leased
// revision that runs has no pins for its images: the state was lost, and the
// tags may have moved since.
func (a *Agent) pinListed(changed []planner.LeaseDoc, all []planner.Instance) []planner.LeaseDoc {
	for _, i := range all {
		at := slices.IndexFunc(changed, func(d planner.LeaseDoc) bool { return d.Service == i.Slot.Service })
		doc := a.state.docs[i.Slot.Service]
		if at >= 0 {
			doc = changed[at]
		}
		leased := slices.ContainsFunc(doc.Leases, func(l planner.Lease) bool { return l.Revision == i.Revision })
		if !leased || i.State != planner.StateRunning || pinned(doc, i) {
			continue
		}
		doc = planner.Pin(doc, i.Revision, listedDigests([]planner.Instance{i}, planner.RevisionKey{Service: i.Slot.Service, Revision: i.Revision}))
		if at >= 0 {
			changed[at] = doc
		} else {
			changed = append(changed, doc)
		}
	}
	return changed
}

// pinned reports whether a document has pins for all images of an instance.
func pinned(doc planner.LeaseDoc, i planner.Instance) bool {
	return !slices.ContainsFunc(i.Containers, func(c planner.ContainerState) bool {
		return c.Image != "" && c.Digest != "" && doc.Images[i.Revision][c.Image] == ""
	})
}

// pinUnpinned sets the digests of images that have no pin yet.
func pinUnpinned(w runtime.Workload, digests map[string]string) {
	for _, list := range [][]runtime.Container{w.Init, w.Containers} {
		for k := range list {
			if list[k].Digest == "" {
				list[k].Digest = digests[list[k].Image]
			}
		}
	}
}
