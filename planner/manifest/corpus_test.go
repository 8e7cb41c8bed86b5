package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each file of testdata/faults is read as a manifest; beside it stands the
// text that people see. -update writes only what is missing: delete a file to
// have it written again, and read it.
func TestFaultCorpus(t *testing.T) {
	names, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, name := range names {
		base := strings.TrimSuffix(filepath.Base(name), ".yaml")
		t.Run(base, func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			d := load(t, newTree(map[string]string{"fleet.yaml": goodFleet, base + ".yaml": string(data)}))
			if len(d.Services) > 0 {
				t.Error("a file with faults gave services")
			}
			for _, f := range d.Faults {
				if f.Line == 0 || f.Reason == "" {
					t.Errorf("no position or reason: %+v", f)
				}
			}
			var got strings.Builder
			if err := WriteText(&got, NewReport(d)); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(name, ".yaml") + ".want"
			want, err := os.ReadFile(golden)
			if os.IsNotExist(err) && *update {
				err = os.WriteFile(golden, []byte(got.String()), 0o644)
				want = []byte(got.String())
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}
