package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/examples/ci"
)

// filesBelow lists the files of a folder but Git's own, with slashes.
func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			all = append(all, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func initWrite(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func initGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// mustBeFine has what init made validated.
func mustBeFine(t *testing.T, dir, want string) {
	t.Helper()
	code, stdout, stderr := orpheus(t, dir, "validate")
	if code != 0 || !strings.Contains(stdout, want) {
		t.Errorf("validate: %d\n%s%s", code, stdout, stderr)
	}
}

func TestInitInNoFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "My_Shop")
	code, stdout, stderr := orpheus(t, "", "init", dir)
	if code != 0 {
		t.Fatalf("%d: %s", code, stderr)
	}
	want := []string{".gitignore", ".orpheus/schema.json", ".vscode/settings.json", "README.md", "fleet.yaml", "services/hello.yaml"}
	if got := filesBelow(t, dir); !slices.Equal(got, want) {
		t.Errorf("wrote %v", got)
	}
	if branch := initGit(t, dir, "symbolic-ref", "HEAD"); branch != "refs/heads/main" {
		t.Errorf("on %s", branch)
	}
	for _, want := range []string{"services/hello.yaml", "git add . ", "orpheus dev up", "--ci github", "agent install --repository URL"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("does not say %q:\n%s", want, stdout)
		}
	}
	if fleet, _ := os.ReadFile(filepath.Join(dir, "fleet.yaml")); !strings.Contains(string(fleet), "name: my-shop\n") {
		t.Errorf("fleet.yaml:\n%s", fleet)
	}
	mustBeFine(t, dir, "1 service in 1 file, 0 faults, 0 warnings")

	// Again: all that is in the way is named, and nothing is changed.
	if err := os.Remove(filepath.Join(dir, "README.md")); err != nil {
		t.Fatal(err)
	}
	before := filesBelow(t, dir)
	code, _, stderr = orpheus(t, dir, "init")
	if code != 1 || !strings.Contains(stderr, "fleet.yaml is there already; orpheus validate checks this fleet") || !slices.Equal(filesBelow(t, dir), before) {
		t.Errorf("again: %d, %s, %v", code, stderr, filesBelow(t, dir))
	}
}

// In a repository with more in it, init adds its folder and leaves what is
// there.
func TestInitInARepository(t *testing.T) {
	type remote struct {
		*ci.Forge
		address string
	}
	var remotes []remote
	for _, f := range ci.Forges() {
		remotes = append(remotes, remote{&f, "git@" + f.Name + ".example.com:team/shop.git"}, remote{&f, "https://" + f.Name + ".example.com/team/shop.git"})
	}
	for _, forge := range remotes {
		dir := t.TempDir()
		initGit(t, dir, "init", "-q")
		initGit(t, dir, "remote", "add", "origin", forge.address)
		initWrite(t, dir, ".gitignore", "mine\n")
		initWrite(t, dir, "charts/values.yaml", "a: b\n")
		code, stdout, stderr := orpheus(t, dir, "init", "--path", "fleets/prod")
		if code != 0 {
			t.Fatalf("%d: %s", code, stderr)
		}
		if mine, _ := os.ReadFile(filepath.Join(dir, ".gitignore")); string(mine) != "mine\n" || !strings.Contains(stdout, "Left as it was: .gitignore.") {
			t.Errorf(".gitignore is %q\n%s", mine, stdout)
		}
		for _, want := range []string{"fleets/prod/fleet.yaml", "fleets/prod/services/hello.yaml", forge.File} {
			if !slices.Contains(filesBelow(t, dir), want) {
				t.Errorf("no %s in %v", want, filesBelow(t, dir))
			}
		}
		job, _ := os.ReadFile(filepath.Join(dir, forge.File))
		if n := strings.Count(string(job), "orpheus plan --path fleets/prod "); n != 1 {
			t.Errorf("the job plans %d times:\n%s", n, job)
		}
		hello, _ := os.ReadFile(filepath.Join(dir, "fleets/prod/services/hello.yaml"))
		if !strings.HasPrefix(string(hello), "# yaml-language-server: $schema=../../../.orpheus/schema.json\n") {
			t.Errorf("begins with %.80q", hello)
		}
		mustBeFine(t, filepath.Join(dir, "fleets/prod"), "0 faults")

		// A second fleet beside it.
		if code, _, stderr := orpheus(t, dir, "init", "--path", "fleets/staging", "--ci", "none"); code != 0 {
			t.Errorf("a second fleet: %s", stderr)
		}
		mustBeFine(t, filepath.Join(dir, "fleets/staging"), "0 faults")
	}
}

// What lies in the folder becomes part of the fleet, or is ignored.
func TestInitBesideOtherFiles(t *testing.T) {
	dir := t.TempDir()
	initWrite(t, dir, "compose.yaml", "services:\n  web:\n    image: nginx:1.29\n    ports: [\"8080:80\"]\n")
	initWrite(t, dir, "odd [name]*.yml", "a: b\n")
	code, stdout, stderr := orpheus(t, dir, "init", "--name", "shop")
	if code != 0 {
		t.Fatalf("%d: %s%s", code, stdout, stderr)
	}
	if slices.Contains(filesBelow(t, dir), exampleAt) {
		t.Error("an example beside the user's own services")
	}
	fleet, _ := os.ReadFile(filepath.Join(dir, "fleet.yaml"))
	if !strings.Contains(string(fleet), `compose: ["compose.yaml"]`) || !strings.Contains(string(fleet), "name: shop\n") {
		t.Errorf("fleet.yaml:\n%s", fleet)
	}
	mustBeFine(t, dir, "1 service in 1 file, 0 faults")

	// A manifest of the user's is not given company.
	dir = filepath.Join(t.TempDir(), "0123") // no number
	initWrite(t, dir, "web.yaml", "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec: {image: \"web:1\"}\n")
	if code, _, stderr := orpheus(t, dir, "init"); code != 0 || slices.Contains(filesBelow(t, dir), exampleAt) {
		t.Errorf("%d: %s %v", code, stderr, filesBelow(t, dir))
	}
}

func TestInitRefuses(t *testing.T) {
	for _, row := range []struct {
		args string
		code int
		want string
	}{
		{"--path ../outside", 2, "does not lie in"},
		{"--path /etc", 2, "does not lie in"},
		{"--path .hidden/fleet", 2, "begin with a dot"},
		{"--ci jenkins", 2, "write auto or github"},
		{"--name My_Shop", 2, "write it like my-shop"},
		{"a b", 2, "write orpheus init"},
		{"--ci github --path a$(touch)b", 2, "cannot be named in a job"},
	} {
		dir := t.TempDir()
		code, _, stderr := orpheus(t, dir, append([]string{"init"}, strings.Fields(row.args)...)...)
		if code != row.code || !strings.Contains(stderr, row.want) || len(filesBelow(t, dir)) > 0 {
			t.Errorf("init %s: %d, %s, %v", row.args, code, stderr, filesBelow(t, dir))
		}
	}
}

// A link in the repository leads nobody out of it.
func TestInitFollowsNoLinkOut(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	initGit(t, dir, "init", "-q")
	if err := os.Symlink(outside, filepath.Join(dir, "fleet")); err != nil {
		t.Skip(err)
	}
	code, _, stderr := orpheus(t, dir, "init", "--path", "fleet")
	if code == 0 || len(filesBelow(t, outside)) > 0 {
		t.Errorf("%d, %s: wrote %v", code, stderr, filesBelow(t, outside))
	}
}

// The settings are what the editor reads.
func TestInitEditorSettings(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := orpheus(t, dir, "init"); code != 0 {
		t.Fatal(stderr)
	}
	text, err := os.ReadFile(filepath.Join(dir, ".vscode/settings.json"))
	var settings struct {
		Schemas map[string][]string `json:"yaml.schemas"`
	}
	if err != nil || json.Unmarshal(text, &settings) != nil || !slices.Contains(settings.Schemas["./"+schemaAt], "services/**/*.yaml") {
		t.Errorf("%v: %s", err, text)
	}
	_, schema, _ := orpheus(t, dir, "schema")
	if kept, _ := os.ReadFile(filepath.Join(dir, schemaAt)); string(kept) != schema {
		t.Error("the schema is not what orpheus schema prints")
	}
}

// A fleet that is there already gets the job alone, as init says.
func TestInitAddsTheJob(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := orpheus(t, dir, "init"); code != 0 {
		t.Fatal(stderr)
	}
	if err := os.Remove(filepath.Join(dir, "README.md")); err != nil {
		t.Fatal(err)
	}
	before := filesBelow(t, dir)
	code, stdout, stderr := orpheus(t, dir, "init", "--ci", "gitlab")
	if got := filesBelow(t, dir); code != 0 || len(got) != len(before)+1 || !slices.Contains(got, ".gitlab-ci.yml") {
		t.Errorf("%d: %s%s\nwrote %v", code, stdout, stderr, got)
	}
	if code, _, stderr := orpheus(t, dir, "init", "--ci", "gitlab"); code != 1 || !strings.Contains(stderr, ".gitlab-ci.yml is there already") {
		t.Errorf("again: %d, %s", code, stderr)
	}
}

// The commands that init prints work where it was called, and commit what it
// has written and no other change.
func TestInitNextStepsWork(t *testing.T) {
	top := t.TempDir()
	initGit(t, top, "init", "-q")
	initGit(t, top, "config", "user.email", "a@example.com")
	initGit(t, top, "config", "user.name", "a")
	initGit(t, top, "remote", "add", "origin", "https://me:token@git.example.com/team/it.git")
	initWrite(t, top, "mine.txt", "one\n")
	initGit(t, top, "add", ".")
	initGit(t, top, "commit", "-qm", "mine")
	initWrite(t, top, "mine.txt", "two\n")
	initWrite(t, top, "the fleet/compose.yml", "services:\n  web: {image: \"nginx:1.29\"}\n")
	initWrite(t, top, "the fleet/compose.override.yml", "services: {web: {build: .}}\n")
	initWrite(t, top, "the fleet/deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\n")
	here := filepath.Join(top, "the fleet")
	code, stdout, stderr := orpheus(t, here, "init")
	if code != 0 {
		t.Fatalf("%d: %s%s", code, stdout, stderr)
	}
	for _, want := range []string{"compose.override.yml\" is not read", "Not read: compose.override.yml, deployment.yaml", "orpheus convert", "sudo orpheus dev up --repository 'the fleet'",
		"--repository https://git.example.com/team/it.git --path 'the fleet'"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("does not say %q:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "token") {
		t.Errorf("a password is shown:\n%s", stdout)
	}
	var script []string
	for line := range strings.Lines(stdout) {
		if command, ok := strings.CutPrefix(line, "  $ "); ok && (strings.HasPrefix(command, "cd ") || strings.HasPrefix(command, "git ")) {
			script = append(script, command)
		}
	}
	sh := exec.Command("sh", "-ec", strings.Join(script, ""))
	sh.Dir = here
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", script, err, out)
	}
	if left := initGit(t, top, "status", "--porcelain"); strings.Contains(left, "fleet.yaml") || !strings.Contains(left, "mine.txt") {
		t.Errorf("left are\n%s", left)
	}
	mustBeFine(t, here, "1 service in 1 file, 0 faults")
}

// Where nothing may be written, that is what is said.
func TestInitWithoutPermission(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init"}, {"init", "sub"}} {
		if code, _, stderr := orpheus(t, dir, args...); code == 0 || !strings.Contains(strings.ToLower(stderr), "permission denied") {
			t.Errorf("%v: %d, %s", args, code, stderr)
		}
	}
}
