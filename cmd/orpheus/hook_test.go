package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestHookNode: who is taken for a node.
func TestHookNode(t *testing.T) {
	base := hookFlags{userEnv: "ORPHEUS_USER", nodeUsers: "{node}", unnamed: "refuse", prefix: "refs/orpheus/"}
	for _, tt := range []struct {
		name   string
		change func(*hookFlags)
		user   string
		node   string // "" = not confined, unless an error is wanted
		want   string
	}{
		{"every user is a node", func(*hookFlags) {}, "web-1", "web-1", ""},
		{"a user that cannot be one", func(*hookFlags) {}, "Ada", "", "no node's name"},
		{"nobody", func(*hookFlags) {}, "", "", "does not say who pushes"},
		{"nobody, allowed", func(f *hookFlags) { f.unnamed = "allow" }, "", "", ""},
		{"a node by its prefix", func(f *hookFlags) { f.nodeUsers = "node-{node}" }, "node-web-1", "web-1", ""},
		{"a person beside the prefix", func(f *hookFlags) { f.nodeUsers = "node-{node}" }, "ada", "", ""},
		{"the prefix alone", func(f *hookFlags) { f.nodeUsers = "node-{node}" }, "node-", "", "no node's name"},
		{"prefix and suffix that overlap", func(f *hookFlags) { f.nodeUsers = "aa{node}aa" }, "aaa", "", ""},
		{"a name that leads elsewhere", func(f *hookFlags) { f.nodeUsers = "node-{node}" }, "node-../x", "", "no node's name"},
		{"no place for the name", func(f *hookFlags) { f.nodeUsers = "node" }, "node", "", "{node} once"},
		{"two places", func(f *hookFlags) { f.nodeUsers = "{node}{node}" }, "aa", "", "{node} once"},
		{"a wrong word", func(f *hookFlags) { f.unnamed = "maybe" }, "a", "", "neither"},
		{"a wrong prefix", func(f *hookFlags) { f.prefix = "orpheus" }, "a", "", "refs/orpheus/"},
	} {
		f := base
		tt.change(&f)
		node, err := f.node(tt.user)
		if string(node) != tt.node || (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: node %q, error %v; want %q, %q", tt.name, node, err, tt.node, tt.want)
		}
	}
}

// TestHookPreReceive installs the hook as its help says, and pushes.
func TestHookPreReceive(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git program")
	}
	dir := t.TempDir()
	bare, clone := filepath.Join(dir, "fleet.git"), filepath.Join(dir, "clone")
	git := func(user string, args ...string) (string, error) {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if len(args) > 1 && args[0] != "init" && args[0] != "clone" {
			cmd.Dir = clone
		}
		cmd.Env = append(os.Environ(), "REMOTE_USER="+user, "HOME="+dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@orpheus", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@orpheus", "TZ=UTC")
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := git("", args...)
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return out
	}
	must("init", "--quiet", "--bare", "--initial-branch=main", bare)
	must("clone", "--quiet", bare, clone)
	script := "#!/bin/sh\n" + asMain + "=1 exec '" + os.Args[0] + "' hook pre-receive --user-env REMOTE_USER --node-users 'node-{node}'\n"
	if err := os.WriteFile(filepath.Join(bare, "hooks", "pre-receive"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	record := must("commit-tree", must("hash-object", "-t", "tree", "-w", os.DevNull), "-m", "text")
	for _, tt := range []struct{ user, ref, want string }{
		{"ada", "refs/heads/main", ""},
		{"node-a", "refs/orpheus/status/a", ""},
		{"node-a", "refs/orpheus/status/b", "the push of node a is refused"},
		{"node-a", "refs/heads/other", "may change only refs below refs/orpheus/"},
		{"node-A", "refs/orpheus/status/c", "no node's name"},
		{"", "refs/heads/other", "does not say who pushes"},
	} {
		out, err := git(tt.user, "push", "--quiet", "origin", "+"+record+":"+tt.ref)
		if (tt.want == "") != (err == nil) || !strings.Contains(out, tt.want) {
			t.Errorf("%s pushes %s: %v, said %q, want %q", tt.user, tt.ref, err, out, tt.want)
		}
	}
}
