package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
)

const steppedFile = `# The shop's face.
apiVersion: orpheus/v1
kind: Service
metadata: {name: web}
spec:   # what it runs
  # six of them
  replicas: 6
  image: registry.example.com/web:1
  update:
    # one, then half, then the rest
    steps:
    - {slots: 1, approve: true}
    - {slots: 50%, pause: 10m}
    - {slots: 5, approve: true}
`

// steppedService is the revision that the file asks for.
func steppedService(t *testing.T, text string) planner.Service {
	t.Helper()
	d, err := readFleet(t.Context(), fstest.MapFS{"fleet.yaml": {Data: []byte(fleetYAML)}, "web.yaml": {Data: []byte(text)}}, ".")
	if err != nil || len(d.Faults) > 0 {
		t.Fatal(err, d.Faults)
	}
	return d.Services[webService]
}

// However a manifest is written, one value changes and all else stays.
func TestSetPromoted(t *testing.T) {
	rev := steppedService(t, steppedFile).Revision.Short()
	flow := "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec: {replicas: 6, image: registry.example.com/web:1, update: {steps: [{slots: 1, approve: true}]}}\n"
	before := strings.Replace(steppedFile, "  update:\n", "  update:\n    promoted: r1-0123456789 # by Ann\n", 1)
	for _, c := range []struct {
		name, before, after string
		step                int
	}{
		{"all steps", steppedFile, strings.Replace(steppedFile, "  update:\n", "  update:\n    promoted: "+rev+"\n", 1), 0},
		{"one step", steppedFile, strings.Replace(steppedFile, "  update:\n", "  update:\n    promoted: "+rev+"/1\n", 1), 1},
		{"the last one that waits", steppedFile, strings.Replace(steppedFile, "  update:\n", "  update:\n    promoted: "+rev+"\n", 1), 3},
		{"an earlier revision was promoted", before, strings.Replace(before, "r1-0123456789", rev, 1), 0},
		{"in quotes", strings.Replace(before, "r1-0123456789", `"r1-0123456789"`, 1), strings.Replace(before, "r1-0123456789", rev, 1), 0},
		{"on one line", flow, strings.Replace(flow, "update: {", "update: {promoted: "+rev+", ", 1), 0},
		{"lines of Windows", strings.ReplaceAll(steppedFile, "\n", "\r\n"), strings.ReplaceAll(strings.Replace(steppedFile, "  update:\n", "  update:\n    promoted: "+rev+"\n", 1), "\n", "\r\n"), 0},
	} {
		fsys := fstest.MapFS{"fleet.yaml": {Data: []byte(fleetYAML)}, "web.yaml": {Data: []byte(c.before)}}
		change, err := changePromoted(t.Context(), fsys, ".", webService, c.step)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if string(change.after) != c.after {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, change.after, c.after)
		}
	}
	// What bases say is laid over; the steps may stand there alone.
	fsys := fstest.MapFS{
		"envs/prod/fleet.yaml": {Data: []byte(strings.TrimRight(fleetYAML, "\n") + "\nspec: {base: [../../base]}\n")},
		"base/web.yaml":        {Data: []byte(steppedFile)},
	}
	change, err := changePromoted(t.Context(), fsys, "envs/prod", webService, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := "apiVersion: orpheus/v1\nkind: Service\nmetadata:\n    name: web\nspec:\n    update:\n        promoted: " + rev + "\n"
	if change.path != "envs/prod/web.yaml" || string(change.after) != want {
		t.Errorf("%s:\n%s", change.path, change.after)
	}
}

// What cannot be promoted is refused, with the reason.
func TestPromotion(t *testing.T) {
	s := steppedService(t, steppedFile)
	rev := s.Revision.Short()
	for _, c := range []struct {
		name     string
		promoted string
		step     int
		want     string // the value, or what is wrong
	}{
		{"all", "", 0, rev},
		{"the first", "", 1, rev + "/1"},
		{"the first again", rev + "/1", 1, rev + "/1"},
		{"the rest after the first", rev + "/1", 0, rev},
		{"all again", rev, 0, rev},
		{"longer names count", string(s.Revision), 0, string(s.Revision)},
		{"what was promoted is another revision", "r1-01234567", 0, rev},
		{"a step with a pause", "", 2, "step 2 of web does not wait for approval; these do: 1, 3"},
		{"a step there is not", "", 4, "web has 3 steps, so there is no step 4"},
	} {
		s.Update.Promoted = c.promoted
		got, err := promotion(s, c.step)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	s.Update.Steps = s.Update.Steps[1:2]
	if _, err := promotion(s, 0); err == nil || !strings.Contains(err.Error(), "no step of web waits for approval") {
		t.Errorf("no step waits: %v", err)
	}
}

// A promotion is one commit, pushed like that of a drain, and is not made for a
// revision that has failed or is rolled out.
func TestPromoteCommit(t *testing.T) {
	remote, dir := fleetRemote(t, map[string]string{"fleet.yaml": fleetYAML, "web.yaml": steppedFile})
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s := steppedService(t, steppedFile)
	rev := s.Revision.Short()
	if out := mustRun(t, dir, "promote", "web", "--step", "1", "--dry-run"); !strings.Contains(out, "+    promoted: "+rev+"/1\n") {
		t.Errorf("--dry-run: %s", out)
	}
	w := newRecordWriter(t, remote)
	w.node(w.record("node-1"))
	doc := planner.LeaseDoc{Format: 1, Service: webService, Commit: strings.Repeat("cd", 20), By: "node-1", Tokens: 9, LastGood: "r1-aaaaaaaa",
		Leases: []planner.Lease{{Slot: "0", Node: "node-1", Epoch: 1, Token: 9, Revision: "r1-aaaaaaaa"}}}
	write := func() { w.write("node-1", wroteAt, planner.LeasesRef(webService, 0), "x", doc.Body()) }
	doc.Blocked, doc.BlockedWhy = []planner.Revision{s.Revision}, "web-0 on node-1: exits"
	write()
	code, _, stderr := orpheus(t, dir, "promote", "web")
	if code != 1 || !strings.Contains(stderr, "revision "+rev+" of web has failed and is not tried again: web-0 on node-1: exits; \"orpheus why web\" says what to do") {
		t.Errorf("a blocked revision: %d %s", code, stderr)
	}
	doc.Blocked, doc.BlockedWhy, doc.LastGood = nil, "", s.Revision
	write()
	if code, _, stderr = orpheus(t, dir, "promote", "web"); code != 1 || !strings.Contains(stderr, "is rolled out already") {
		t.Errorf("a revision that is rolled out: %d %s", code, stderr)
	}
	doc.LastGood = "r1-aaaaaaaa"
	write()
	if out := mustRun(t, dir, "promote", "web"); !strings.Contains(out, "promote web to "+rev+": commit ") || !strings.Contains(out, "changes web.yaml; pushed to main") {
		t.Errorf("%s", out)
	}
	want := "promote web to " + rev + "|The rollout of web at revision " + rev + " may go on past\nall its steps that wait for approval."
	if got := gitAs(t, remote, "log", "-1", "--format=%s|%b", "main"); !strings.HasPrefix(got, want) {
		t.Errorf("the commit is %q", got)
	}
	if out := mustRun(t, dir, "promote", "web"); !strings.Contains(out, "web is promoted already: nothing to commit") {
		t.Errorf("again: %s", out)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"promote", "wep"}, 1, "no service wep is in force here; there are web"},
		{[]string{"promote", "Web"}, 2, "is no name of a service"},
		{[]string{"promote", "web", "--step", "0"}, 2, "steps count from 1"},
		{[]string{"promote", "web", "--step", "2"}, 1, "does not wait for approval"},
		{[]string{"promote"}, 2, "write orpheus promote SERVICE"},
	} {
		code, _, stderr := orpheus(t, dir, c.args...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: %d %s; want %d %q", c.args, code, stderr, c.code, c.want)
		}
	}
}
