package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestComposeCorpusLoads reads each file of the corpus as an agent does, in a
// fleet that lists it and nothing else: it becomes services, or every key that
// it cannot have is named, with its place and a remedy.
func TestComposeCorpusLoads(t *testing.T) {
	cases := composeCases(t)
	for _, c := range cases {
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
	page, err := os.ReadFile("../../../docs/compose.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tried, _ := strings.Cut(string(page), "\n## Tried\n")
	tried, _, _ = strings.Cut(tried, "\n## ")
	var run, held, refused int
	for _, c := range cases {
		switch {
		case c.runs():
			run++
		case c.loads():
			held++
		default:
			refused++
		}
		for _, key := range c.refused {
			last, _, _ := strings.Cut(key[strings.LastIndex(key, ".")+1:], "[")
			if !strings.Contains(tried, strings.TrimSuffix(last, "s")) {
				t.Errorf("docs/compose.md does not tell that %s is refused in %s", key, c.folder)
			}
		}
	}
	for _, want := range []string{
		fmt.Sprintf("nodes run %d files", len(cases)), fmt.Sprintf("- %d load and run", run),
		fmt.Sprintf("- %d loads, and", held), fmt.Sprintf("- %d are refused", refused),
	} {
		if !strings.Contains(tried, want) {
			t.Errorf("docs/compose.md does not say %q of what was tried", want)
		}
	}
	if len(cases) != 40 || run < 30 {
		t.Errorf("of %d files %d run; 40 and 30 are promised", len(cases), run)
	}
}
