package e2e

import (
	"slices"
	"strings"
	"testing"
)

// TestComposeCorpusLoads reads each file of the corpus as an agent does, in a
// fleet that lists it and nothing else: it becomes services, or every key that
// it cannot have is named, with its place and a remedy.
func TestComposeCorpusLoads(t *testing.T) {
	cases := composeCases(t)
	loads := 0
	for _, c := range cases {
		if c.loads() {
			loads++
		}
		t.Run(c.folder, func(t *testing.T) {
			d := loadCompose(t, c)
			var refused []string
			for _, f := range d.Faults {
				if f.Line < 1 || f.Field == "" || f.Reason == "" || f.Remedy == "" || !strings.HasPrefix(f.File, c.folder+"/") {
					t.Errorf("nobody finds what to mend by %+v", f)
				}
				if !f.Warning {
					refused = append(refused, f.Field)
				}
			}
			slices.Sort(refused)
			if !slices.Equal(refused, c.refused) {
				t.Errorf("refused are %q, want %q:\n%s", refused, c.refused, faultLines(d))
			}
			if c.loads() == (len(d.Services) == 0) {
				t.Errorf("became %d services", len(d.Services))
			}
		})
	}
	if len(cases) != 40 || loads < 30 {
		t.Errorf("of %d files %d load; 40 and 30 are promised", len(cases), loads)
	}
}
