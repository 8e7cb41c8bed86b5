package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// On a node the agent's configuration says where the records are. Older values
// are fetched one by one.
func TestRecordsOfConfiguration(t *testing.T) {
	w, _ := recordedFleet(t)
	file := filepath.Join(t.TempDir(), "agent.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("repository: {url: "+w.remote+"}\nnode: {name: node-1}\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	elsewhere := t.TempDir()
	if out := mustRun(t, elsewhere, "nodes", "--config", file); !strings.Contains(out, "node-1  live           1      1/2    abababab") ||
		!strings.Contains(out, "node-2  live, drained  1") {
		t.Errorf("%s", out)
	}
	out := mustRun(t, elsewhere, "history", "web", "--config", file)
	for _, want := range []string{"web is updated", "web-0 moves from node-3 to node-1", "web is placed", "web-0 is given to node-3"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "not verified") {
		t.Errorf("%s", out)
	}
	write("coordination: none\n")
	if code, _, stderr := orpheus(t, elsewhere, "nodes", "--config", file); code != 1 || !strings.Contains(stderr, "takes part in no fleet") {
		t.Errorf("%d %s", code, stderr)
	}
	if code, _, stderr := orpheus(t, elsewhere, "nodes", "--config", file, "--prefix", "refs/x/"); code != 2 || !strings.Contains(stderr, "--config says where") {
		t.Errorf("%d %s", code, stderr)
	}
}
