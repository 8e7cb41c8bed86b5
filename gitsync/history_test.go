package gitsync_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

func TestApprovals(t *testing.T) {
	repo := newRepo(t)
	approve := func(branch, id string) string {
		return gitsynctest.Must(repo.CommitTo(branch, map[string]string{"n": id}, "x\n\nPrune-Approved: "+id))(t)
	}
	id := func(n int) string { return strings.Repeat(fmt.Sprint(n), 40) }
	one := approve("main", id(1))
	two := approve("main", id(2))
	if err := repo.SetBranch("side", one); err != nil {
		t.Fatal(err)
	}
	side := approve("side", id(3))
	four := approve("main", id(4))
	tree := gitsynctest.Must(repo.Git("", "rev-parse", four+"^{tree}"))(t)
	merge := gitsynctest.Must(repo.Git("", "commit-tree", tree, "-p", four, "-p", side, "-m", "merge"))(t)
	if err := repo.SetBranch("main", merge); err != nil {
		t.Fatal(err)
	}
	r := open(t, gitsync.Config{URL: repo.Dir})
	fetch(t, r)
	for _, tt := range []struct {
		since, tip string
		want       []string
	}{
		{two, merge, []string{id(4), id(3)}}, // both sides of the merge
		{two, two, nil},
		{one, two, []string{id(2)}},
		{"", two, []string{id(2), id(1)}},
		{merge, one, nil}, // backwards
		{side, four, []string{id(4), id(2)}},
	} {
		got, err := r.Approvals(t.Context(), tt.since, tt.tip)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%.7s..%.7s: %.3q, %v, want %.3q", tt.since, tt.tip, got, err, tt.want)
		}
	}
	if _, err := r.Approvals(t.Context(), id(9), merge); !errors.Is(err, gitsync.ErrUnknownCommit) {
		t.Errorf("unknown commit: %v", err)
	}
}

// TestApprovalsAreBounded: a long history is not walked to its end.
func TestApprovalsAreBounded(t *testing.T) {
	repo := newRepo(t)
	var in strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n", 1_700_000_000+i)
	}
	gitsynctest.Must(repo.Git(in.String(), "fast-import", "--quiet"))(t)
	r := open(t, gitsync.Config{URL: repo.Dir})
	tip := fetch(t, r)
	_, err := r.Approvals(t.Context(), "", tip.Hash)
	wantLimit(t, err, "commits in one range")
	parent := gitsynctest.Must(repo.Git("", "rev-parse", tip.Hash+"~3"))(t)
	if _, err := r.Approvals(t.Context(), parent, tip.Hash); err != nil {
		t.Error(err)
	}
}
