package compose

import (
	"context"
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

func TestLoadTells(t *testing.T) {
	_, faults := read(t, map[string]string{"shop/compose.yaml": `
services:
  web:
    image: nginx
    prots: ["80:80"]
    restart: 3
  other:
    image: ${A}
    volumes: [gone:/x]
    networks: [nowhere]
    depends_on: [nobody]
    environment: [FOO]
`}, nil)
	t.Log(told(faults))
}
