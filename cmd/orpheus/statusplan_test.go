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

// TestStatusPlanOfWhatIsNotRead: right after a push the fleet follows the commit
// before, and what is told says so.
func TestStatusPlanOfWhatIsNotRead(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	f.commits(map[string]string{"README.md": "hello\n"}, 0, nil)
	before := gitAs(t, f.dir, "rev-parse", "--short=8", "HEAD")
	status := func(want int, args ...string) string {
		t.Helper()
		code, out, errs := orpheus(t, f.dir, append([]string{"status", "--plan"}, args...)...)
		if code != want {
			t.Errorf("%v: exit code %d, want %d", args, code, want)
		}
		return out + errs
	}
	if out := status(0); !strings.Contains(out, "READ BY   n1, n2, n3\n") || strings.Contains(out, "LATER") {
		t.Errorf("nothing is later:\n%s", out)
	}
	f.change(map[string]string{"web.yaml": planService("web", strings.Replace(webSpec, "web:1.0", "web:2.0", 1))})
	head := gitAs(t, f.dir, "rev-parse", "--short=8", "HEAD")
	later := "LATER     HEAD here is " + head + " change: no node has read it yet, and nothing of it is told below\n"
	wait := "to wait for it: git push && orpheus status --plan --wait --commit HEAD\n"
	if out := status(0); !strings.Contains(out, "COMMIT    "+before) || !strings.Contains(out, later) || !strings.Contains(out, wait) {
		t.Errorf("not pushed:\n%s", out)
	}
	gitAs(t, f.dir, "push", "-q", "origin", "HEAD:main")
	if out := status(0); !strings.Contains(out, later) || !strings.Contains(out, strings.Replace(wait, "git push && ", "", 1)) {
		t.Errorf("pushed:\n%s", out)
	}
	var st plannedStatus
	if err := json.Unmarshal([]byte(status(0, "-o", "json")), &st); err != nil || st.Later == nil || st.Later.Short() != head || st.Later.Name != "HEAD" || !st.Later.Pushed || len(st.Read) != 3 {
		t.Errorf("%+v, %v", st, err)
	}
	for _, out := range []string{status(exitNotReady, "--exit-code", "--commit", "HEAD"), status(exitNotReady, "--wait", "--timeout", "1ms", "--commit", "HEAD")} {
		if !strings.Contains(out, "COMMIT    "+head) || !strings.Contains(out, "READ BY   no live node yet") || strings.Contains(out, "LATER") {
			t.Errorf("what is not read:\n%s", out)
		}
	}
	// A commit on another branch has to come to the one that is followed first.
	gitAs(t, f.dir, "remote", "set-head", "origin", "main")
	gitAs(t, f.dir, "switch", "-q", "-c", "topic")
	f.edit(map[string]string{"README.md": "hello again\n"})
	gitAs(t, f.dir, "commit", "-qam", "again")
	if out := status(0); !strings.Contains(out, "to wait for it, once it is on main: orpheus status --plan --wait --commit HEAD\n") {
		t.Errorf("on another branch:\n%s", out)
	}
	gitAs(t, f.dir, "switch", "-q", "main")
	f.status("n1", func(st *planner.NodeStatus) { st.Applied = gitAs(t, f.dir, "rev-parse", "HEAD") })
	if out := status(0, "--commit", "HEAD"); !strings.Contains(out, "READ BY   n1; not yet by n2, n3\n") {
		t.Errorf("read by one:\n%s", out)
	}
}
