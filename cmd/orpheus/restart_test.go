package main

import (
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
)

const restartFile = `# All of the shop.
apiVersion: orpheus/v1
kind: Service
metadata:
  name: other
spec: {image: registry.example.com/other:1}
---
kind: Service   # the one
apiVersion: orpheus/v1
metadata:
    # called so for years
    name: web   # by Ann
    labels: {team: shop}
spec:
  replicas: 2
  image: registry.example.com/web:1
`

var webService = planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "web"}

// However a manifest is written, one value changes and all else stays.
func TestSetRestart(t *testing.T) {
	const value = "2026-01-02T03:04:05Z"
	document := func(meta string) string {
		return "apiVersion: orpheus/v1\nkind: Service\n" + meta + "spec: {image: registry.example.com/web:1}\n"
	}
	for _, c := range []struct{ name, before, after string }{
		{"no annotations", restartFile, strings.Replace(restartFile, "# by Ann\n", "# by Ann\n    annotations:\n      orpheus/restartedAt: \""+value+"\"\n", 1)},
		{"restarted before", document("metadata:\n  name: web\n  annotations:\n    a: b # why\n    orpheus/restartedAt: \"monday\" # on call\n"),
			document("metadata:\n  name: web\n  annotations:\n    a: b # why\n    orpheus/restartedAt: \"" + value + "\" # on call\n")},
		{"in single quotes", document("metadata:\n  name: web\n  annotations: {orpheus/restartedAt: 'monday'}\n"),
			document("metadata:\n  name: web\n  annotations: {orpheus/restartedAt: \"" + value + "\"}\n")},
		{"without quotes", document("metadata:\n  name: web\n  annotations: {orpheus/restartedAt: monday, a: b}\n"),
			document("metadata:\n  name: web\n  annotations: {orpheus/restartedAt: \"" + value + "\", a: b}\n")},
		{"other annotations", document("metadata:\n  annotations:\n    # why\n    a: b\n  name: web\n"),
			document("metadata:\n  annotations:\n    orpheus/restartedAt: \"" + value + "\"\n    # why\n    a: b\n  name: web\n")},
		{"on one line", document("metadata: {name: web}\n"), document("metadata: {annotations: {orpheus/restartedAt: \"" + value + "\"}, name: web}\n")},
		{"lines of Windows", strings.ReplaceAll(document("metadata:\n  name: web\n"), "\n", "\r\n"),
			strings.ReplaceAll(document("metadata:\n  name: web\n  annotations:\n    orpheus/restartedAt: \""+value+"\"\n"), "\n", "\r\n")},
		{"with its namespace", document("metadata: {name: web, namespace: default}\n"),
			document("metadata: {annotations: {orpheus/restartedAt: \"" + value + "\"}, name: web, namespace: default}\n")},
	} {
		fsys := fstest.MapFS{"fleet.yaml": {Data: []byte(fleetYAML)}, "web.yaml": {Data: []byte(c.before)}}
		change, err := changeRestart(t.Context(), fsys, ".", webService, value)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if change.path != "web.yaml" || string(change.after) != c.after {
			t.Errorf("%s: %s is\n%s\nwant\n%s", c.name, change.path, change.after, c.after)
		}
	}
	// What cannot be changed by a line is left to people, untouched.
	fsys := fstest.MapFS{"fleet.yaml": {Data: []byte(fleetYAML)}, "web.yaml": {Data: []byte(
		document("metadata:\n  name: web\n  annotations:\n    orpheus/restartedAt: >-\n      monday\n"))}}
	if change, err := changeRestart(t.Context(), fsys, ".", webService, value); err == nil || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("over lines: %+v, %v", change, err)
	}
}

// The value goes into the last layer that is the fleet's own.
func TestSetRestartInLayers(t *testing.T) {
	base := "apiVersion: orpheus/v1\nkind: Service\nmetadata:\n  name: web\nspec: {image: registry.example.com/web:1}\n"
	over := "apiVersion: orpheus/v1\nkind: Service\nmetadata:\n  name: web\nspec: {replicas: 3}\n"
	fleet := "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: prod}\nspec: {base: ../../base}\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		path  string
	}{
		{"an overlay", map[string]string{"base/web.yaml": base, "envs/prod/patch.yaml": over}, "envs/prod/patch.yaml"},
		{"a base alone", map[string]string{"base/web.yaml": base}, "envs/prod/web.yaml"},
		{"its own", map[string]string{"base/other.yaml": strings.ReplaceAll(base, "web", "other"), "envs/prod/services/web.yaml": base}, "envs/prod/services/web.yaml"},
	} {
		fsys := fstest.MapFS{"envs/prod/fleet.yaml": {Data: []byte(fleet)}}
		for name, text := range c.files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		change, err := changeRestart(t.Context(), fsys, "envs/prod", webService, "monday")
		if err != nil || change.path != c.path || !strings.Contains(string(change.after), `orpheus/restartedAt: `) {
			t.Errorf("%s: %+v, %v; want %s", c.name, change, err, c.path)
			continue
		}
		fsys[c.path] = &fstest.MapFile{Data: change.after}
		after, err := readFleet(t.Context(), fsys, "envs/prod")
		if web := after.Services[webService]; err != nil || web.Template.RestartedAt != "monday" || web.Template.Containers[0].Image != "registry.example.com/web:1" {
			t.Errorf("%s: it makes %+v, %v", c.name, web, err)
		}
	}
	// A file in the way that is about something else is not touched.
	fsys := fstest.MapFS{
		"envs/prod/fleet.yaml": {Data: []byte(fleet)}, "base/web.yaml": {Data: []byte(base)},
		"envs/prod/web.yaml": {Data: []byte(strings.ReplaceAll(base, "name: web", "name: other"))},
	}
	if _, err := changeRestart(t.Context(), fsys, "envs/prod", webService, "monday"); err == nil || !strings.Contains(err.Error(), "exists and is not about service web") {
		t.Errorf("a file in the way: %v", err)
	}
}

// A restart is one commit, pushed like that of a drain.
func TestRestartCommit(t *testing.T) {
	t.Setenv("ORPHEUS_SOCKET", t.TempDir()+"/none.sock") // no agent here
	remote, dir := fleetRemote(t, map[string]string{"fleet.yaml": fleetYAML, "web.yaml": restartFile})
	if out := mustRun(t, dir, "restart", "web", "--dry-run"); !regexp.MustCompile(`(?m)^\+ {6}orpheus/restartedAt: "20\d\d-[^"]*Z"$`).MatchString(out) {
		t.Errorf("--dry-run: %s", out)
	}
	if out := mustRun(t, dir, "restart", "web"); !strings.Contains(out, "restart web: commit ") || !strings.Contains(out, "changes web.yaml; pushed to main") {
		t.Errorf("%s", out)
	}
	if got := gitAs(t, remote, "log", "-1", "--format=%s|%b", "main"); !strings.HasPrefix(got, "restart web|The instances of web are replaced one after the other, with\nthe images they run.") {
		t.Errorf("the commit is %q", got)
	}
	mustRun(t, dir, "restart", "default/web", "--pull", "-m", "new base image")
	if got := gitAs(t, remote, "show", "main:web.yaml"); !regexp.MustCompile(`(?m)^ {6}orpheus/restartedAt: "[^"]*Z pull"$`).MatchString(got) {
		t.Errorf("the file is\n%s", got)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"restart", "wep"}, 1, "no service wep is in force here; there are other, web"},
		{[]string{"restart", "Web"}, 2, "is no name of a service"},
		{[]string{"restart", "web", "--repository", "x", "--no-push"}, 2, "--no-push"},
	} {
		code, _, stderr := orpheus(t, dir, c.args...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: %d %s; want %d %q", c.args, code, stderr, c.code, c.want)
		}
	}
	if code, _, stderr := orpheus(t, t.TempDir(), "restart", "web"); code != 2 || !strings.Contains(stderr, "no checkout") || !strings.Contains(stderr, "nor does an agent answer here") {
		t.Errorf("neither agent nor checkout: %d %s", code, stderr)
	}
}
