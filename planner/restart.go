package planner

import "strings"

// RestartPull ends the value of the annotation orpheus/restartedAt where the
// restart is to run what tags stand for now.
const RestartPull = " pull"

// RestartPins are the digests that a revision takes over because it is another
// one only restarted: those of the revision it was before, where the document
// still has them. None are taken over if tags are to be resolved anew, or if
// specs does not hold the template of that revision any more.
func RestartPins(doc LeaseDoc, specs map[Revision]Template, next Template) map[string]string {
	if next.RestartedAt == "" || strings.HasSuffix(next.RestartedAt, RestartPull) {
		return nil
	}
	var before []Revision // newest first
	for _, h := range doc.History {
		before = append(before, h.Revision)
	}
	for _, l := range doc.Leases {
		before = append(before, l.Revision)
	}
	next.RestartedAt = ""
	plain := RevisionOf(next)
	for _, rev := range before {
		spec, known := specs[rev]
		if spec.RestartedAt = ""; known && len(doc.Images[rev]) > 0 && RevisionOf(spec) == plain {
			return doc.Images[rev]
		}
	}
	return nil
}
