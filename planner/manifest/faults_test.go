package manifest

import (
	"fmt"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// However many faults a commit has, each broken file keeps one: it is what
// holds its services back.
func TestTrimKeepsAFaultOfEachFile(t *testing.T) {
	var faults []planner.Fault
	for i := range 300 {
		for line := range 100 {
			faults = append(faults, planner.Fault{File: fmt.Sprintf("%03d.yaml", i), Line: line + 1, Reason: "x", Warning: line == 0})
		}
	}
	kept := trim(faults)
	files := map[string]int{}
	for _, f := range kept {
		if !f.Warning {
			files[f.File]++
		}
	}
	if len(kept) != 301 || len(files) != 300 || !kept[0].Warning || kept[0].Reason != "30000 faults in all: only the first of each file is listed" {
		t.Errorf("%d faults of %d files, first %v", len(kept), len(files), kept[0])
	}
}

// A file with more faults than the limit is broken even if all that is listed
// is a warning.
func TestDroppedFaultsStillHoldBack(t *testing.T) {
	l := &faultList{limit: 1}
	l.add(planner.Fault{Line: 1, Reason: "a", Warning: true})
	l.add(planner.Fault{Line: 2, Reason: "b"})
	got := l.list()
	if !l.broken || len(got) != 2 || got[1].Warning || got[1].Reason != "1 more faults are not listed" {
		t.Errorf("broken %v, %v", l.broken, got)
	}
}

func TestSuggest(t *testing.T) {
	rows := []struct{ word, want string }{
		{"imgae", "image"}, {"Image", "image"}, {"replica", "replicas"}, {"prots", "ports"},
		{"env", "env"}, {"evn", "env"}, {"x", ""},
		{"completely-different", ""},
	}
	for _, row := range rows {
		if got := nearest(row.word, []string{"image", "replicas", "ports", "env", "args"}); got != row.want {
			t.Errorf("nearest(%q) = %q, want %q", row.word, got, row.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünï …":   "plain ünï …",
		"a\x1b[31m\n":   `a\x1b[31m\n`,
		"\xff\u202e":    `\xff\u202e`,
		"line\u2028sep": `line\u2028sep`,
	} {
		if got := Printable(in); got != want || Printable(got) != got {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}
