package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, row := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{}, 0, []string{"Fleet", "Service    kind of document", "Probe      part of a Service"}},
		{[]string{"Service.spec.update"}, 0, []string{"field     Service.spec.update\n", "type      object\n", "how a new revision takes the place of the old one", "maxSurge        number or percentage  1; 0 with stopFirst  no"}},
		{[]string{"spec.replicas"}, 0, []string{"default   1\n", "restarts  a change restarts nothing\n", "0 to 1000"}},
		{[]string{"spec.ports[].protocol"}, 0, []string{"values    TCP, UDP\n", "a new revision"}},
		{[]string{"spec.ports[]"}, 0, []string{"restarts  it depends on the field\n"}},
		{[]string{"Node", "--recursive"}, 0, []string{"spec  object\n", "  taints  list\n    key  label key\n"}},
		{[]string{"Service.spec.replica"}, 2, []string{"did you mean replicas?"}},
		{[]string{"a", "b"}, 2, []string{"write orpheus explain"}},
	} {
		code, stdout, stderr := orpheus(t, "", append([]string{"explain"}, row.args...)...)
		if code != row.code {
			t.Errorf("explain %v: code %d, %s", row.args, code, stderr)
		}
		for _, want := range row.want {
			if !strings.Contains(stdout+stderr, want) {
				t.Errorf("explain %v: no %q in:\n%s%s", row.args, want, stdout, stderr)
			}
		}
		if strings.Contains(stdout, "\x1b") || strings.Contains(stdout, "`") {
			t.Errorf("explain %v: colours or markdown in a pipe", row.args)
		}
	}
}

func TestExplainJSON(t *testing.T) {
	code, stdout, stderr := orpheus(t, "", "explain", "Service.spec.update", "-o", "json")
	var got struct {
		Path   string
		Fields []struct{ Name, Default, Description string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); code != 0 || err != nil || got.Path != "Service.spec.update" || len(got.Fields) < 5 || got.Fields[0].Name != "order" || got.Fields[0].Default == "" {
		t.Errorf("%d, %v: %+v %s", code, err, got, stderr)
	}
}

func TestSchemaVerb(t *testing.T) {
	for _, row := range []struct {
		args string
		code int
		want string
	}{
		{"", 0, `"title": "Orpheus manifests"`},
		{"service", 0, `"Service"`},
		{"--overlay", 0, `"$patch"`},
		{"Probe", 2, `there is no kind "Probe"; there are Fleet, Node, Service`},
		{"Job", 2, `there is no kind "Job"`},
	} {
		code, stdout, stderr := orpheus(t, "", append([]string{"schema"}, strings.Fields(row.args)...)...)
		if code != row.code || !strings.Contains(stdout+stderr, row.want) {
			t.Errorf("schema %s: %d, %s", row.args, code, stderr)
		}
		if code == 0 && !json.Valid([]byte(stdout)) {
			t.Errorf("schema %s prints no JSON", row.args)
		}
	}
}
