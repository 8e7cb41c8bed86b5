package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPurge removes what agents keep, and nothing of anybody else.
func TestPurge(t *testing.T) {
	top := t.TempDir()
	at := func(name string) string { return filepath.Join(top, name) }
	put := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if err := os.MkdirAll(filepath.Dir(at(name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at(name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var said bytes.Buffer
	purge := func(state, run string) error {
		said.Reset()
		r := &removal{installation: &installation{env: &env{stdout: &said}}}
		return r.purgeFolders(config{StateDir: state, RunDir: run, Plugins: []pluginConfig{{Name: "sandbox"}}})
	}

	// An agent's own, with its run folder in it, as that of a user.
	put("own/life", "own/state.json.unreadable", "own/events.jsonl.1", "own/node.key", "own/volumes/a/b", "own/run/orpheus.sock",
		"own/run/containerd/exec/x", "own/run/network/netns/y", "own/run/plugins/sandbox/z")
	for range 2 { // may be repeated
		if err := purge(at("own"), at("own/run")); err != nil || exists(at("own")) || said.Len() > 0 {
			t.Errorf("the agent's own: %v, %s", err, &said)
		}
	}

	// Folders that others use, too. Names that an agent's folders have are not
	// enough, nor is the agent a reason to remove the rest.
	put("lib/network/interfaces", "lib/containerd/state.db", "lib/lock/x", "share/state.json", "share/volumes/a", "share/customers.db",
		"run/containerd/containerd.sock", "run/containerd/exec/x", "run/network/ifstate", "run/orpheus.sock", "run/plugins/others/x")
	if err := os.Symlink(at("lib"), at("link")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{at("lib"), at("link"), "/proc", "/"} {
		if err := purge(dir, at("none")); err == nil || !strings.Contains(err.Error(), "does not look like an agent's folder") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := purge(at("share"), at("run")); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"kept  " + at("share") + ": it holds what is not the agent's: customers.db\n",
		"kept  " + at("run") + ": it holds what is not the agent's: containerd, network, plugins\n",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in %s", want, &said)
		}
	}
	for name, there := range map[string]bool{
		"lib/network/interfaces": true, "lib/containerd/state.db": true, "lib/lock/x": true, "share/customers.db": true,
		"run/containerd/containerd.sock": true, "run/network/ifstate": true, "run/plugins/others/x": true,
		"share/state.json": false, "share/volumes": false, "run/orpheus.sock": false, "run/containerd/exec": false,
	} {
		if exists(at(name)) != there {
			t.Errorf("%s is there: %t, want %t", name, !there, there)
		}
	}
}
