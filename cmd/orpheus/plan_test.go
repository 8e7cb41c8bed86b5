package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/cmd/internal/review"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	webSpec = "replicas: 3\nimage: registry.example.com/web:1.0\nports:\n- {name: http, containerPort: 8080, port: 80}\nenv:\n- {name: LOG, value: info}\n- {name: GONE, value: x}\nresources: {requests: {cpu: 100m, memory: 128Mi}}"
	dbSpec  = "image: registry.example.com/db:1.0\nvolumes: [{name: data, local: {}}]\nvolumeMounts: [{name: data, mountPath: /data}]\nresources: {requests: {memory: 256Mi}}"
)

// plannedFiles is a small fleet's repository.
func plannedFiles() map[string]string {
	return map[string]string{
		"web.yaml": planService("web", webSpec), "db.yaml": planService("db", dbSpec),
		"old.yaml":   planService("old", "image: registry.example.com/old:1.0"),
		"conf.yaml":  planService("conf", "image: registry.example.com/conf:1.0\nvolumes: [{name: c, file: etc/c.conf}]\nvolumeMounts: [{name: c, mountPath: /c}]"),
		"etc/c.conf": "a=1\n",
	}
}

// fixedTime makes the ids of commits the same in all runs.
func fixedTime(t *testing.T) {
	t.Setenv("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z")
	t.Setenv("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z")
}

// planJSON runs a plan and reads its JSON.
func planJSON(t *testing.T, dir string, code int, args ...string) review.Report {
	t.Helper()
	got, out, errs := orpheus(t, dir, append([]string{"plan", "-o", "json"}, args...)...)
	var r review.Report
	if err := json.Unmarshal([]byte(out), &r); got != code || err != nil {
		t.Fatalf("plan %v: exit code %d, want %d: %v\n%s%s", args, got, code, err, out, errs)
	}
	return r
}

// serviceIn finds a service of a report.
func serviceIn(t *testing.T, r review.Report, name string) review.Service {
	t.Helper()
	for _, s := range r.Services {
		if s.Service == name {
			return s
		}
	}
	t.Fatalf("the plan does not tell of %s", name)
	return review.Service{}
}

// TestPlanForms: what people, a comment and a program see of one plan, which has
// something of everything, of files that are not committed.
func TestPlanForms(t *testing.T) {
	fixedTime(t)
	f := newPlannedFleet(t, plannedFiles())
	f.edit(map[string]string{
		"web.yaml": planService("web", `replicas: 4
image: registry.example.com/web:2.0
ports:
- {name: http, containerPort: 8080, port: 80, publish: 80}
env:
- {name: NEW, value: "true"}
- {name: LOG, value: debug}
resources: {requests: {cpu: 100m, memory: 128Mi}}
update: {steps: [{slots: 1, pause: 90s}]}
hooks: {preRollout: {command: [migrate]}}`),
		"db.yaml":       planService("db", strings.Replace(dbSpec, "db:1.0", "db:2.0", 1)),
		"old.yaml":      "",
		"big.yaml":      planService("big", "image: other.example.com/big:1.0\nresources: {requests: {memory: 900Mi}}\nsecurityContext: {privileged: true}"),
		"etc/c.conf":    "a=2\nb=3\n",
		"bad.yaml":      "kind: Service\n",
		"nodes/n3.yaml": "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: n3}\nspec: {drain: true}\n",
	})
	before := gitAs(t, f.dir, "status", "--porcelain") + gitAs(t, f.dir, "count-objects", "-v")
	for _, form := range []string{"text", "markdown", "json", "offline"} {
		args := []string{"plan", "-o", form}
		if form == "offline" {
			args = []string{"plan", "--offline"}
		}
		code, out, errs := orpheus(t, f.dir, args...)
		if code != exitFailed || errs != "" {
			t.Errorf("%v: exit code %d %s", args, code, errs)
		}
		out = strings.ReplaceAll(out, f.remote, "REMOTE")
		golden := filepath.Join("testdata", "plan", form+".golden")
		if *update {
			writeFiles(t, "testdata/plan", map[string]string{form + ".golden": out})
		}
		want, err := os.ReadFile(golden)
		if err != nil || out != string(want) {
			t.Errorf("%s: %v; got\n%s", golden, err, out)
		}
	}
	if after := gitAs(t, f.dir, "status", "--porcelain") + gitAs(t, f.dir, "count-objects", "-v"); after != before {
		t.Errorf("the repository has changed:\n%s\nbefore\n%s", after, before)
	}
}

// TestPlanExitCodes: what CI asks for.
func TestPlanExitCodes(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	check := func(code int, want string, args ...string) {
		t.Helper()
		got, out, errs := orpheus(t, f.dir, append([]string{"plan"}, args...)...)
		if got != code || !strings.Contains(out+errs, want) {
			t.Errorf("plan %v: exit code %d, want %d and %q\n%s%s", args, got, code, want, out, errs)
		}
	}
	check(0, "nothing changes that runs", "--exit-code")
	f.edit(map[string]string{"web.yaml": planService("web", strings.Replace(webSpec, "web:1.0", "web:2.0", 1))})
	check(0, "3 slots restart")
	check(exitChanges, "3 slots restart", "--exit-code")
	check(exitChanges, "3 slots restart", "--exit-code", "HEAD")
	check(0, "nothing changes that runs", "--exit-code", "HEAD..HEAD")
	f.edit(map[string]string{"bad.yaml": "kind: [\n"})
	check(exitFailed, "bad.yaml:", "--exit-code")
	f.edit(map[string]string{"bad.yaml": "", "db.yaml": ""})
	check(exitFailed, "runs on until a person approves: db", "--exit-code")
	f.edit(map[string]string{"fleet.yaml": "kind: Fleet\n"})
	check(exitFailed, "agents will refuse the commit", "--exit-code")
	check(2, `there is no commit "nowhere"`, "nowhere..HEAD")
	check(2, "is no range of commits", "--", "--upload-pack=x..HEAD")
	check(2, "is no range of commits", "a..b..c")
	check(2, "--offline reads no records", "--offline", "--records", f.remote)
	check(2, "neither revision has", "--path", "elsewhere")
	check(1, "read the records", "--records", filepath.Join(t.TempDir(), "none.git"))
}

// TestPlanAfterRefused: after a commit that agents refuse nodes follow the one before,
// also in what that says of the fleet and its nodes.
func TestPlanAfterRefused(t *testing.T) {
	files := plannedFiles()
	files["fleet.yaml"] = planFleetYAML + "spec: {pollInterval: 7s}\n"
	files["nodes/n1.yaml"] = "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: n1}\nspec: {labels: {zone: a}}\n"
	fleet := files["fleet.yaml"]
	f := newPlannedFleet(t, files)
	f.change(map[string]string{"fleet.yaml": "kind: Fleet\n"})
	f.change(map[string]string{"fleet.yaml": fleet})
	r := planJSON(t, f.dir, 0, "HEAD~1..HEAD")
	if r.Summary.Changes || len(r.FleetChanges)+len(r.NodeChanges)+len(r.Services) > 0 {
		t.Errorf("%+v %+v %+v", r.FleetChanges, r.NodeChanges, r.Services)
	}
}

// TestPlanOfDeletions: within the budget they go; one with a volume waits, and a
// later commit with the trailer lets it go.
func TestPlanOfDeletions(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	f.change(map[string]string{"old.yaml": "", "db.yaml": ""})
	r := planJSON(t, f.dir, exitFailed)
	head := gitAs(t, f.dir, "rev-parse", "HEAD")
	if d := r.Deletions; d == nil || strings.Join(d.Services, " ") != "old" || strings.Join(d.Waiting, " ") != "db" || d.Approve != "Prune-Approved: "+head {
		t.Fatalf("deletions %+v", d)
	}
	if s := serviceIn(t, r, "old"); s.Change != review.Deleted || len(s.Slots) != 1 || s.Slots[0].Does != review.Goes {
		t.Errorf("%+v", s)
	}
	if s := serviceIn(t, r, "db"); s.Change != review.Awaits || len(s.Slots) != 0 || !strings.Contains(s.Why, "keeps data in a volume") {
		t.Errorf("%+v", s)
	}
	// The base of the next one lacks db, which runs on: that it waits is found in
	// the commits before.
	gitAs(t, f.dir, "commit", "-q", "--allow-empty", "-m", "db may go\n\nPrune-Approved: "+head)
	r = planJSON(t, f.dir, 0, "HEAD^..HEAD")
	if s := serviceIn(t, r, "db"); s.Change != review.Deleted || len(s.Slots) != 1 {
		t.Errorf("%+v", s)
	}
}

// TestPlanOfBaseWithFaults: what the base cannot tell, the commits before it do.
func TestPlanOfBaseWithFaults(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	f.change(map[string]string{"web.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec: {replicas: many}\n"})
	f.change(map[string]string{"web.yaml": planService("web", strings.Replace(webSpec, "web:1.0", "web:3.0", 1))})
	r := planJSON(t, f.dir, 0, "HEAD^..HEAD")
	s := serviceIn(t, r, "web")
	if s.Change != review.Changed || len(s.Slots) != 3 || len(s.Fields) != 1 || s.Fields[0].Field != "spec.image" || s.Fields[0].Old != `"registry.example.com/web:1.0"` || len(r.Services) != 1 {
		t.Errorf("%+v", r.Services)
	}
	if len(r.Notes) == 0 || !strings.Contains(strings.Join(r.Notes, "\n"), "the base alone does not tell") {
		t.Errorf("notes %q", r.Notes)
	}
}

// TestPlanOfBranches: the revisions that git users name, a branch that is behind,
// a renamed one, and merges.
func TestPlanOfBranches(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	gitAs(t, f.dir, "checkout", "-q", "-b", "topic")
	f.change(map[string]string{"conf.yaml": planService("conf", "image: registry.example.com/conf:2.0")})
	gitAs(t, f.dir, "checkout", "-q", "main")
	f.change(map[string]string{"old.yaml": planService("old", "image: registry.example.com/old:2.0")})
	names := func(r review.Report) string {
		var out []string
		for _, s := range r.Services {
			out = append(out, s.Service+" "+s.Change)
		}
		return strings.Join(out, ", ")
	}
	expect := func(want, note string, args ...string) {
		t.Helper()
		r := planJSON(t, f.dir, 0, args...)
		if got := names(r); got != want || !strings.Contains(strings.Join(r.Notes, "\n"), note) {
			t.Errorf("plan %v: %s, want %s; notes %q, want %q", args, got, want, r.Notes, note)
		}
	}
	expect("conf changed", "", "main...topic")
	expect("conf changed, old changed", "what that has since is shown as undone", "main..topic")
	expect("old changed", "")
	gitAs(t, f.dir, "merge", "-q", "--no-edit", "topic")
	expect("conf changed, old begun", "the fleet follows", "HEAD^1..HEAD")
	expect("conf changed, old changed", "")
	// Without records and without an upstream HEAD is the base.
	gitAs(t, f.dir, "branch", "-q", "-m", "main", "trunk")
	gitAs(t, f.dir, "branch", "-q", "--unset-upstream")
	expect("", "", "--offline")
	gitAs(t, f.dir, "checkout", "-q", "topic")
	expect("conf begun", "", "..HEAD")
	gitAs(t, f.dir, "checkout", "-q", "--detach", "trunk~1")
	expect("old changed", "", "HEAD^..")
}

// TestPlanOfShallowClone: what is missing, and what to do.
func TestPlanOfShallowClone(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	f.change(map[string]string{"old.yaml": planService("old", "image: registry.example.com/old:2.0")})
	gitAs(t, f.dir, "push", "-q")
	shallow := filepath.Join(t.TempDir(), "shallow")
	gitAs(t, ".", "clone", "-q", "--depth=1", "file://"+f.remote, shallow)
	code, _, errs := orpheus(t, shallow, "plan", "HEAD^..HEAD")
	if code != 2 || !strings.Contains(errs, "this is a shallow clone; have it fetch all history") {
		t.Errorf("%d %s", code, errs)
	}
	// What the fleet follows is not there.
	if r := planJSON(t, shallow, 0); !strings.Contains(strings.Join(r.Notes, " "), "which is not here") {
		t.Errorf("notes %q", r.Notes)
	}
}

// TestPlanInFolder: a fleet in a folder of its repository, by --path or from within,
// also where the commit is the first that has it.
func TestPlanInFolder(t *testing.T) {
	_, dir := fleetRemote(t, map[string]string{"README": "x", "envs/a/fleet.yaml": planFleetYAML, "envs/b/fleet.yaml": planFleetYAML})
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	writeFiles(t, dir, map[string]string{"envs/b/web.yaml": planService("web", webSpec), "envs/b/.gitignore": "ignored.yaml\n", "envs/b/ignored.yaml": "kind: [\n"})
	if code, _, errs := orpheus(t, dir, "plan"); code != 2 || !strings.Contains(errs, "several fleets here; choose one with --path: envs/a, envs/b") {
		t.Errorf("%d %s", code, errs)
	}
	r := planJSON(t, dir, 0, "--path", "envs/b")
	if s := serviceIn(t, r, "web"); s.Change != review.Added || r.Path != "envs/b" || !strings.Contains(r.NoRecords, "no node has registered") || s.File != "envs/b/web.yaml" {
		t.Errorf("%+v", r)
	}
	if within := planJSON(t, filepath.Join(dir, "envs", "b"), 0); within.Path != "envs/b" || len(within.Services) != 1 {
		t.Errorf("%+v", within)
	}
	writeFiles(t, dir, map[string]string{"envs/c/fleet.yaml": planFleetYAML, "envs/c/web.yaml": planService("web", webSpec)})
	if r := planJSON(t, dir, 0, "--path", "envs/c"); len(r.Services) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestAttack23PlanOfHostileText: nothing that a repository says acts on a terminal,
// or on what shows a comment.
func TestAttack23PlanOfHostileText(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	const evil = "\\u001b[2J\\u202e @everyone #1 </code></details><script>alert(1)</script> ```\\n```\\n/close ![x](http://evil.example.com/x) | `"
	f.edit(map[string]string{
		"web.yaml":   planService("web", strings.Replace(webSpec, "value: info", `value: "`+evil+`"`, 1)),
		"x`@me.yaml": "kind: \"" + evil + "\"\n",
	})
	for _, form := range []string{"text", "markdown", "json"} {
		_, out, errs := orpheus(t, f.dir, "plan", "-o", form)
		if strings.ContainsAny(out+errs, "\x1b\u202e") || !strings.Contains(out, "everyone") {
			t.Errorf("%s acts on a terminal, or does not show it:\n%q", form, out)
		}
		if form != "markdown" {
			continue
		}
		if rest := outsideCode(out); strings.ContainsAny(rest, "@|") || strings.Contains(rest, "script") || strings.Contains(rest, "evil") || strings.Contains(rest, "/close") {
			t.Errorf("markdown outside of code:\n%s\nof\n%s", rest, out)
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "/") {
				t.Errorf("a line that a forge takes for an order: %s", line)
			}
		}
	}
}

// outsideCode is a comment without what stands in its spans and blocks of code. It
// reads them as CommonMark says.
func outsideCode(text string) string {
	var out strings.Builder
	fence := ""
	for line := range strings.Lines(text) {
		ticks := len(line) - len(strings.TrimLeft(line, "`"))
		switch {
		case fence != "" && ticks >= len(fence) && strings.Trim(line, "`\n") == "":
			fence = ""
		case fence != "":
		case ticks >= 3 && !strings.Contains(line[ticks:], "`"):
			fence = line[:ticks]
		case strings.HasPrefix(line, "|"): // a table of numbers and nodes
		default:
			out.WriteString(outsideSpans(strings.ReplaceAll(line, "&#64;", "")))
		}
	}
	return out.String()
}

func outsideSpans(line string) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(line, '`')
		if i < 0 {
			return out.String() + line
		}
		out.WriteString(line[:i])
		line = line[i:]
		n := len(line) - len(strings.TrimLeft(line, "`"))
		end := -1
		for j := n; j < len(line); {
			if line[j] != '`' {
				j++
				continue
			}
			run := len(line[j:]) - len(strings.TrimLeft(line[j:], "`"))
			if run == n {
				end = j + run
				break
			}
			j += run
		}
		if end < 0 {
			out.WriteString(line[:n])
			line = line[n:]
			continue
		}
		line = line[end:]
	}
}

// TestPlanReadsRecordsOfTheBase: a proposed commit does not decide where the
// program fetches from.
func TestPlanReadsRecordsOfTheBase(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	canary := filepath.Join(t.TempDir(), "canary")
	f.change(map[string]string{"fleet.yaml": planFleetYAML + "spec:\n  records: {url: \"https://evil.invalid/" + filepath.Base(canary) + "\"}\n"})
	r := planJSON(t, f.dir, 0, "HEAD^..HEAD")
	if r.NoRecords != "" || !strings.Contains(r.Records, f.remote) || len(r.FleetChanges) != 1 || r.FleetChanges[0].Field != "spec.records.url" {
		t.Errorf("records %q %q, changes %+v", r.Records, r.NoRecords, r.FleetChanges)
	}
}

// TestPlanIsThePlannersForecast: the turns of the plan are those that the planner
// foresees.
func TestPlanIsThePlannersForecast(t *testing.T) {
	f := newPlannedFleet(t, plannedFiles())
	f.edit(map[string]string{"web.yaml": planService("web", strings.Replace(webSpec, "web:1.0", "web:2.0", 1))})
	r := planJSON(t, f.dir, 0)
	slots := map[string]bool{}
	for _, turn := range r.Turns {
		for _, s := range turn.Steps {
			for _, c := range s.Changes {
				if c.To != nil && c.To.Revision == serviceIn(t, r, "web").New {
					slots[c.Slot] = true
				}
			}
		}
	}
	if len(slots) != 3 || r.Summary.Restart != 3 || r.Summary.Move+r.Summary.Appear+r.Summary.Go != 0 {
		t.Errorf("slots %v, summary %+v", slots, r.Summary)
	}
	last := r.Loads[len(r.Loads)-1]
	if last.Node != "" || last.Most.Instances <= last.Before.Instances || last.After != last.Before || last.Capacity != (planner.ResourceList{CPUMillis: 6000, MemoryBytes: 3 << 30}) {
		t.Errorf("all: %+v", last)
	}
}

// TestPlanOfTheFirstCommit: a repository without any, and a folder that is none.
func TestPlanOfTheFirstCommit(t *testing.T) {
	_, other := fleetRemote(t, map[string]string{"fleet.yaml": planFleetYAML})
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := filepath.Join(t.TempDir(), "new")
	gitAs(t, ".", "init", "-q", "--initial-branch=main", dir)
	writeFiles(t, dir, map[string]string{"fleet.yaml": planFleetYAML, "web.yaml": planService("web", webSpec)})
	for _, args := range [][]string{nil, {"--offline"}} {
		r := planJSON(t, dir, 0, args...)
		if s := serviceIn(t, r, "web"); s.Change != review.Added || r.Base.Name != "" || r.NoRecords == "" || len(r.FleetChanges) > 0 {
			t.Errorf("%+v", r)
		}
	}
	if code, _, errs := orpheus(t, t.TempDir(), "plan"); code != 2 || !strings.Contains(errs, "no checkout of a Git repository") {
		t.Errorf("%d %s", code, errs)
	}
	// A clone of nothing but records is no fleet.
	gitAs(t, other, "rm", "-q", "fleet.yaml")
	gitAs(t, other, "commit", "-q", "-m", "empty", "--allow-empty")
	if r := planJSON(t, other, exitFailed); !strings.Contains(r.Refused, "there is no fleet.yaml") {
		t.Errorf("%+v", r)
	}
}

// TestPlanFitsTheScreen: no line is longer than a terminal of 80 or 200 columns,
// and only one that is to have colours has them.
func TestPlanFitsTheScreen(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "plan", "json.golden"))
	if err != nil {
		t.Fatal(err)
	}
	var r review.Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{80, 200} {
		s := &screen{width: width}
		drawPlan(s, &r)
		for _, line := range s.lines {
			if terminal.Columns(line) > width || strings.Contains(line, "\x1b") {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		s.lines, s.colours = nil, true
		if drawPlan(s, &r); !strings.Contains(strings.Join(s.lines, ""), "\x1b[") {
			t.Error("there are no colours")
		}
	}
}
