package fleet

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// A bad release goes back to the last good revision: its template is known
// before any lease is at it.
func TestTemplatesThatAreAskedFor(t *testing.T) {
	id := planner.ServiceID{Namespace: "default", Name: "web"}
	template := func(image string) planner.Template {
		return planner.Template{Containers: []planner.Container{{Name: "main", Image: image}}}
	}
	of := func(image string) planner.Service {
		s := planner.Service{ID: id, Template: template(image)}
		s.Revision = planner.RevisionOf(s.Template)
		hook := planner.Template{Once: true, Of: s.Revision, Containers: s.Template.Containers}
		s.Hooks = map[planner.HookKind]planner.Hook{planner.HookPreRollout: {Template: hook, Revision: planner.RevisionOf(hook)}}
		return s
	}
	good, bad := of("good"), of("bad")
	followed := planner.Followed{Commit: planner.Commit{Hash: "c2"}, Services: map[planner.ServiceID]planner.Service{id: bad}}
	history := []planner.Applied{{Revision: bad.Revision, Commit: "c2"}, {Revision: good.Revision, Commit: "c1"}}
	at := func(rev planner.Revision) []planner.Lease {
		return []planner.Lease{{Slot: "0", Node: "n1", Token: 1, Revision: rev}}
	}
	for _, c := range []struct {
		name string
		doc  planner.LeaseDoc
		want []string
	}{
		{"nothing but what is wanted", planner.LeaseDoc{Leases: at(bad.Revision), History: history}, nil},
		{"a lease of an older commit", planner.LeaseDoc{Leases: at(good.Revision), History: history}, []string{"c1"}},
		{"the last good one, which nothing is leased at", planner.LeaseDoc{Leases: at(bad.Revision), History: history, LastGood: good.Revision}, []string{"c1"}},
		{"the last good one is what is wanted", planner.LeaseDoc{Leases: at(bad.Revision), History: history, LastGood: bad.Revision}, nil},
		{"the last good one, whose commit is forgotten", planner.LeaseDoc{Leases: at(bad.Revision), History: history[:1], LastGood: good.Revision, Commit: "c0"}, nil},
		{"the hook of what is wanted", planner.LeaseDoc{Leases: at(bad.Hooks[planner.HookPreRollout].Revision)}, nil},
		{"the hook of an older commit", planner.LeaseDoc{Leases: at(good.Hooks[planner.HookPreRollout].Revision), Commit: "c1"}, []string{"c1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := planner.Time{Boot: time.Hour}
			m := New(Config{
				Self:   planner.NodeRecord{Node: "n1"},
				Relate: func(string, string) planner.Relation { return planner.RelationAncestor },
				Random: func() uint64 { return 1 }, Log: slog.New(slog.DiscardHandler),
			}, now)
			m.Followed(followed, now)
			m.view.Docs = map[planner.ServiceID]planner.DocView{id: {Doc: c.doc}}
			m.learnSpecs()
			if !slices.Equal(m.missing, c.want) {
				t.Fatalf("asked for are %q, want %q", m.missing, c.want)
			}
			if c.want == nil {
				return
			}
			m.Learned(map[planner.ServiceID]planner.Service{id: good}, now)
			m.learnSpecs()
			for _, rev := range append([]planner.Revision{c.doc.LastGood}, c.doc.Leases[0].Revision) {
				if _, known := m.Spec(rev); rev != "" && !known {
					t.Errorf("%s is not known after its commit was read", rev)
				}
			}
			if len(m.missing) > 0 {
				t.Errorf("%q are asked for again", m.missing)
			}
		})
	}
}
