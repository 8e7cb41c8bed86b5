package review

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestHeadline: the first line names what it counts, once, in the number it has.
func TestHeadline(t *testing.T) {
	kept := []Service{{Change: Kept}}
	fault := []Fault{{Fault: planner.Fault{Reason: "x"}}}
	for want, r := range map[string]Report{
		"nothing changes that runs":                                                {},
		"1 service changes: 1 slot restarts":                                       {Summary: Summary{Changed: 1, Restart: 1}},
		"2 services change: 1 slot moves, 9 appear":                                {Summary: Summary{Changed: 2, Move: 1, Appear: 9}},
		"1 service is new, 1 is deleted: 3 slots appear, 1 goes":                   {Summary: Summary{Added: 1, Deleted: 1, Appear: 3, Go: 1}},
		"11 services are deleted":                                                  {Summary: Summary{Deleted: 11}},
		"2 slots move":                                                             {Summary: Summary{Move: 2}},
		"nothing changes that runs; 1 fault":                                       {Faults: fault},
		"nothing changes that runs; 1 fault holds services back":                   {Faults: fault, Services: kept},
		"nothing changes that runs; 2 faults hold services back":                   {Faults: append(fault, fault...), Services: kept},
		"nothing changes that runs; 1 slot finds no place":                         {Unplaced: []Unplaced{{}, {Before: true}}},
		"nothing changes that runs; 2 deletions wait for approval":                 {Deletions: &Deletions{Waiting: []string{"a", "b"}}},
		"no service changes, but what is said of the fleet or its nodes does":      {NodeChanges: []Node{{}}},
		"1 service is new: 1 slot appears; 1 fault, 1 deletion waits for approval": {Summary: Summary{Added: 1, Appear: 1}, Faults: fault, Deletions: &Deletions{Waiting: []string{"a"}}},
		"agents refuse the commit: nothing changes":                                {Refused: "x", Faults: fault},
	} {
		if got := Headline(&r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestFaultsOfBefore: a fault that the base has too is marked in each form.
func TestFaultsOfBefore(t *testing.T) {
	bad, ok := service("web", `{image: "w:1", replicas: x}`), service("b", `{image: "w:1"}`)
	r := build(t, files{"a.yaml": bad, "b.yaml": ok}, files{"a.yaml": bad, "b.yaml": ok, "c.yaml": "kind: Service\n"}, 100)
	if len(r.Faults) != 2 || !strings.HasSuffix(FaultWords(r.Faults[0]), "(without this commit, too)") || strings.Contains(FaultWords(r.Faults[1]), "too") {
		t.Errorf("%+v", r.Faults)
	}
	if n := strings.Count(comment(t, r), "(without this commit, too)"); n != 1 {
		t.Errorf("%d marks in the comment", n)
	}
}

func comment(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := WriteMarkdown(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestObserved: leases of a service that is only observed change, and nothing that
// runs: its slots are listed as that, and not counted.
func TestObserved(t *testing.T) {
	r := build(t, files{"a.yaml": service("web", `{image: "w:1", mode: observe}`)}, files{"a.yaml": service("web", `{image: "w:2", mode: observe}`)}, 100)
	if len(r.Services) != 1 || len(r.Services[0].Slots) != 1 || r.Summary.Restart != 0 || r.Summary.Changed != 1 {
		t.Fatalf("%+v", r)
	}
	if slot := r.Services[0].Slots[0]; !slot.Observed || slot.Down || !strings.Contains(SlotWords(slot), "its nodes do nothing") {
		t.Errorf("%+v", slot)
	}
}

// TestStillWithoutRecords: without records, too, nothing is said to restart that is
// observed or suspended.
func TestStillWithoutRecords(t *testing.T) {
	for _, spec := range []string{`mode: observe`, `suspend: {until: "2030-01-01T00:00:00Z", reason: freeze}`} {
		r := build(t, files{"a.yaml": service("web", `{image: "w:1", `+spec+`}`)}, files{"a.yaml": service("web", `{image: "w:2", replicas: 2, `+spec+`}`)})
		if told := strings.Join(r.Services[0].How, "\n"); strings.Contains(told, "slot restarts") || strings.Contains(told, "appears") {
			t.Errorf("%s: %s", spec, told)
		}
	}
}

// TestSuspended: only a suspension that is not over is told.
func TestSuspended(t *testing.T) {
	until := time.Unix(1000, 0)
	s := planner.Service{Revision: "r1-b", Replicas: 1, Suspend: &planner.Suspension{Until: until, Reason: "freeze"}}
	for at, want := range map[time.Time]bool{until.Add(-1): true, until: false} {
		told := strings.Join(how(planner.Service{Revision: "r1-a"}, s, 1, true, planner.Time{Wall: at}), "\n")
		if got := strings.Contains(told, "freeze\nno slot is added, moved or changed before that"); got != want {
			t.Errorf("at %s: %s", at, told)
		}
	}
}

// TestUnderWay: what changes without the commit is not laid to its charge.
func TestUnderWay(t *testing.T) {
	docs, at := read(t, "0", files{"a.yaml": service("web", `{image: "w:1"}`)})
	_, base := read(t, "a", files{"a.yaml": service("web", `{image: "w:2"}`)})
	_, head := read(t, "b", files{"a.yaml": service("web", `{image: "w:2"}`)})
	was := planner.Settle(planner.Followed{}, at, nil)
	view := planner.Foresee(was, planner.View{Nodes: map[planner.NodeName]planner.NodeView{"n1": {Record: planner.NodeRecord{Node: "n1", Epoch: 1, Incarnation: "i"}}}}).View
	view.Specs = map[planner.Revision]planner.Template{}
	for _, s := range was.Services {
		view.Specs[s.Revision] = s.Template
	}
	in := Input{Old: docs, New: docs, View: &view, Head: Side{Commit: strings.Repeat("b", 40)}}
	in.Before = planner.Settle(was, base, nil)
	in.After = planner.Settle(in.Before, head, nil)
	r := Build(in)
	if len(r.Services) != 1 || r.Services[0].Change != Begun || !strings.HasPrefix(r.Services[0].Why, "web-0 changes to") || !strings.Contains(r.Services[0].Why, "commit aaaaaaaa") {
		t.Errorf("%+v", r.Services)
	}
}

// TestNodeNotes: what a drain leaves on its node, and a node that nobody knows.
func TestNodeNotes(t *testing.T) {
	node := func(name string) string {
		return "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: " + name + "}\nspec: {drain: true}\n"
	}
	base := files{"a.yaml": service("log", `{image: "l:1", everyNode: true}`), "b.yaml": service("web", `{image: "w:1", replicas: 2}`)}
	head := files{"a.yaml": base["a.yaml"], "b.yaml": base["b.yaml"], "n1.yaml": node("n1"), "n9.yaml": node("n9")}
	got := strings.Join(build(t, base, head, 100, 100).Notes, "\n")
	if want := "n1 is drained, and keeps at the end: log-n1\nno node n9 has registered yet: what is said of it counts once it does"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestSameRevisionBegins: of a service that moves, or whose rollout a person lets go
// on, no plan says that nothing restarts.
func TestSameRevisionBegins(t *testing.T) {
	label := func(name, zone string) string {
		return "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: " + name + "}\nspec: {labels: {zone: " + zone + "}}\n"
	}
	all := func(spec string) files {
		return files{"a.yaml": service("web", spec), "n1.yaml": label("n1", "a"), "n2.yaml": label("n2", "b")}
	}
	const quiet = "no instance restarts"
	for head, want := range map[string]bool{`{image: "w:1", nodeSelector: {zone: b}}`: false, `{image: "w:1", nodeSelector: {zone: a}, minReadySeconds: 1}`: true} {
		s := build(t, all(`{image: "w:1", nodeSelector: {zone: a}}`), all(head), 100, 100).Services[0]
		if got := slices.Contains(s.How, quiet); got != want || strings.Contains(ServiceHead(s), "without a restart") != want {
			t.Errorf("%s: %s: %q, slots %+v", head, ServiceHead(s), s.How, s.Slots)
		}
	}
}

// TestAbsentNodes: a plan says which nodes of fleet.yaml it does without.
func TestAbsentNodes(t *testing.T) {
	all := files{"a.yaml": service("web", `{image: "w:1"}`),
		"fleet.yaml": "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: home}\nspec: {nodes: [n1, n2, n3, n4]}\n"}
	got := strings.Join(build(t, all, all, 100, 100).Notes, "\n")
	if want := "n3, n4 of fleet.yaml have not registered yet: the plan does without them"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPlainSecrets: what looks like a password is pointed at when it comes, by its
// name alone.
func TestPlainSecrets(t *testing.T) {
	env := func(name, value string) string {
		return service("web", fmt.Sprintf(`{image: "w:1", env: [{name: %s, value: %q}]}`, name, value))
	}
	for _, row := range []struct {
		name, value string
		found       bool
	}{
		{"DB_PASSWORD", "hunter2", true},
		{"api_key", "hunter2", true},
		{"GITHUB_TOKEN", "hunter2", true},
		{"DATABASE_URL", "postgres://web:hunter2@db/web", true},
		{"DATABASE_URL", "postgres://web@db/web", false},
		{"SITE", "https://example.com/a:b@c", false},
		{"DB_PASSWORD_FILE", "/run/secrets/db", false}, // where it is
		{"MAX_TOKENS", "100", false},
		{"ALLOW_EMPTY_PASSWORD", "yes", false}, // a switch
		{"MONKEY", "hunter2", false},
	} {
		r := build(t, files{"b.yaml": service("b", `{image: "w:1"}`)}, files{"b.yaml": service("b", `{image: "w:1"}`), "a.yaml": env(row.name, row.value)})
		if got := len(r.Findings) == 1; got != row.found || r.PolicyDecides() {
			t.Errorf("%s=%s: %+v", row.name, row.value, r.Findings)
		}
		for _, f := range r.Findings {
			if strings.Contains(f.What, "hunter2") || !strings.HasSuffix(f.What, "env "+row.name) {
				t.Errorf("%+v", f)
			}
		}
	}
	if r := build(t, files{"a.yaml": env("DB_PASSWORD", "a1")}, files{"a.yaml": env("DB_PASSWORD", "b2")}); len(r.Findings) > 0 {
		t.Errorf("one that was there is new: %+v", r.Findings)
	}
}

// TestMarkdownNamesAll: of 300 services that change a comment names each, and says
// what their slots do.
func TestMarkdownNamesAll(t *testing.T) {
	base, head := files{}, files{}
	for i := range 300 {
		name := fmt.Sprintf("service-%03d", i)
		base[name+".yaml"] = service(name, `{image: "registry.example.com/w:1", replicas: 2}`)
		head[name+".yaml"] = service(name, `{image: "registry.example.com/w:2", replicas: 2}`)
	}
	text := comment(t, build(t, base, head, 1000, 1000, 1000))
	for name := range head {
		if !strings.Contains(text, strings.TrimSuffix(name, ".yaml")+": r1-") {
			t.Errorf("%s is not named", name)
		}
	}
	if len(text) > MaxMarkdown || !strings.Contains(text, "(service-299.yaml:3): 2 slots restart`") || !strings.Contains(text, "**300 services change: 600 slots restart.**") {
		t.Errorf("%d bytes\n%.400s", len(text), text)
	}
}
