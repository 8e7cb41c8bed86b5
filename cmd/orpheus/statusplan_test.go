package main

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// commits changes files, and writes what the fleet makes of that as it is forecast,
// but for the last so many writes; its nodes follow the commit. change alters what is
// written.
func (f *plannedFleet) commits(files map[string]string, without int, change func(*planner.LeaseDoc)) (commit string) {
	f.t.Helper()
	before := f.desired()
	f.change(files)
	after := f.desired()
	book, err := readBook(memoryStore{f.recordWriter}, nil)
	if err == nil {
		err = book.readLeases()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	view := book.view
	view.Specs = map[planner.Revision]planner.Template{}
	for _, s := range before.Services {
		view.Specs[s.Revision] = s.Template
	}
	follows := planner.Settle(planner.Settle(planner.Followed{}, before, nil), after, nil)
	decisions := planner.Foresee(follows, view).Decisions
	for _, decision := range decisions[:max(0, len(decisions)-without)] {
		doc := decision.Doc
		doc.Format, doc.By, doc.Leases = planner.FormatLeases, "n1", slices.Clone(doc.Leases)
		if change != nil {
			change(&doc)
		}
		f.write("n1", wroteAt+100, planner.LeasesRef(doc.Service, 0), "leases", doc.Body())
	}
	for name := range view.Nodes {
		f.status(name, func(st *planner.NodeStatus) { st.Applied = after.Commit.Hash })
	}
	return after.Commit.Hash
}

// desired is what the checkout's commit asks for.
func (f *plannedFleet) desired() planner.Desired {
	f.t.Helper()
	d, err := readFleet(f.t.Context(), os.DirFS(f.dir), ".")
	if err != nil {
		f.t.Fatal(err)
	}
	d.Commit = planner.Commit{Hash: gitAs(f.t, f.dir, "rev-parse", "HEAD")}
	return d
}

// TestStatusPlan: what became of a plan, from the history of the records alone.
func TestStatusPlan(t *testing.T) {
	release := map[string]string{"web.yaml": planService("web", strings.Replace(webSpec, "web:1.0", "web:2.0", 1))}
	elsewhere := func(doc *planner.LeaseDoc) {
		for i, l := range doc.Leases {
			if l.Token > 3 && l.Slot == "0" {
				doc.Leases[i].Node = map[planner.NodeName]planner.NodeName{"n1": "n2", "n2": "n3", "n3": "n1"}[l.Node]
			}
		}
	}
	tests := []struct {
		name    string
		without int
		change  func(*planner.LeaseDoc)
		later   bool // another commit takes over
		state   planner.OutcomeState
		says    string
	}{
		{name: "to the end", state: planner.OutcomeMet},
		{name: "half the way", without: 3, state: planner.OutcomeUnderWay},
		{name: "on another node", change: elsewhere, state: planner.OutcomeDiffers, says: "web-0 was to be given to"},
		{name: "until another commit", without: 3, later: true, state: planner.OutcomeSuperseded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newPlannedFleet(t, plannedFiles())
			commit := f.commits(maps.Clone(release), tt.without, tt.change)
			if tt.later {
				f.commits(map[string]string{"web.yaml": planService("web", strings.Replace(webSpec, "web:1.0", "web:3.0", 1))}, 0, nil)
			}
			code, out, errs := orpheus(t, f.dir, "status", "--plan", "-o", "json", "--commit", commit, "--exit-code")
			var st plannedStatus
			if err := json.Unmarshal([]byte(out), &st); err != nil || (code == 0) != (tt.state == planner.OutcomeMet) {
				t.Fatalf("exit code %d: %v\n%s%s", code, err, out, errs)
			}
			if len(st.Services) != 1 || st.Services[0].State != tt.state || !strings.Contains(strings.Join(st.Services[0].Differs, "; "), tt.says) {
				t.Errorf("%+v", st)
			}
			code, out, errs = orpheus(t, f.dir, "status", "--plan", "--commit", commit)
			if code != 0 || !strings.Contains(out, string(tt.state)) || !strings.Contains(out, tt.says) {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
}

// TestStatusPlanNothing: a commit that changes nothing, and one that nobody made.
func TestStatusPlanNothing(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	f.commits(map[string]string{"README.md": "hello\n"}, 0, nil)
	if code, out, errs := orpheus(t, f.dir, "status", "--plan", "--exit-code"); code != 0 || !strings.Contains(out, "none was") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if code, _, errs := orpheus(t, f.dir, "status", "--plan", "--commit", strings.Repeat("ab", 20)); code == 0 || !strings.Contains(errs, "there is no commit") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
