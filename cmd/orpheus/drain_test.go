package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gitAs runs git for a test, as a user who has configured nothing but a name.
func gitAs(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimRight(string(out), "\n")
}

// fleetRemote is a bare repository with the files as its first commit, and a
// checkout of it.
func fleetRemote(t testing.TB, files map[string]string) (remote, dir string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git here")
	}
	for name, value := range map[string]string{
		"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": filepath.Join(t.TempDir(), "none"),
		"GIT_AUTHOR_NAME": "Test", "GIT_AUTHOR_EMAIL": "test@example.com", "GIT_COMMITTER_NAME": "Test", "GIT_COMMITTER_EMAIL": "test@example.com",
	} {
		t.Setenv(name, value)
	}
	remote, dir = filepath.Join(t.TempDir(), "fleet.git"), filepath.Join(t.TempDir(), "fleet")
	gitAs(t, ".", "init", "-q", "--bare", "--initial-branch=main", remote)
	gitAs(t, ".", "init", "-q", "--initial-branch=main", dir)
	writeFiles(t, dir, files)
	gitAs(t, dir, "add", "-A")
	gitAs(t, dir, "commit", "-q", "-m", "first")
	gitAs(t, dir, "remote", "add", "origin", remote)
	gitAs(t, dir, "push", "-q", "-u", "origin", "main")
	return remote, dir
}

const nodeFile = `# The big one.
apiVersion: orpheus/v1
kind: Node
metadata:
  name: node-2
spec:
  # bought in March

  labels: {disk: ssd}   # fast
`

func fleetFiles() map[string]string {
	return map[string]string{"fleet.yaml": fleetYAML, "good.yaml": goodYAML, "nodes/node-2.yaml": nodeFile}
}

// mustRun runs a command line that has to work and returns what it prints.
func mustRun(t *testing.T, dir string, args ...string) string {
	t.Helper()
	code, stdout, stderr := orpheus(t, dir, args...)
	if code != 0 {
		t.Fatalf("orpheus %v: %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// A node drains, and works again: each is one commit that changes one line.
func TestDrainAndBack(t *testing.T) {
	remote, dir := fleetRemote(t, fleetFiles())
	out := mustRun(t, dir, "drain", "node-2", "-m", "new disks")
	if !strings.Contains(out, "changes nodes/node-2.yaml; pushed to main") {
		t.Errorf("%s", out)
	}
	want := strings.Replace(nodeFile, "spec:\n", "spec:\n  drain: true\n", 1)
	if got := gitAs(t, remote, "show", "main:nodes/node-2.yaml") + "\n"; got != want {
		t.Errorf("the file is\n%s", got)
	}
	if got := gitAs(t, remote, "log", "-1", "--format=%s|%b|%an", "main"); got != "drain node-2|new disks\n|Test" {
		t.Errorf("the commit is %q", got)
	}
	head := gitAs(t, dir, "rev-parse", "HEAD")
	for _, verb := range []string{"drain", "cordon"} {
		if out := mustRun(t, dir, verb, "node-2"); !strings.Contains(out, "already: nothing to commit") {
			t.Errorf("%s again: %s", verb, out)
		}
	}
	if gitAs(t, dir, "rev-parse", "HEAD") != head {
		t.Error("a commit without a change")
	}
	mustRun(t, dir, "uncordon", "node-2")
	if got := gitAs(t, remote, "show", "main:nodes/node-2.yaml") + "\n"; got != strings.Replace(nodeFile, "spec:\n", "spec:\n  drain: false\n", 1) {
		t.Errorf("the file is\n%s", got)
	}
	if got := gitAs(t, remote, "log", "-1", "--format=%s%n%b", "main"); !strings.HasPrefix(got, "uncordon node-2\nNode node-2 takes new work again.") {
		t.Errorf("the commit is %q", got)
	}
}

// A node that no manifest describes gets one; uncordon clears both fields.
func TestCordonNewNode(t *testing.T) {
	remote, dir := fleetRemote(t, map[string]string{"prod/fleet.yaml": fleetYAML, "prod/good.yaml": goodYAML, "README": "x"})
	if out := mustRun(t, dir, "uncordon", "node-1"); !strings.Contains(out, "takes new work already") {
		t.Errorf("%s", out)
	}
	// The only fleet is found from the top of the checkout.
	mustRun(t, dir, "cordon", "node-1")
	// And from a folder inside it.
	mustRun(t, filepath.Join(dir, "prod", "nodes"), "drain", "node-1")
	want := "apiVersion: orpheus/v1\nkind: Node\nmetadata:\n  name: node-1\nspec:\n  drain: true\n  unschedulable: true"
	if got := gitAs(t, remote, "show", "main:prod/nodes/node-1.yaml"); got != want {
		t.Errorf("the file is\n%s", got)
	}
	if out := mustRun(t, dir, "validate", "prod"); !strings.Contains(out, "1 node, 0 faults, 0 warnings") {
		t.Errorf("%s", out)
	}
	mustRun(t, ".", "uncordon", "node-1", "-C", dir, "--path", "prod")
	if got := gitAs(t, remote, "show", "main:prod/nodes/node-1.yaml"); strings.Contains(got, "true") {
		t.Errorf("the file is\n%s", got)
	}
	if got := gitAs(t, dir, "status", "--porcelain"); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

// A node that a base describes is changed for the fleet that is meant only, by
// a document that is laid over the base's.
func TestDrainNodeOfABase(t *testing.T) {
	remote, dir := fleetRemote(t, map[string]string{
		"base/nodes/node-1.yaml": strings.Replace(strings.ReplaceAll(nodeFile, "node-2", "node-1"), "spec:\n", "spec:\n  unschedulable: true\n", 1),
		"base/good.yaml":         goodYAML,
		"envs/prod/fleet.yaml":   fleetYAML + "spec: {base: ../../base}\n",
	})
	mustRun(t, dir, "uncordon", "node-1")
	want := "apiVersion: orpheus/v1\nkind: Node\nmetadata:\n  name: node-1\nspec:\n  unschedulable: false"
	if got := gitAs(t, remote, "show", "main:envs/prod/nodes/node-1.yaml"); got != want {
		t.Errorf("the file is\n%s", got)
	}
	mustRun(t, dir, "drain", "node-1")
	if got := gitAs(t, remote, "show", "main:envs/prod/nodes/node-1.yaml"); !strings.Contains(got, "drain: true") {
		t.Errorf("the file is\n%s", got)
	}
	if out := mustRun(t, dir, "validate", "envs/prod"); !strings.Contains(out, "1 node, 0 faults, 0 warnings") {
		t.Errorf("%s", out)
	}
	if out := mustRun(t, dir, "uncordon", "node-1"); !strings.Contains(out, "envs/prod/nodes/node-1.yaml") {
		t.Errorf("%s", out)
	}
}

// What else is staged, changed or new in the checkout stays as it was.
func TestDrainCommitsNothingElse(t *testing.T) {
	for _, node := range []string{"node-2", "node-9"} { // described, and not
		t.Run(node, func(t *testing.T) {
			_, dir := fleetRemote(t, fleetFiles())
			writeFiles(t, dir, map[string]string{"staged.txt": "a", "good.yaml": goodYAML + "# changed\n", "new.txt": "b"})
			gitAs(t, dir, "add", "staged.txt")
			before := gitAs(t, dir, "status", "--porcelain")
			mustRun(t, dir, "drain", node)
			if got := gitAs(t, dir, "show", "--name-only", "--format=", "HEAD"); got != "nodes/"+node+".yaml" {
				t.Errorf("the commit changes %s", got)
			}
			if after := gitAs(t, dir, "status", "--porcelain"); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func TestDrainDryRun(t *testing.T) {
	remote, dir := fleetRemote(t, fleetFiles())
	for node, want := range map[string]string{
		"node-2": "--- a/nodes/node-2.yaml\n+++ b/nodes/node-2.yaml\n",
		"node-3": "--- /dev/null\n+++ b/nodes/node-3.yaml\n",
	} {
		for _, args := range [][]string{{"-C", dir}, {"--repository", remote}} {
			out := mustRun(t, ".", append([]string{"drain", node, "--dry-run"}, args...)...)
			if !strings.Contains(out, want) || !strings.Contains(out, "\n+  drain: true\n") {
				t.Errorf("%v:\n%s", args, out)
			}
		}
	}
	if got := gitAs(t, dir, "status", "--porcelain"); got != "" || gitAs(t, dir, "rev-list", "--count", "HEAD") != "1" {
		t.Errorf("a dry run left behind: %s", got)
	}
}

// Without a checkout the commit is made in a clone that does not stay.
func TestDrainRepository(t *testing.T) {
	remote, dir := fleetRemote(t, fleetFiles())
	t.Setenv("TMPDIR", t.TempDir())
	out := mustRun(t, ".", "drain", "node-2", "--repository", remote, "--branch", "main")
	if !strings.Contains(out, "pushed to main") || gitAs(t, remote, "log", "-1", "--format=%s", "main") != "drain node-2" {
		t.Errorf("%s", out)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// The checkout does not know of it.
	if code, _, stderr := orpheus(t, dir, "cordon", "node-1"); code != 1 || !strings.Contains(stderr, "git pull --rebase && git push") {
		t.Errorf("%d: %s", code, stderr)
	}
	gitAs(t, dir, "pull", "-q", "--rebase")
	gitAs(t, dir, "push", "-q")
	if got := gitAs(t, remote, "log", "--format=%s", "main"); got != "cordon node-1\ndrain node-2\nfirst" {
		t.Errorf("%s", got)
	}
}

// Commits that nobody has pushed do not go out by the way.
func TestDrainDoesNotPushOthers(t *testing.T) {
	remote, dir := fleetRemote(t, fleetFiles())
	gitAs(t, dir, "commit", "-q", "--allow-empty", "-m", "mine")
	code, _, stderr := orpheus(t, dir, "drain", "node-2")
	if code != 1 || !strings.Contains(stderr, "is 1 commit ahead of its upstream") {
		t.Errorf("%d: %s", code, stderr)
	}
	if gitAs(t, dir, "log", "-1", "--format=%s") != "mine" {
		t.Error("a commit was made")
	}
	mustRun(t, dir, "drain", "node-2", "--no-push")
	if gitAs(t, remote, "rev-list", "--count", "main") != "1" {
		t.Error("it was pushed")
	}
	if out := mustRun(t, dir, "drain", "node-2"); !strings.Contains(out, "2 commits of branch main not pushed yet") {
		t.Errorf("%s", out)
	}
	mustRun(t, dir, "cordon", "node-3", "--push")
	if gitAs(t, remote, "rev-list", "--count", "main") != "4" {
		t.Error("it was not pushed")
	}
}

// What is in the way is said, with what to do, and leaves everything as it was.
func TestDrainRefuses(t *testing.T) {
	broken := strings.Replace(nodeFile, "labels:", "lables:", 1)
	rows := []struct {
		name    string
		files   map[string]string
		prepare func(t *testing.T, dir string)
		args    string
		code    int
		want    string
	}{
		{"a name that is none", fleetFiles(), nil, "drain ../x", 2, "is no name of a node"},
		{"a name that is an option", fleetFiles(), nil, "drain -- --x", 2, "is no name of a node"},
		{"no name", fleetFiles(), nil, "drain", 2, "orpheus drain NODE"},
		{"both", fleetFiles(), nil, "drain node-2 --push --no-push", 2, "contradict"},
		{"a branch in a checkout", fleetFiles(), nil, "drain node-2 --branch x", 2, "--branch is for --repository"},
		{"a clone that is not pushed", fleetFiles(), nil, "drain node-2 --repository x --no-push", 2, "remove --no-push"},
		{"no such folder", fleetFiles(), nil, "drain node-2 -C nowhere", 2, "look for a checkout"},
		{"no such path", fleetFiles(), nil, "drain node-2 --path nowhere", 2, "there is no nowhere/fleet.yaml"},
		{"a path that climbs", fleetFiles(), nil, "drain node-2 --path ../x", 2, "does not lie in the repository"},
		{"no fleet", map[string]string{"good.yaml": goodYAML}, nil, "drain node-2", 2, "there is no fleet.yaml"},
		{"several fleets", map[string]string{"a/fleet.yaml": fleetYAML, "b/fleet.yaml": fleetYAML}, nil, "drain node-2", 2, "--path: a, b"},
		{"a broken fleet", map[string]string{"fleet.yaml": "kind: Fleet\n"}, nil, "drain node-2", 1, "agents refuse the fleet as it is here"},
		{"not listed", map[string]string{"fleet.yaml": fleetYAML + "spec: {nodes: [node-1, node-2]}\n"}, nil, "drain node-3", 1, "fleet.yaml lists node-1, node-2"},
		{"a broken node", map[string]string{"fleet.yaml": fleetYAML, "nodes/all.yaml": broken}, nil, "drain node-2", 1, "nodes/all.yaml has faults and may describe node node-2"},
		{"a name that is taken", map[string]string{"fleet.yaml": fleetYAML, "nodes/node-3.yaml": nodeFile}, nil, "drain node-3", 1, "exists and does not describe node node-3"},
		{"changed", fleetFiles(), func(t *testing.T, dir string) {
			writeFiles(t, dir, map[string]string{"nodes/node-2.yaml": nodeFile + "# more\n"})
		}, "drain node-2", 1, "has changes that are not committed"},
		{"staged", fleetFiles(), func(t *testing.T, dir string) {
			writeFiles(t, dir, map[string]string{"nodes/node-2.yaml": nodeFile + "# more\n"})
			gitAs(t, dir, "add", "nodes")
		}, "drain node-2", 1, "has changes that are not committed"},
		{"new and not committed", map[string]string{"fleet.yaml": fleetYAML}, func(t *testing.T, dir string) {
			writeFiles(t, dir, map[string]string{"nodes/node-2.yaml": nodeFile})
		}, "drain node-2", 1, "has changes that are not committed"},
		{"deleted", fleetFiles(), func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "nodes", "node-2.yaml")); err != nil {
				t.Fatal(err)
			}
		}, "drain node-2", 1, "has changes that are not committed"},
		{"ignored", map[string]string{"fleet.yaml": fleetYAML, ".gitignore": "nodes/\n"}, nil, "drain node-2", 1, "ignored by one of your .gitignore files"},
		{"no branch", fleetFiles(), func(t *testing.T, dir string) { gitAs(t, dir, "checkout", "-q", "--detach") }, "drain node-2", 1, "no branch is checked out"},
		{"a hook", fleetFiles(), func(t *testing.T, dir string) { hook(t, dir, "echo not on a Friday >&2; exit 1") }, "drain node-2", 1, "not on a Friday"},
		{"a hook, and a new node", fleetFiles(), func(t *testing.T, dir string) { hook(t, dir, "exit 1") }, "drain node-9", 1, "git commit"},
		{"a hook, and the first node", map[string]string{"fleet.yaml": fleetYAML}, func(t *testing.T, dir string) { hook(t, dir, "exit 1") }, "drain node-9", 1, "git commit"},
		{"a merge under way", fleetFiles(), func(t *testing.T, dir string) {
			gitAs(t, dir, "checkout", "-q", "-b", "other")
			gitAs(t, dir, "commit", "-q", "--allow-empty", "-m", "other")
			gitAs(t, dir, "checkout", "-q", "main")
			gitAs(t, dir, "merge", "-q", "--no-ff", "--no-commit", "other")
		}, "drain node-2", 1, "during a merge"},
		{"not checked out", fleetFiles(), func(t *testing.T, dir string) {
			gitAs(t, dir, "sparse-checkout", "set", "--no-cone", "/*", "!nodes/")
		}, "drain node-2", 1, "is committed but not checked out here"},
		{"no upstream", fleetFiles(), func(t *testing.T, dir string) { gitAs(t, dir, "checkout", "-q", "-b", "try") }, "drain node-2 --push", 1, "has no upstream"},
		{"a link for a folder", map[string]string{"fleet.yaml": fleetYAML, "other/x": ""}, func(t *testing.T, dir string) {
			if err := os.Symlink("other", filepath.Join(dir, "nodes")); err != nil {
				t.Skipf("no symbolic links here: %v", err)
			}
		}, "drain node-2", 1, "beyond a symbolic link"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, dir := fleetRemote(t, row.files)
			if row.prepare != nil {
				row.prepare(t, dir)
			}
			state := func() string {
				tree, err := filepath.Glob(filepath.Join(dir, "*", "*")) // empty folders as well
				folders, _ := filepath.Glob(filepath.Join(dir, "*"))
				return gitAs(t, dir, "status", "--porcelain", "--ignored", "-uall") + gitAs(t, dir, "rev-parse", "HEAD") + gitAs(t, dir, "ls-files", "-s") + fmt.Sprint(tree, folders, err)
			}
			before := state()
			code, stdout, stderr := orpheus(t, dir, strings.Fields(row.args)...)
			if code != row.code || !strings.Contains(stderr, row.want) {
				t.Errorf("%d, want %d with %q:\n%s%s", code, row.code, row.want, stdout, stderr)
			}
			if after := state(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// hook makes every commit run a script first.
func hook(t *testing.T, dir, script string) {
	t.Helper()
	path := filepath.Join(dir, ".git", "hooks", "pre-commit")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// No checkout, no git, a server that says no: what to do is said.
func TestDrainElsewhere(t *testing.T) {
	remote, dir := fleetRemote(t, fleetFiles())
	if code, _, stderr := orpheus(t, t.TempDir(), "drain", "node-2"); code != 2 || !strings.Contains(stderr, "or work without with --repository URL") {
		t.Errorf("no checkout: %d %s", code, stderr)
	}
	if code, _, stderr := orpheus(t, remote, "drain", "node-2"); code != 2 || !strings.Contains(stderr, "lies in no checkout") {
		t.Errorf("bare: %d %s", code, stderr)
	}
	if code, _, stderr := orpheus(t, ".", "drain", "node-2", "--repository", filepath.Join(t.TempDir(), "none")); code != 1 || !strings.Contains(stderr, "git clone") {
		t.Errorf("no repository: %d %s", code, stderr)
	}
	code, _, stderr := orpheus(t, ".", "drain", "node-2", "--repository", "https://bot:canary@127.0.0.1:1/x.git")
	if code != 1 || strings.Contains(stderr, "canary") {
		t.Errorf("a secret: %d %s", code, stderr)
	}
	refuse := filepath.Join(remote, "hooks", "pre-receive")
	if err := os.WriteFile(refuse, []byte("#!/bin/sh\necho main is protected\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = orpheus(t, dir, "drain", "node-2")
	if code != 1 || !strings.Contains(stderr, "is made here but not pushed; push it when that works") || !strings.Contains(stderr, "main is protected") {
		t.Errorf("refused: %d %s", code, stderr)
	}
	code, _, stderr = orpheus(t, ".", "drain", "node-2", "--repository", remote)
	if code != 1 || !strings.Contains(stderr, "nothing is changed") {
		t.Errorf("refused, without a checkout: %d %s", code, stderr)
	}
	t.Setenv("PATH", t.TempDir())
	if code, _, stderr := orpheus(t, dir, "drain", "node-2"); code != 1 || !strings.Contains(stderr, "there is no git program here") {
		t.Errorf("no git: %d %s", code, stderr)
	}
}

// Two people at once: who comes second without a checkout tries again.
func TestDrainTriesAgain(t *testing.T) {
	remote, _ := fleetRemote(t, fleetFiles())
	// The first push finds that main has just moved.
	script := `#!/bin/sh
if [ ! -e moved ]; then
  touch moved
  unset GIT_QUARANTINE_PATH
  new=$(git commit-tree -p main -m other main^{tree}) && git update-ref refs/heads/main "$new"
fi
`
	if err := os.WriteFile(filepath.Join(remote, "hooks", "pre-receive"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, ".", "drain", "node-2", "--repository", remote)
	if got := gitAs(t, remote, "log", "--format=%s", "main"); got != "drain node-2\nother\nfirst" {
		t.Errorf("%s", got)
	}
}

func TestNodeCompletion(t *testing.T) {
	_, dir := fleetRemote(t, map[string]string{"fleet.yaml": fleetYAML + "spec: {nodes: [node-1, node-2]}\n", "nodes/node-2.yaml": nodeFile})
	_, stdout, _ := orpheus(t, dir, "__complete", "drain", "")
	if !strings.HasPrefix(stdout, "node-1\nnode-2\n:4") {
		t.Errorf("%q", stdout)
	}
	for _, flag := range []string{"--dry-run", "--no-push", "--repository", "--path", "--directory", "--message"} {
		if _, stdout, _ := orpheus(t, dir, "__complete", "drain", flag); !strings.Contains(stdout, flag) {
			t.Errorf("%s is not completed: %q", flag, stdout)
		}
	}
	if code, stdout, _ := orpheus(t, dir, "uncordon", "--help"); code != 0 || !strings.Contains(stdout, "orpheus uncordon node-2 --dry-run") || strings.Contains(stdout, "VERB") {
		t.Errorf("%s", stdout)
	}
}

// Hostile manifests reach the terminal as text only.
func TestDrainShowsHarmlessText(t *testing.T) {
	_, dir := fleetRemote(t, map[string]string{"fleet.yaml": fleetYAML, "nodes/node-2.yaml": strings.Replace(nodeFile, "bought", "\u202ebought", 1)})
	out := mustRun(t, dir, "drain", "node-2", "--dry-run")
	if strings.Contains(out, "\u202e") || !strings.Contains(out, fmt.Sprintf(`\u%04x`, 0x202e)) {
		t.Errorf("%q", out)
	}
}
