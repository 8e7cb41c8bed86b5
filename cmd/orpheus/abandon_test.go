package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// A node is given up by a commit, once the records show that it is lost; what
// stands of it then says so, and no longer asks for it.
func TestAbandonCommit(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	remote, dir := fleetRemote(t, map[string]string{"fleet.yaml": fleetYAML, "web.yaml": steppedFile})
	refused := func(name, want string) {
		t.Helper()
		if code, out, stderr := orpheus(t, dir, "abandon", name); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("abandon %s: %d %s%s", name, code, out, stderr)
		}
	}
	refused("node-2", "cannot be told: there are no records")
	w := newRecordWriter(t, remote)
	for _, name := range []planner.NodeName{"node-1", "node-2"} {
		w.node(w.record(name))
	}
	refused("node-2", `node node-2 is live: "orpheus drain node-2" moves what can move`)
	refused("node-9", "no node node-9 has registered")
	w.fence("node-2", "node-1", "node-1", "no answer")
	if out := mustRun(t, dir, "status"); !strings.Contains(out, "1 node fenced: node-2") {
		t.Errorf("a lost node: %s", out)
	}
	if out := mustRun(t, dir, "abandon", "node-2"); !strings.Contains(out, "changes nodes/node-2.yaml; pushed to main") {
		t.Errorf("%s", out)
	}
	want := "apiVersion: orpheus/v1\nkind: Node\nmetadata:\n  name: node-2\nspec:\n  abandoned: true"
	if got := gitAs(t, remote, "show", "main:nodes/node-2.yaml"); got != want {
		t.Errorf("the file is\n%s", got)
	}
	if got := gitAs(t, remote, "log", "-1", "--format=%s|%b", "main"); !strings.HasPrefix(got, "abandon node-2|What node node-2 has in local volumes is given up") {
		t.Errorf("the commit is %q", got)
	}
	if out := mustRun(t, dir, "abandon", "node-2"); !strings.Contains(out, "is given up already") {
		t.Errorf("again: %s", out)
	}
	if out := mustRun(t, dir, "status"); strings.Contains(out, "fenced") {
		t.Errorf("it is asked for still: %s", out)
	}
	if out := mustRun(t, dir, "nodes"); !regexp.MustCompile(`node-2 +fenced, given up `).MatchString(out) {
		t.Errorf("nodes: %s", out)
	}
	back := w.record("node-2")
	back.Epoch, back.Since = 9, 9
	w.node(back)
	if out := mustRun(t, dir, "nodes"); !regexp.MustCompile(`node-2 +live .*it is back, though its manifest has abandoned: true`).MatchString(out) {
		t.Errorf("back: %s", out)
	}
}
