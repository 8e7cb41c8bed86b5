package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// overlayFiles is a repository with an overlay, uncommitted.
func overlayFiles(patch string) map[string]string {
	return map[string]string{
		".git/HEAD":            "",
		"base/good.yaml":       goodYAML,
		"base/web.yaml":        webBase,
		"base/mail.yaml":       strings.ReplaceAll(goodYAML, "good", "mail"),
		"envs/prod/fleet.yaml": fleetYAML + "spec:\n  base: ../../base\n  variables: {tag: 1.2.3}\n",
		"envs/prod/web.yaml":   patch,
	}
}

const (
	webBase  = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec:\n  image: registry.example.com/web:${tag}\n  replicas: 2\n"
	webPatch = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec:\n  replicas: 5\n"
)

func TestRender(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, overlayFiles(webPatch))
	for _, row := range []struct{ golden, args string }{
		{"render/prod.yaml", "render envs/prod"},
		{"render/prod.origin.yaml", "render envs/prod --origin"},
		{"render/web.yaml", "render envs/prod --service web"},
		{"render/web.yaml", "render envs/prod --service default/web"},
		{"render/web.yaml", "render . --path envs/prod --service web"},
		{"render/web.json", "render envs/prod --service web -o json --origin"},
	} {
		code, stdout, stderr := orpheus(t, dir, strings.Fields(row.args)...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit code %d, %s", row.args, code, stderr)
		}
		golden(t, row.golden, stdout)
	}
	code, stdout, stderr := orpheus(t, dir, "validate", "envs/prod")
	if code != 0 || !strings.Contains(stdout, "3 services in 3 files, 0 faults") {
		t.Errorf("validate: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// Faults go to standard error, all of them, and what they hold back is left
// out; nothing of the repository acts on the terminal.
func TestRenderFaults(t *testing.T) {
	dir := t.TempDir()
	files := overlayFiles(webPatch + "  replica: 5\n  hostname: \"\\e[2J\"\n")
	files["base/mail.yaml"] = strings.Replace(files["base/mail.yaml"], "metadata: {name: mail", "metadata: {name: mail, annotations: {x: \"\\u202e\\u009b\"}", 1)
	writeFiles(t, dir, files)
	code, stdout, stderr := orpheus(t, dir, "render", "envs/prod", "--origin")
	for _, want := range []string{"envs/prod/web.yaml\n", `6:3: spec: unknown field "replica"`, `7:13: spec.hostname: "\x1b[2J"`, "base/mail.yaml\n", "has a control character"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
	if code != 1 || strings.Contains(stdout, "name: web") || strings.Contains(stdout, "name: mail") || !strings.Contains(stdout, "name: good") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	files["base/mail.yaml"] = strings.Replace(files["base/mail.yaml"], `\u009b`, `\u2028`, 1)
	files["envs/prod/\x1b[31mx.yaml"] = "a: b"
	writeFiles(t, dir, files)
	for _, form := range []string{"yaml", "json"} {
		_, stdout, stderr := orpheus(t, dir, "render", "envs/prod", "--origin", "-o", form)
		if strings.ContainsAny(stdout+stderr, "\x1b\u202e\u2028") {
			t.Errorf("%s: lets through\n%q\n%q", form, stdout, stderr)
		}
		if form == "json" && !json.Valid([]byte(stdout)) {
			t.Errorf("no JSON:\n%s", stdout)
		}
	}
}

func TestRenderExitCodes(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		args  string
		code  int
		want  string
	}{
		{"a plain fleet", map[string]string{"fleet.yaml": fleetYAML, "good.yaml": goodYAML}, "", 0, "image: registry.example.com/good:1.0"},
		{"no such service", map[string]string{"fleet.yaml": fleetYAML, "good.yaml": goodYAML}, "--service god", 1, "no service god is in force here; there are good"},
		{"another namespace", map[string]string{"fleet.yaml": fleetYAML, "good.yaml": goodYAML}, "--service a/good", 1, "no service a/good is in force here"},
		{"no fleet.yaml", map[string]string{"good.yaml": goodYAML}, "", 1, "there is no fleet.yaml"},
		{"no base", map[string]string{"fleet.yaml": fleetYAML + "spec: {base: ../base}\n"}, "", 1, `"../base" leads out of the repository`},
		{"a remote base", map[string]string{"fleet.yaml": fleetYAML + "spec: {base: \"https://example.com/x\"}\n"}, "", 1, "there are no remote bases"},
		{"no such folder", nil, "nowhere", 2, "nowhere"},
		{"a form that is none", nil, "-o text", 2, "write yaml or json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, c.files)
			code, stdout, stderr := orpheus(t, dir, append([]string{"render"}, strings.Fields(c.args)...)...)
			if code != c.code || !strings.Contains(stdout+stderr, c.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s%s", code, c.code, c.want, stdout, stderr)
			}
		})
	}
}
