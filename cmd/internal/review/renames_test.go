package review

import (
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestRename: a service that goes while one comes that differs by name alone is
// remarked upon, on both.
func TestRename(t *testing.T) {
	const spec = `{image: "w:1", replicas: 2, ports: [{containerPort: 80, port: 80}]}`
	const data = `{image: "d:1", volumes: [{name: d, local: {}}], volumeMounts: [{name: d, mountPath: /d}]}`
	base := files{"a.yaml": service("web", spec), "b.yaml": service("db", data), "c.yaml": service("other", `{image: "o:1"}`)}
	head := files{"a.yaml": service("front", spec), "b.yaml": service("store", data), "c.yaml": service("else", `{image: "o:2"}`)}
	said := map[string]string{}
	for _, s := range build(t, base, head, 100, 100).Services {
		said[s.Service] = strings.Join(s.How, "\n")
	}
	for service, want := range map[string]string{
		"front": "looks like web under another name. It begins anew: addresses, names, lease history do not follow",
		"web":   "looks renamed to front, which begins anew",
		"store": "looks like db under another name. It begins anew: addresses, names, lease history, the data in its volumes do not follow",
		"else":  "",
		"other": "",
	} {
		if got, told := said[service]; !told || !strings.Contains(got, want) || want == "" && strings.Contains(got, "name") {
			t.Errorf("%s: %q", service, got)
		}
	}
}

// TestPendingNamed: deletions of earlier commits that still wait are named.
func TestPendingNamed(t *testing.T) {
	data := `{image: "d:1", volumes: [{name: d, local: {}}], volumeMounts: [{name: d, mountPath: /d}]}`
	in := input(t, files{"a.yaml": service("db", data), "b.yaml": service("web", `{image: "w:1"}`)}, files{"b.yaml": service("web", `{image: "w:1"}`)}, 100)
	in.Before = in.After // the commit that deleted it
	if got := strings.Join(Build(in).Notes, "\n"); !strings.Contains(got, "1 deletion of earlier commits still awaits approval: db") {
		t.Errorf("%q", got)
	}
}

// TestRaces: what a plan leaves open is said, and for whom.
func TestRaces(t *testing.T) {
	spec := func(image string) string {
		return `{image: "` + image + `", replicas: 2, resources: {requests: {memory: 30Mi}}}`
	}
	base := files{"a.yaml": service("web", spec("w:1")), "b.yaml": service("api", spec("a:1"))}
	head := files{"a.yaml": service("web", spec("w:2")), "b.yaml": service("api", spec("a:2"))}
	r := build(t, base, head, 100, 100)
	if len(r.Races) != 2 || r.Races[0].Node != planner.NodeName("n1") || strings.Join(r.Races[0].Services, " ") != "api web" {
		t.Errorf("%+v", r.Races)
	}
	if got := strings.Join(Remarks(r), "\n"); !strings.Contains(got, "n1, n2 have no room for all that changes there at once: which slots of api, web go first") {
		t.Errorf("%q", got)
	}
	if r := build(t, base, head, 200, 200); len(r.Races) != 0 {
		t.Errorf("with room for all: %+v", r.Races)
	}
	head["b.yaml"] = base["b.yaml"]
	if r := build(t, base, head, 100, 100); len(r.Races) != 0 {
		t.Errorf("of one service: %+v", r.Races)
	}
}
