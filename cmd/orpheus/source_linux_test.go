package main

import (
	"path/filepath"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// TestLastRead: of one commit, for which no server is asked any more, it is not
// said that it was read just now.
func TestLastRead(t *testing.T) {
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	tip := gitsynctest.Must(repo.Commit(map[string]string{"fleet.yaml": fleetYAML}, "one"))(t)
	for _, config := range []repositoryConfig{{Branch: "main"}, {Branch: "main", Commit: tip}} {
		c := gitsync.Config{URL: repo.Dir, Branch: config.Branch, Commit: config.Commit, Dir: t.TempDir()}
		if config.Commit != "" {
			c.Branch = ""
		}
		clone, err := gitsync.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { clone.Close() })
		source := &gitSource{repo: clone, config: config}
		if _, err := source.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if told := !source.Describe().LastRead.IsZero(); told != (config.Commit == "") {
			t.Errorf("commit %q: the last look is told: %t", config.Commit, told)
		}
	}
}
