package manifest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestReports(t *testing.T) {
	d := load(t, newTree(map[string]string{
		"fleet.yaml": goodFleet,
		"a.yaml":     manifestOf("a", "web"),
		"b.yaml":     manifestOf("b", "web:1") + "  replica: 2\n  hostNetwork: true\n",
	}))
	r := NewReport(d)
	rows := []struct {
		name  string
		write func(*bytes.Buffer) error
		want  string
	}{
		{"text", func(b *bytes.Buffer) error { return WriteText(b, r) }, `a.yaml
  5:10: warning: spec.image: "web" has neither tag nor digest: latest is taken, and pinned to its digest at the first start
      → name a version

b.yaml
  6:3: spec: unknown field "replica"
      → did you mean replicas?
  7:3: spec: unknown field "hostNetwork"
      → write network: host

1 service in 1 file, 2 faults, 1 warning
`},
		{"github", func(b *bytes.Buffer) error { return WriteGitHub(b, r) }, `::warning file=a.yaml,line=5,col=10,title=spec.image::"web" has neither tag nor digest: latest is taken, and pinned to its digest at the first start; name a version
::error file=b.yaml,line=6,col=3,title=spec::unknown field "replica"; did you mean replicas?
::error file=b.yaml,line=7,col=3,title=spec::unknown field "hostNetwork"; write network: host
`},
		{"json", func(b *bytes.Buffer) error { return WriteJSON(b, Report{Services: 1, Files: 1, Faults: r.Faults[1:2]}) }, `{
  "files": 1,
  "services": 1,
  "nodes": 0,
  "faults": [
    {
      "file": "b.yaml",
      "line": 6,
      "column": 3,
      "field": "spec",
      "reason": "unknown field \"replica\"",
      "remedy": "did you mean replicas?"
    }
  ]
}
`},
		{"json of nothing", func(b *bytes.Buffer) error { return WriteJSON(b, Report{}) }, "{\n  \"files\": 0,\n  \"services\": 0,\n  \"nodes\": 0,\n  \"faults\": []\n}\n"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := row.write(&b); err != nil {
				t.Fatal(err)
			}
			if b.String() != row.want {
				t.Errorf("got:\n%s\nwant:\n%s", b.String(), row.want)
			}
		})
	}
}

// A refused commit is reported like any other.
func TestReportOfARefusedCommit(t *testing.T) {
	_, err := NewLoader(Limits{}).Load(context.Background(), newTree(nil), "clusters/prod", planner.Commit{})
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteText(&b, refused.Report()); err != nil {
		t.Fatal(err)
	}
	want := `(the repository)
  there is no clusters/prod/fleet.yaml
      → check the path the agent follows, or commit a fleet.yaml there

0 services in 0 files, 1 fault, 0 warnings
`
	if b.String() != want || refused.Report().Broken() != 1 {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}
