package compose

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
)

// read loads a Compose file of a repository of texts.
func read(t testing.TB, files map[string]string, variables map[string]string) (*Project, []planner.Fault) {
	t.Helper()
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return Load(context.Background(), Source{FS: tree, Path: "shop/compose.yaml", Variables: variables})
}

func told(faults []planner.Fault) string {
	var b strings.Builder
	for _, f := range faults {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestLoadPlain(t *testing.T) {
	p, faults := read(t, map[string]string{"shop/compose.yaml": `
services:
  web:
    image: nginx:${TAG}
    ports: ["80:80", {target: 81}]
    volumes: [./html:/html:ro]
    environment: {A: 1}
`}, map[string]string{"TAG": "1.27"})
	if len(faults) > 0 || p.Types == nil || p.Types.Services["web"].Image != "nginx:1.27" || p.Name != "shop" {
		t.Fatalf("project %+v, faults:\n%s", p, told(faults))
	}
	if at := p.Position("services.web.ports[1].target"); at.Line != 5 {
		t.Errorf("the port is at %+v", at)
	}
}

// Everything wrong is told at once, at its place.
func TestLoadTells(t *testing.T) {
	_, faults := read(t, map[string]string{"shop/compose.yaml": `services:
  web:
    image: nginx
    prots: ["80:80"]
    restart: 3
  other:
    image: ${A}
    volumes: [gone:/x]
    networks: [nowhere]
    depends_on: [nobody, debug]
    environment: [FOO]
    env_file: none.env
    healthcheck: {interval: 5}
  debug: {image: debug, profiles: [debug], environment: [NEVER_MIND], env_file: never.env}
`}, nil)
	want := []string{
		"shop/compose.yaml:4:5: services.web.prots: is no key",
		"shop/compose.yaml:5:14: services.web.restart: must be text",
		"shop/compose.yaml:7:12: services.other.image: variable A is not defined",
		`shop/compose.yaml:8:15: services.other.volumes[0]: volume "gone" is not defined`,
		`shop/compose.yaml:9:16: services.other.networks.nowhere: network "nowhere" is not defined`,
		`shop/compose.yaml:10:18: services.other.depends_on.nobody: service "nobody" is not defined`,
		`shop/compose.yaml:10:26: services.other.depends_on.debug: service "debug" does not run: its profiles are debug`,
		"shop/compose.yaml:11:19: services.other.environment.FOO: variable FOO has no value",
		`shop/compose.yaml:12:15: services.other.env_file[0]: "shop/none.env" does not exist`,
		"shop/compose.yaml:13:29: services.other.healthcheck.interval: must be text",
	}
	got := strings.Split(strings.TrimSpace(told(faults)), "\n")
	if len(got) != len(want) {
		t.Errorf("%d faults, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("told\n%s\nwant\n%s", got[i], want[i])
		}
	}
}

// A value is where it was written, through anchors, merges, extensions,
// includes and later documents.
func TestPositions(t *testing.T) {
	p, faults := read(t, map[string]string{
		"shop/compose.yaml": `include: [../lib/queue.yaml]
x-base: &base
  restart: always
  labels: {a: b}
services:
  web:
    <<: *base
    extends: {file: ../lib/base.yaml, service: base}
    ports: ["80:80"]
    environment: {OWN: "1"}
---
services:
  web:
    ports: ["81:81"]
    image: nginx:2
`,
		"lib/base.yaml":  "services:\n  base:\n    image: base\n    user: root\n    ports: [\"79:79\"]\n    environment:\n    - LOW=1\n",
		"lib/queue.yaml": "services:\n  queue:\n    image: q\n    command: [a,\n      b]\n",
	}, nil)
	if len(faults) > 0 {
		t.Fatal(told(faults))
	}
	for field, want := range map[string]string{
		"services.web.restart":         "shop/compose.yaml:3",
		"services.web.labels.a":        "shop/compose.yaml:4",
		"services.web.user":            "lib/base.yaml:4",
		"services.web.ports[0]":        "lib/base.yaml:5",
		"services.web.ports[1]":        "shop/compose.yaml:9",
		"services.web.ports[2]":        "shop/compose.yaml:14",
		"services.web.image":           "shop/compose.yaml:15",
		"services.web.environment.OWN": "shop/compose.yaml:10",
		"services.web.environment.LOW": "lib/base.yaml:7",
		"services.queue.command[1]":    "lib/queue.yaml:5",
		"services.queue.nothing[3]":    "lib/queue.yaml:2",
	} {
		if at := p.Position(field); fmt.Sprintf("%s:%d", at.File, at.Line) != want || at.Field != field {
			t.Errorf("%s is at %+v, want %s", field, at, want)
		}
	}
}

// The name of a project is that of its namespace.
func TestProjectNames(t *testing.T) {
	for _, c := range []struct{ text, env, want string }{
		{"", "", "shop"},
		{"name: My_App\n", "", "my-app"},
		{"name: ${N:-x}\n", "N=y", "y"},
		{"name: a\n", "COMPOSE_PROJECT_NAME=b", "b"},
		{"name: a\nx-orpheus: {namespace: c}\n", "COMPOSE_PROJECT_NAME=b", "c"},
	} {
		p, faults := read(t, map[string]string{"shop/compose.yaml": c.text + "services: {a: {image: a}}\n", "shop/.env": c.env}, nil)
		if p.Name != c.want || len(faults) > 0 {
			t.Errorf("%q with %q is called %q, want %q, faults:\n%s", c.text, c.env, p.Name, c.want, told(faults))
		}
	}
}

// The name of the project that a file may use is the one that Compose gives it,
// also where a namespace cannot have it.
func TestProjectNameAsComposeHasIt(t *testing.T) {
	for _, c := range []struct{ text, env, want string }{
		{"", "", "shop"},
		{"name: my_app\n", "", "my_app"},
		{"name: my_app\n", "COMPOSE_PROJECT_NAME=other_app", "other_app"},
		{"name: my_app\nx-orpheus: {namespace: c}\n", "", "my_app"},
	} {
		p, faults := read(t, map[string]string{"shop/compose.yaml": c.text + "services: {a: {image: '${COMPOSE_PROJECT_NAME}-a:1'}}\n", "shop/.env": c.env}, nil)
		if p.Types == nil || p.Types.Services["a"].Image != c.want+"-a:1" || len(faults) > 0 {
			t.Errorf("%q with %q: services are %v, want %s, faults:\n%s", c.text, c.env, p.Types.Services, c.want, told(faults))
		}
	}
}

// A file that is no YAML says so at the line where it goes wrong.
func TestNoYAML(t *testing.T) {
	for text, want := range map[string]string{
		"services:\n  a:\n    image: a\n    environment: [A=${X:-1}]\n": `shop/compose.yaml:4: is not valid YAML: did not find expected ',' or ']'; correct it; within [ ] and { }, put what has ${ into quotes`,
		"services:\n\ta: 1\n":        "shop/compose.yaml:2: is not valid YAML: found character that cannot start any token; correct it; where lines begin, indent with spaces",
		"services:\n  a: \"\x01\"\n": `shop/compose.yaml:2: is not valid YAML: offset 16: control characters are not allowed; remove it, or write it as an escape, such as "\t", within double quotes`,
		"services:\n  a: b: c\n":     "shop/compose.yaml:2: is not valid YAML: mapping values are not allowed in this context",
		"services:\n  a: *nowhere\n": "shop/compose.yaml:2: is not valid YAML: unknown anchor 'nowhere' referenced",
	} {
		if _, faults := read(t, map[string]string{"shop/compose.yaml": text}, nil); !strings.HasPrefix(told(faults), want) {
			t.Errorf("%q: faults:\n%swant %s", text, told(faults), want)
		}
	}
}

// What takes too long says what to do, whenever the time ends.
func TestNotReadInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, faults := Load(ctx, Source{FS: fstest.MapFS{"compose.yaml": {Data: []byte("services: {a: {image: a}}")}}, Path: "compose.yaml"})
	if len(faults) != 1 || !strings.Contains(faults[0].Reason, "was not read in time") || faults[0].Remedy == "" {
		t.Errorf("faults are\n%s", told(faults))
	}
}
