package fleet

import (
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// learnSpecs gathers the templates of all revisions that are leased or wanted:
// from the commit that is followed, from what this node runs, and from older
// commits that a document names. Others are forgotten.
func (m *Member) learnSpecs() {
	known := m.view.Specs
	specs := make(map[planner.Revision]planner.Template, len(m.followed.Services))
	for _, s := range m.followed.Services {
		specs[s.Revision] = s.Template
	}
	for rev, t := range m.report.Specs {
		specs[rev] = t
	}
	missing := map[string]bool{}
	for _, doc := range m.view.Docs {
		for _, l := range doc.Doc.Leases {
			if _, ok := specs[l.Revision]; ok {
				continue
			}
			if t, ok := known[l.Revision]; ok {
				specs[l.Revision] = t
			} else if commit := decidedOn(doc.Doc, l.Revision); commit != "" && !m.asked[commit] {
				missing[commit] = true
			}
		}
	}
	m.view.Specs = specs
	m.missing = slices.Sorted(maps.Keys(missing))
}

// decidedOn is the commit that a document says a revision is of.
func decidedOn(doc planner.LeaseDoc, rev planner.Revision) string {
	for _, a := range doc.History {
		if a.Revision == rev {
			return a.Commit
		}
	}
	return doc.Commit
}

// Learned answers Todo.Specs with the services of one older commit; none if it
// cannot be read.
func (m *Member) Learned(services map[planner.ServiceID]planner.Service, now planner.Time) {
	m.now = now
	for _, s := range services {
		if _, known := m.view.Specs[s.Revision]; !known {
			m.view.Specs[s.Revision] = s.Template
		}
	}
	m.dirty = true
}

// Spec is the template of a revision, where this member knows it.
func (m *Member) Spec(rev planner.Revision) (planner.Template, bool) {
	t, ok := m.view.Specs[rev]
	return t, ok
}
