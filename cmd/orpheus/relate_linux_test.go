package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestRelate: a commit that cannot be compared is told of once, however often
// the agent asks.
func TestRelate(t *testing.T) {
	repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
	var in strings.Builder
	for _, branch := range []string{"main", "side"} { // two histories, too long to be sure that they never meet
		for i := range 11_000 {
			fmt.Fprintf(&in, "commit refs/heads/%s\ncommitter %s <a> %d +0000\ndata 1\nx\n\n", branch, branch, i+1)
		}
	}
	gitsynctest.Must(repo.Git(in.String(), "fast-import", "--quiet"))(t)
	tip, side := gitsynctest.Must(repo.Tip("main"))(t), gitsynctest.Must(repo.Tip("side"))(t)
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	clone, err := gitsync.Open(gitsync.Config{URL: repo.Dir, Branch: "main", Dir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clone.Close() })
	for _, id := range []string{side, tip} {
		if err := repo.SetBranch("main", id); err != nil {
			t.Fatal(err)
		}
		if _, err := clone.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	said.Reset()
	relate := (&gitSource{repo: clone}).relate(log)
	for range 3 {
		got, err := relate(side, tip)
		for deadline := time.Now().Add(time.Minute); errors.Is(err, errSearching) && time.Now().Before(deadline); {
			got, err = relate(side, tip) // on a slow machine it goes on when asked again
		}
		if got != planner.RelationUnknown || err == nil || !strings.Contains(err.Error(), "commits would have to be read") {
			t.Errorf("relation %d, error %v", got, err)
		}
	}
	if got, err := relate(tip, tip); got != planner.RelationSame || err != nil {
		t.Errorf("relation of a commit to itself is %d, error %v", got, err)
	}
	if n := strings.Count(said.String(), "level=WARN"); n != 1 || !strings.Contains(said.String(), side) {
		t.Errorf("%d warnings: %s", n, &said)
	}
}
