package manifest

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLoad reads any bytes as a manifest beside a good one: no panic, the same
// result twice, faults with positions that people can be shown, and the good
// manifest goes on unless the other one claims its name.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/faults/*.yaml", "testdata/codec/*.yaml", "../../examples/*/*.yaml", "../../examples/*/*/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		root := newTree(map[string]string{"fleet.yaml": goodFleet, "good.yaml": manifestOf("good", "w:1.0"), "x.yaml": string(data)})
		first := load(t, root)
		if second := load(t, root); !reflect.DeepEqual(first, second) {
			t.Error("read twice, different results")
		}
		broken, clash := false, false
		for _, fault := range first.Faults {
			s := fault.String()
			if fault.Line < 1 || fault.Reason == "" || !utf8.ValidString(s) || s != Printable(s) {
				t.Errorf("fault %q of line %d", s, fault.Line)
			}
			broken = broken || fault.File == "x.yaml" && !fault.Warning
			clash = clash || strings.Contains(fault.Reason, "is described also")
		}
		for id, s := range first.Services {
			if s.File == "x.yaml" && broken {
				t.Errorf("service %s of a broken file", id)
			}
			if s.ID != id || s.Revision == "" || s.Line < 1 {
				t.Errorf("service %+v", s)
			}
			for kind, h := range s.Hooks {
				if h.Revision == "" || h.Revision == s.Revision || h.Template.Of != s.Revision || !h.Template.Once || len(h.Template.Containers) != 1 || len(h.Template.Containers[0].Command) == 0 {
					t.Errorf("hook %s of %s: %+v", kind, id, h)
				}
			}
		}
		for name, n := range first.Nodes {
			if broken || n.Name != name || n.File != "x.yaml" || n.Line < 1 {
				t.Errorf("node %+v", n)
			}
		}
		if !clash && first.Services[serviceGood].File != "good.yaml" {
			t.Errorf("the good service is gone:\n%s", lines(first.Faults))
		}
		if len(first.Faults) > 202 {
			t.Errorf("%d faults", len(first.Faults))
		}
	})
}
