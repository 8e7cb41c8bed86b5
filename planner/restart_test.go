package planner

import (
	"maps"
	"testing"
)

func TestRestartPins(t *testing.T) {
	template := func(image, restarted string) Template {
		return Template{Containers: []Container{{Name: MainContainer, Image: image}}, RestartedAt: restarted}
	}
	old, other := template("app:1", ""), template("app:2", "")
	again := template("app:1", "monday")
	pins := map[string]string{"app:1": "sha256:1"}
	doc := LeaseDoc{
		Images:  map[Revision]map[string]string{RevisionOf(old): pins, RevisionOf(other): {"app:2": "sha256:2"}},
		History: []Applied{{Revision: RevisionOf(other)}},
		Leases:  []Lease{{Slot: "0", Token: 1, Revision: RevisionOf(old)}},
	}
	specs := map[Revision]Template{RevisionOf(old): old, RevisionOf(other): other, RevisionOf(again): again}
	restarted := doc
	restarted.Images = map[Revision]map[string]string{RevisionOf(again): pins}
	restarted.History = []Applied{{Revision: RevisionOf(again)}}
	for _, c := range []struct {
		name  string
		doc   LeaseDoc
		specs map[Revision]Template
		next  Template
		want  map[string]string
	}{
		{"restarted", doc, specs, template("app:1", "monday"), pins},
		{"restarted again", restarted, specs, template("app:1", "tuesday"), pins},
		{"tags are resolved anew", doc, specs, template("app:1", "monday"+RestartPull), nil},
		{"no restart", doc, specs, template("app:1", ""), nil},
		// A new image is a new image, restarted or not.
		{"restarted and changed", doc, specs, template("app:3", "monday"), nil},
		// What it was before is not known: tags are resolved as for any revision.
		{"template unknown", doc, map[Revision]Template{}, template("app:1", "monday"), nil},
		{"pins unknown", LeaseDoc{Leases: doc.Leases}, specs, template("app:1", "monday"), nil},
	} {
		if got := RestartPins(c.doc, c.specs, c.next); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", c.name, got, c.want)
		}
	}
	if old.RestartedAt != "" || again.RestartedAt != "monday" {
		t.Error("a template was changed")
	}
}

// TestCoordinateRestart: a restart by a commit needs no answer of the registry,
// and runs what ran; one that is to pull runs what the tag stands for now.
func TestCoordinateRestart(t *testing.T) {
	image := plainA.Images()[0]
	for value, want := range map[string]string{"monday": "sha256:1", "monday" + RestartPull: "sha256:9"} {
		f, v := fleetCase{nodes: "n1", replicas: 1, target: "a", before: "0:a1@n1+"}.build(t)
		restarted := plainA
		restarted.RestartedAt = value
		rev := RevisionOf(restarted)
		f.Services[web] = service(web, 1, restarted)
		if want != "sha256:1" {
			v.Resolved[RevisionKey{web, rev}] = map[string]string{image: want}
		}
		out := Coordinate(f, v, Time{Boot: fleetNow})
		if len(out.Resolve) > 0 || len(out.Docs) != 1 || len(out.Docs[0].Doc.Leases) != 2 || out.Docs[0].Doc.Images[rev][image] != want {
			t.Errorf("%q: decides %s, asks for %v; want %s", value, show(out.Docs), out.Resolve, want)
		}
	}
}
