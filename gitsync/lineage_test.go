package gitsync_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestLineage: many questions about one tip cost one walk, a tip that moves on
// costs what is new, and a branch that was rewritten forgets what it left.
func TestLineage(t *testing.T) {
	srv, err := gitsynctest.Start(gitsynctest.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	repo, err := srv.NewRepo("fleet.git")
	if err != nil {
		t.Fatal(err)
	}
	commit := func(n int, parent string) string {
		args := []string{"commit-tree", "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "-m", fmt.Sprint(n)}
		if parent != "" {
			args = append(args, "-p", parent)
		}
		id, err := repo.Git("", args...)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if _, err := repo.Git("", "hash-object", "-w", "-t", "tree", "/dev/null"); err != nil {
		t.Fatal(err)
	}
	var line []string
	for n := range 30 {
		parent := ""
		if n > 0 {
			parent = line[n-1]
		}
		line = append(line, commit(n, parent))
	}
	aside := commit(100, line[9])
	set := func(id string) {
		if _, err := repo.Git("", "update-ref", "refs/heads/main", id); err != nil {
			t.Fatal(err)
		}
	}
	set(line[19])
	r, err := gitsync.Open(gitsync.Config{URL: srv.RepoURL(repo), Branch: "main", Dir: filepath.Join(t.TempDir(), "clone")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := func(commit, tip string, want planner.Relation) {
		t.Helper()
		if got, err := r.Relation(t.Context(), commit, tip); err != nil || got != want {
			t.Errorf("relation of %.7s to %.7s is %v (%v), want %v", commit, tip, got, err, want)
		}
	}
	fetch := func() {
		t.Helper()
		if _, err := r.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fetch()
	for n := range 19 {
		want(line[n], line[19], planner.RelationAncestor)
	}
	want(line[25], line[19], planner.RelationUnknown)
	set(line[29])
	fetch()
	begin := time.Now()
	for n := range 29 {
		want(line[n], line[29], planner.RelationAncestor)
	}
	t.Logf("29 relations in %v", time.Since(begin))
	want(line[29], line[19], planner.RelationAhead)
	set(aside)
	fetch()
	want(line[9], aside, planner.RelationAncestor)
	for _, n := range []int{10, 19, 29} {
		if got, _ := r.Relation(t.Context(), line[n], aside); got == planner.RelationAncestor || got == planner.RelationSame {
			t.Errorf("commit %d of the branch that was left is taken for an ancestor", n)
		}
	}
}
