package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// learnSpecs gathers the templates of all revisions that are leased or wanted,
// and of those that a bad release goes back to: from the commit that is
// followed, from what this node runs, and from older commits that a document
// names. Others are forgotten.
func (m *Member) learnSpecs() {
	known := m.view.Specs
	specs := make(map[planner.Revision]planner.Template, len(m.followed.Services))
	for _, s := range m.followed.Services {
		addSpecs(specs, s)
	}
	for rev, t := range m.report.Specs {
		specs[rev] = t
	}
	m.view.Specs = specs
	missing := map[string]bool{}
	for _, doc := range m.view.Docs {
		for _, l := range doc.Doc.Leases {
			m.learnSpec(l.Revision, decidedOn(doc.Doc, l.Revision), known, missing)
		}
		if rev := doc.Doc.LastGood; rev != "" {
			m.learnSpec(rev, givenBy(doc.Doc, rev), known, missing)
		}
	}
	old := func(key planner.RevisionKey) bool {
		_, wanted := m.followed.Services[key.Service].TemplateOf(key.Revision)
		return !wanted
	}
	maps.DeleteFunc(m.view.Resolved, func(key planner.RevisionKey, _ map[string]string) bool { return old(key) })
	maps.DeleteFunc(m.view.Unresolvable, func(key planner.RevisionKey, _ string) bool { return old(key) })
	m.missing = slices.Sorted(maps.Keys(missing))
}

// learnSpec has the template of one revision known: from those known before, else
// from the commit that gave it, which is noted as missing.
func (m *Member) learnSpec(rev planner.Revision, commit string, known map[planner.Revision]planner.Template, missing map[string]bool) {
	if _, ok := m.view.Specs[rev]; ok {
		return
	}
	if t, ok := known[rev]; ok {
		m.view.Specs[rev] = t
	} else if m.isOlder(commit) {
		if at, asked := m.asked[commit]; !asked || m.now.Boot >= at+specRetry {
			missing[commit] = true
		}
	}
}

// addSpecs adds the templates of a service and its hooks.
func addSpecs(specs map[planner.Revision]planner.Template, s planner.Service) {
	specs[s.Revision] = s.Template
	for _, h := range s.Hooks {
		specs[h.Revision] = h.Template
	}
}

// isOlder reports whether a commit is here and before what is followed. What is
// ahead is about to be followed.
func (m *Member) isOlder(commit string) bool {
	relation, known := m.view.Relations[commit]
	if !known && commit != "" && m.followed.Commit.Hash != "" {
		relation = m.cfg.Relate(commit, m.followed.Commit.Hash)
	}
	return commit != "" && relation == planner.RelationAncestor
}

const (
	// specWait is how long a lease whose template is asked for is not taken
	// back: without it, it would pass for one that nothing may run beside.
	specWait = 10 * time.Second
	// specRetry is when a commit that could not be read is asked for again.
	specRetry = time.Minute
)

// patient leaves out decisions that take a lease in force back whose template
// was asked for just now.
func (m *Member) patient(decisions []planner.Decision) []planner.Decision {
	return slices.DeleteFunc(decisions, func(d planner.Decision) bool {
		for _, l := range d.Old.Leases {
			if _, known := m.view.Specs[l.Revision]; known || !m.view.InForce(l) || slices.Contains(d.Doc.Leases, l) {
				continue
			}
			at, asked := m.asked[decidedOn(d.Old, l.Revision)]
			if until := at + specWait; asked && m.now.Boot < until {
				m.decideAt = soonest(m.decideAt, until, m.now.Boot)
				return true
			}
		}
		return false
	})
}

// decidedOn is the commit that a document says a revision is of.
func decidedOn(doc planner.LeaseDoc, rev planner.Revision) string {
	return cmp.Or(givenBy(doc, rev), doc.Commit)
}

// givenBy is the commit that gave a service a revision; "" = that is not known
// any more.
func givenBy(doc planner.LeaseDoc, rev planner.Revision) string {
	for _, a := range doc.History {
		if a.Revision == rev {
			return a.Commit
		}
	}
	return ""
}

// Learned answers Todo.Specs with the services of one older commit; none if it
// cannot be read.
func (m *Member) Learned(services map[planner.ServiceID]planner.Service, now planner.Time) {
	m.now = now
	for _, s := range services {
		learned := map[planner.Revision]planner.Template{}
		addSpecs(learned, s)
		for rev, t := range learned {
			if _, known := m.view.Specs[rev]; !known {
				m.view.Specs[rev] = t
			}
		}
	}
	m.dirty = true
}

// Spec is the template of a revision, where this member knows it.
func (m *Member) Spec(rev planner.Revision) (planner.Template, bool) {
	t, ok := m.view.Specs[rev]
	return t, ok
}
