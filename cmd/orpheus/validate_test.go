package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	fleetYAML = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: test}\n"
	goodYAML  = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: good}\nspec: {image: registry.example.com/good:1.0}\n"
	badYAML   = `apiVersion: orpheus/v1
kind: Service
metadata:
  name: bad
spec:
  image: registry.example.com/bad:1.0
  replica: 3
  ports:
  - {name: http, containerPort: eighty}
`
	mountYAML = `apiVersion: orpheus/v1
kind: Service
metadata: {name: mount}
spec:
  image: registry.example.com/mount:1.0
  volumeMounts: [{name: conf, mountPath: /etc/app.conf}]
  volumes: [{name: conf, file: configs/app.conf}]
`
)

func TestValidateForms(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"fleet.yaml": fleetYAML, "good.yaml": goodYAML, "services/bad.yaml": badYAML,
		"services/\x1bevil,name.yaml": "kind: \"\\e[2J::error::x\"\n",
	})
	for _, form := range []string{"text", "json", "github"} {
		code, stdout, stderr := orpheus(t, dir, "validate", "-o", form)
		if code != 1 || stderr != "" {
			t.Errorf("%s: exit code %d, %s", form, code, stderr)
		}
		if strings.Contains(stdout, "\x1b") {
			t.Errorf("%s: an escape reaches the terminal", form)
		}
		golden(t, "validate/faults."+form, stdout)
	}
}

func TestValidateExitCodes(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		args  string
		code  int
		want  string
	}{
		{"fine", map[string]string{"fleet.yaml": fleetYAML, "good.yaml": goodYAML}, "", 0, "1 service in 1 file, 0 faults, 0 warnings"},
		{"a fault", map[string]string{"fleet.yaml": fleetYAML, "bad.yaml": badYAML}, ".", 1, "did you mean replicas?"},
		{"no fleet.yaml", map[string]string{"good.yaml": goodYAML}, "", 1, "there is no fleet.yaml"},
		{"a broken fleet.yaml", map[string]string{"fleet.yaml": "kind: Fleet\n"}, "", 1, "fleet.yaml"},
		{"no such folder", nil, "nowhere", 2, "nowhere"},
		{"a file", map[string]string{"fleet.yaml": fleetYAML}, "fleet.yaml", 2, "is not a folder"},
		{"a path that climbs", map[string]string{"fleet.yaml": fleetYAML}, ". --path ../x", 2, "does not lie in"},
		{"a path that is not there", map[string]string{"fleet.yaml": fleetYAML}, ". --path x", 2, "read the manifests"},
		{"a path", map[string]string{"a/fleet.yaml": fleetYAML, "a/good.yaml": goodYAML}, ". --path a", 0, "1 service"},
		// With --path, DIR is the repository: its files can be mounted.
		{"files from DIR", map[string]string{"a/fleet.yaml": fleetYAML, "a/m.yaml": mountYAML, "configs/app.conf": "x"}, ". --path a", 0, "1 service"},
		{"files without a repository", map[string]string{"a/fleet.yaml": fleetYAML, "a/m.yaml": mountYAML, "configs/app.conf": "x"}, "a", 1, "configs/app.conf"},
		// A .git above the fleet marks the top, as a folder or as a file.
		{"files from the work tree", map[string]string{".git/HEAD": "", "a/fleet.yaml": fleetYAML, "a/m.yaml": mountYAML, "configs/app.conf": "x"}, "a", 0, "1 service"},
		{"files from a linked work tree", map[string]string{".git": "gitdir: x", "a/fleet.yaml": fleetYAML, "a/m.yaml": mountYAML, "configs/app.conf": "x"}, "a", 0, "1 service"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, c.files)
			code, stdout, stderr := orpheus(t, dir, append([]string{"validate"}, strings.Fields(c.args)...)...)
			if code != c.code || !strings.Contains(stdout+stderr, c.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s%s", code, c.code, c.want, stdout, stderr)
			}
		})
	}
}

// TestValidateReadsOnlyTheRepository: a link out of it is not followed.
func TestValidateReadsOnlyTheRepository(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	writeFiles(t, outside, map[string]string{"app.conf": "canary"})
	writeFiles(t, dir, map[string]string{"fleet.yaml": fleetYAML, "m.yaml": mountYAML, "configs/x": ""})
	if err := os.Symlink(filepath.Join(outside, "app.conf"), filepath.Join(dir, "configs", "app.conf")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	code, stdout, _ := orpheus(t, dir, "validate")
	if code != 1 || !strings.Contains(stdout, "configs/app.conf") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestExamplesAreValid(t *testing.T) {
	var fleets []string
	for _, pattern := range []string{"../../examples/*/fleet.yaml", "../../examples/*/envs/*/fleet.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no examples: %v", err)
		}
		fleets = append(fleets, found...)
	}
	for _, fleet := range fleets {
		dir := filepath.Dir(fleet)
		if code, stdout, stderr := orpheus(t, ".", "validate", dir); code != 0 {
			t.Errorf("%s: exit code %d\n%s%s", dir, code, stdout, stderr)
		}
	}
}
