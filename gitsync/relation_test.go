package gitsync_test

import (
	"fmt"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

func TestRelation(t *testing.T) {
	repo := newRepo(t)
	r := open(t, gitsync.Config{URL: repo.Dir})
	var main []string
	for i := range 6 {
		main = append(main, commit(t, repo, map[string]string{"a": fmt.Sprint(i)}))
	}
	fetch(t, r)
	// A side branch from main[2], merged into what becomes main.
	if err := repo.SetBranch("main", main[2]); err != nil {
		t.Fatal(err)
	}
	side := commit(t, repo, map[string]string{"b": "side"})
	fetch(t, r)
	tree := gitsynctest.Must(repo.Git("", "rev-parse", side+"^{tree}"))(t)
	// The merge claims to be older than everything below it.
	merge := gitsynctest.Must(repo.Git("", "-c", "user.useConfigOnly=false", "commit-tree", tree, "-p", main[5], "-p", side, "-m", "merge"))(t)
	old := gitsynctest.Must(repo.WriteObject(1, []byte("tree "+tree+"\nparent "+merge+"\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nold clock\n")))(t)
	if err := repo.SetBranch("main", old); err != nil {
		t.Fatal(err)
	}
	fetch(t, r)
	// History rewritten: another root.
	root := gitsynctest.Must(repo.Git("", "commit-tree", tree, "-m", "another root"))(t)
	if err := repo.SetBranch("main", root); err != nil {
		t.Fatal(err)
	}
	fetch(t, r)

	gone := "0123456789012345678901234567890123456789"
	for _, tt := range []struct {
		name        string
		commit, tip string
		want        planner.Relation
	}{
		{"the same", main[3], main[3], planner.RelationSame},
		{"none", "", main[3], planner.RelationSame},
		{"the same, not in the clone", gone, gone, planner.RelationSame},
		{"parent", main[2], main[3], planner.RelationAncestor},
		{"root", main[0], main[5], planner.RelationAncestor},
		{"child", main[3], main[2], planner.RelationAhead},
		{"tip of root", main[5], main[0], planner.RelationAhead},
		{"branches from one commit", side, main[5], planner.RelationAside},
		{"branches, the other way", main[5], side, planner.RelationAside},
		{"through a merge", side, merge, planner.RelationAncestor},
		{"below a commit of an old clock", main[1], old, planner.RelationAncestor},
		{"a commit of an old clock", old, main[1], planner.RelationAhead},
		{"beside a commit of an old clock", root, old, planner.RelationAside},
		{"no history in common", root, main[5], planner.RelationAside},
		{"not in the clone", gone, main[5], planner.RelationUnknown},
		{"tip not in the clone", main[5], gone, planner.RelationUnknown},
	} {
		if got, err := r.Relation(t.Context(), tt.commit, tt.tip); err != nil || got != tt.want {
			t.Errorf("%s: %d, %v; want %d", tt.name, got, err, tt.want)
		}
	}
	if _, err := r.Relation(t.Context(), "main", main[0]); err == nil {
		t.Error("no error for a name")
	}
}
