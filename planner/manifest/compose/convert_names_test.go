package compose

import (
	"slices"
	"testing"
)

// A service with an underscore in its name has one with a hyphen, and answers to
// the old one where it has an address.
func TestNamesWithUnderscores(t *testing.T) {
	documents, _ := convertText(t, `
services:
  Celery_worker: {image: worker:1, container_name: celery-worker, networks: {a: {aliases: [jobs]}}}
  front_end: {image: front:1, container_name: Front_End}
  on_node: {image: node:1, network_mode: host}
  plain: {image: plain:1}
networks: {a: }
`, nil)
	want := map[string]struct {
		name    string
		aliases []string
	}{
		"Celery_worker": {"celery-worker", []string{"celery_worker", "jobs"}},
		"front_end":     {"front-end", []string{"front_end"}},
		"on_node":       {"on-node", nil},
		"plain":         {"plain", nil},
	}
	if len(documents) != len(want) {
		t.Fatalf("%d documents, want %d", len(documents), len(want))
	}
	for _, d := range documents {
		var got struct {
			Metadata struct{ Name string }
			Spec     struct{ Aliases []string }
		}
		if err := d.Root.Decode(&got); err != nil {
			t.Fatal(err)
		}
		w := want[d.Service]
		if got.Metadata.Name != w.name || !slices.Equal(got.Spec.Aliases, w.aliases) {
			t.Errorf("%s is called %s, with aliases %q; want %s, %q", d.Service, got.Metadata.Name, got.Spec.Aliases, w.name, w.aliases)
		}
	}
}
