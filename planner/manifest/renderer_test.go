package manifest

import (
	"context"
	"reflect"
	"testing"
)

// TestRenderer: what is remembered of one revision shows in no other.
func TestRenderer(t *testing.T) {
	revisions := []map[string]string{
		overlay(nil),
		overlay(map[string]string{"envs/prod/web.yaml": patchOf("web", "{replicas: 7}")}),
		overlay(map[string]string{"envs/prod/web.yaml": patchOf("web", "{replicas: -1}")}),
		overlay(nil),
	}
	r := NewRenderer(Limits{})
	for i, files := range revisions {
		documents, d, err := r.Render(context.Background(), newTree(files), "envs/prod")
		anew, e, err2 := Render(context.Background(), newTree(files), "envs/prod", Limits{})
		if err != nil || err2 != nil || len(documents) != len(anew) || !reflect.DeepEqual(d, e) {
			t.Fatalf("revision %d: %v, %v, %d documents and %d\n%+v\n%+v", i, err, err2, len(documents), len(anew), d, e)
		}
		for k := range anew {
			if a, b := documents[k], anew[k]; !reflect.DeepEqual(a.Value(), b.Value()) || !reflect.DeepEqual(a.Origins(), b.Origins()) {
				t.Errorf("revision %d, %s %s: %v\nand anew %v", i, a.Kind, a.Name, a.Origins(), b.Origins())
			}
		}
	}
	if kept := r.loader.stats.ComposedKept; kept == 0 {
		t.Error("nothing is remembered")
	}
}
