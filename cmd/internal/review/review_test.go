package review

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// files is a revision of a repository, without fleet.yaml.
type files map[string]string

// service is a manifest of a service.
func service(name, spec string) string {
	return "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

func read(t *testing.T, commit string, f files) ([]manifest.Document, planner.Desired) {
	t.Helper()
	tree := fstest.MapFS{"fleet.yaml": {Data: []byte("apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: home}\n")}}
	for name, text := range f {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	docs, d, err := manifest.Render(context.Background(), tree, ".", manifest.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	d.Commit = planner.Commit{Hash: strings.Repeat(commit, 40)}
	return docs, d
}

// build makes the report of two revisions for a fleet at rest of nodes with so much
// memory, in MiB; none = without records.
func build(t *testing.T, base, head files, nodes ...int64) *Report {
	t.Helper()
	return Build(input(t, base, head, nodes...))
}

func input(t *testing.T, base, head files, nodes ...int64) Input {
	t.Helper()
	in := Input{Base: Side{Name: "base", Commit: strings.Repeat("a", 40)}, Head: Side{Name: "head", Commit: strings.Repeat("b", 40)}, Path: ".", Now: time.Unix(0, 0)}
	var before, after planner.Desired
	in.Old, before = read(t, "a", base)
	in.New, after = read(t, "b", head)
	in.Before = planner.Settle(planner.Followed{}, before, nil)
	in.After = planner.Settle(in.Before, after, nil)
	in.BaseFaults, in.Faults = before.Faults, after.Faults
	if len(nodes) > 0 {
		view := planner.View{Nodes: map[planner.NodeName]planner.NodeView{}}
		for i, mib := range nodes {
			name := planner.NodeName(fmt.Sprintf("n%d", i+1))
			view.Nodes[name] = planner.NodeView{Record: planner.NodeRecord{Node: name, Epoch: 1, Incarnation: "i", Capacity: planner.ResourceList{CPUMillis: 4000, MemoryBytes: mib << 20}}}
		}
		at := planner.Foresee(in.Before, view).View
		in.View = &at
	} else {
		in.NoRecords = "none"
	}
	return in
}

// told is a report in short: each service with its change, whether it restarts, its
// fields, slots and what is down; then what stands in the way.
func told(r *Report) string {
	var out []string
	for _, s := range r.Services {
		text := s.Service + " " + s.Change
		if s.Restarts {
			text += " restarts"
		}
		for _, f := range s.Fields {
			if s.Change == Changed {
				text += fmt.Sprintf("; %s %s>%s", f.Field, f.Old, f.New)
			}
		}
		for _, slot := range s.Slots {
			text += "; " + slot.Slot + " " + slot.Does
			if slot.Down {
				text += " (down)"
			}
		}
		out = append(out, text)
	}
	for _, u := range r.Unplaced {
		out = append(out, fmt.Sprintf("no place %s before=%v %s", u.Slot, u.Before, u.Nearest))
	}
	for _, f := range r.Findings {
		out = append(out, "finding "+f.Service+" "+f.What)
	}
	if r.Deletions != nil {
		out = append(out, fmt.Sprintf("deletions %v waiting %v budget %d", r.Deletions.Services, r.Deletions.Waiting, r.Deletions.Budget))
	}
	for _, f := range r.Faults {
		out = append(out, fmt.Sprintf("fault %s:%d new=%v holds %v", f.File, f.Line, f.New, f.Holds))
	}
	if r.Trouble() {
		out = append(out, "trouble")
	}
	return strings.Join(out, "\n")
}

func TestBuild(t *testing.T) {
	web := service("web", `{image: "w:1", replicas: 2}`)
	tests := []struct {
		name       string
		base, head files
		nodes      []int64
		want       string
	}{
		// The same is nothing; so is another way to write it, or another place in the file.
		{"nothing", files{"a.yaml": service("web", `{image: "w:1", resources: {limits: {memory: 1Gi}}}`)}, files{"a.yaml": "# x\n" + service("web", `{resources: {limits: {memory: 1024Mi}}, image: "w:1"}`)}, []int64{2000}, ""},
		{"another file", files{"a.yaml": web}, files{"b.yaml": web}, []int64{100}, "web renamed"},
		{"image", files{"a.yaml": web}, files{"a.yaml": service("web", `{image: "w:2", replicas: 2}`)}, []int64{100, 100},
			`web changed restarts; spec.image "w:1">"w:2"; web-0 restarts; web-1 restarts`},
		{"more", files{"a.yaml": web}, files{"a.yaml": service("web", `{image: "w:1", replicas: 3}`)}, []int64{100},
			`web changed; spec.replicas 2>3; web-2 appears`},
		{"fewer", files{"a.yaml": web}, files{"a.yaml": service("web", `{image: "w:1", replicas: 1}`)}, []int64{100},
			`web changed; spec.replicas 2>1; web-1 goes`},
		// Items of a list are called by their names; their order counts.
		{"items", files{"a.yaml": service("web", `{image: "w:1", env: [{name: A, value: "1"}, {name: B, value: "2"}]}`)},
			files{"a.yaml": service("web", `{image: "w:1", env: [{name: B, value: "3"}, {name: C, value: "2"}, {name: A, value: "1"}]}`)}, nil,
			`web changed restarts; spec.env (order) ["A","B"]>["B","C","A"]; spec.env[B].value "2">"3"; spec.env[C].value >"2"`},
		{"arguments", files{"a.yaml": service("web", `{image: "w:1", args: [a, b]}`)}, files{"a.yaml": service("web", `{image: "w:1", args: [a, c]}`)}, nil,
			`web changed restarts; spec.args ["a","b"]>["a","c"]`},
		{"single writer", files{"a.yaml": service("db", `{image: "d:1", volumes: [{name: d, local: {}}], volumeMounts: [{name: d, mountPath: /d}]}`)},
			files{"a.yaml": service("db", `{image: "d:2", volumes: [{name: d, local: {}}], volumeMounts: [{name: d, mountPath: /d}]}`)}, []int64{100, 100},
			`db changed restarts; spec.image "d:1">"d:2"; db-0 restarts (down)`},
		{"drain", files{"a.yaml": web}, files{"a.yaml": web, "nodes/n1.yaml": "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: n1}\nspec: {drain: true}\n"}, []int64{100, 100},
			"web moved; web-1 moves"},
		{"every node", files{}, files{"a.yaml": service("log", `{image: "l:1", everyNode: true}`)}, []int64{100, 100}, "log added; log-n1 appears; log-n2 appears"},
		// The node that lacks least is named, and only new trouble is trouble.
		{"no place", files{}, files{"a.yaml": service("big", `{image: "b:1", resources: {requests: {memory: 900Mi}}}`)}, []int64{100, 700, 500},
			"big added\nno place big-0 before=false n2 is the closest: it lacks 200Mi of memory\ntrouble"},
		{"no place before", files{"a.yaml": service("big", `{image: "b:1", resources: {requests: {memory: 900Mi}}}`)}, files{"a.yaml": service("big", `{image: "b:1", resources: {requests: {memory: 900Mi}}}`), "b.yaml": web}, []int64{100},
			"web added; web-0 appears; web-1 appears\nno place big-0 before=true n1 is the closest: it lacks 800Mi of memory"},
		{"cordoned", files{}, files{"a.yaml": service("web", `{image: "w:1"}`), "nodes/n1.yaml": "apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: n1}\nspec: {unschedulable: true}\n"}, []int64{100},
			"web added\nno place web-0 before=false n1 is the closest: cordoned by nodes/n1.yaml\ntrouble"},
		{"within the budget", files{"a.yaml": web, "b.yaml": service("b", `{image: "w:1"}`)}, files{"b.yaml": service("b", `{image: "w:1"}`)}, []int64{100},
			"web deleted; web-0 goes; web-1 goes\ndeletions [web] waiting [] budget 2"},
		{"beyond it", files{"a.yaml": web, "b.yaml": service("b", `{image: "w:1"}`), "c.yaml": service("c", `{image: "w:1"}`)}, files{}, nil,
			"b awaits\nc awaits\nweb awaits\ndeletions [] waiting [b c web] budget 2\ntrouble"},
		{"broken file", files{"a.yaml": web}, files{"a.yaml": service("web", `{image: "w:1", replicas: x}`), "b.yaml": service("b", `{image: "w:1"}`)}, []int64{100},
			"b added; b-0 appears\nweb kept\nfault a.yaml:4 new=true holds [web]\ntrouble"},
		{"findings", files{"a.yaml": service("web", `{image: "w:1", ports: [{containerPort: 80, publish: 80}]}`)},
			files{"a.yaml": service("web", `{image: "other.example.com/w:1", network: host, securityContext: {privileged: true, capabilities: {add: [NET_ADMIN]}}, devices: [/dev/fuse], volumes: [{name: h, hostPath: {path: /srv}}], volumeMounts: [{name: h, mountPath: /h}], ports: [{containerPort: 80, publish: 80}]}`)}, nil,
			"container main has the capability NET_ADMIN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := told(build(t, tt.base, tt.head, tt.nodes...))
			if tt.name == "findings" {
				for _, want := range []string{"uses the host's network", "is privileged", tt.want, "uses the device /dev/fuse", "mounts /srv of the node", "takes images from other.example.com"} {
					if !strings.Contains(got, want) || strings.Contains(got, "opens port") {
						t.Errorf("no %q, or what was there before, in\n%s", want, got)
					}
				}
				return
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestMarkdownFits: a comment has an end, however much changes, and says what it
// leaves out.
func TestMarkdownFits(t *testing.T) {
	base, head := files{}, files{}
	for i := range 600 {
		name := fmt.Sprintf("service-%d", i)
		base[name+".yaml"] = service(name, `{image: "w:1", env: [{name: LONG, value: "`+strings.Repeat("x", 300)+`"}]}`)
		head[name+".yaml"] = service(name, `{image: "w:2", env: [{name: LONG, value: "`+strings.Repeat("y`", 300)+`"}]}`)
		head[fmt.Sprintf("bad-%d.yaml", i)] = "kind: Service\n"
	}
	var b strings.Builder
	if err := WriteMarkdown(&b, build(t, base, head)); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if len(text) > MaxMarkdown || len(text) < MaxMarkdown/2 {
		t.Errorf("%d bytes", len(text))
	}
	for _, want := range []string{"more in short: a comment has room for no more", "- `service-599: ", "and 550 more", Marker(".") + "\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if open, closed := strings.Count(text, "<details>"), strings.Count(text, "</details>"); open != closed {
		t.Errorf("%d parts begin and %d end", open, closed)
	}
}

// TestAttack23Neutral: no text leaves its span, block or element.
func TestAttack23Neutral(t *testing.T) {
	for _, text := range []string{"", "`", "``", "a`b", "```", " a ", "`a", "a\nb", "\x1b[31m", "<b>@x</b>", strings.Repeat("`", 50), "\u202e"} {
		s := span(text)
		fence := s[:len(s)-len(strings.TrimLeft(s, "`"))]
		inside := strings.TrimSuffix(strings.TrimPrefix(s, fence), fence)
		if longestRun(inside, '`') == len(fence) || strings.ContainsAny(s, "\n\x1b\u202e") || inside == "" {
			t.Errorf("span of %q: %q", text, s)
		}
		b := block("diff", []string{text, "second"})
		fence, _, _ = strings.Cut(b, "diff")
		if strings.Count(b, fence) != 2 || strings.Count(b, "\n") != 4 {
			t.Errorf("block of %q: %q", text, b)
		}
		if e := strings.TrimSuffix(strings.TrimPrefix(element(text), "<code>"), "</code>"); strings.ContainsAny(e, "<>@\n\x1b") {
			t.Errorf("element of %q: %q", text, e)
		}
	}
	if got := Marker("envs/--> <b>prod"); strings.Contains(got[4:len(got)-3], "--") || strings.ContainsAny(got[4:len(got)-3], "<>") {
		t.Errorf("marker %q", got)
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 200 << 20: "200Mi", 1 << 30: "1Gi", 1<<30 + 1: "1025Mi", 1500: "1500", 20<<30 + 1: "21Gi"} {
		if got := Memory(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{90 * time.Second: "1m30s", time.Minute: "1m", 10 * time.Minute: "10m", time.Hour: "1h", 100 * time.Minute: "1h40m", 20 * time.Second: "20s"} {
		if got := short(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
