package gitsync_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// stepContext counts how often it is asked whether it is over, which a walk
// through a history does at each commit; it is over after so many.
type stepContext struct {
	context.Context
	steps, most int
}

func (c *stepContext) Err() error {
	if c.steps++; c.most > 0 && c.steps > c.most {
		return context.DeadlineExceeded
	}
	return nil
}

// longHistory makes main of 15,000 commits and side of 4,000 from the same root, and returns those of main by their number, and the tip of side.
func longHistory(t *testing.T, repo *gitsynctest.Repo) (at func(n int) string, side string) {
	t.Helper()
	const main, aside = 15_000, 4000
	var in strings.Builder
	add := func(branch string, from, n int) {
		for i := range n {
			fmt.Fprintf(&in, "commit refs/heads/%s\ncommitter a <a> %d +0000\ndata 1\nx\n", branch, from+i)
			if i == 0 && branch != "main" {
				fmt.Fprint(&in, "from refs/heads/root\n")
			}
			if i == 0 && branch == "main" {
				fmt.Fprint(&in, "\nreset refs/heads/root\nfrom refs/heads/main\n")
			}
			fmt.Fprint(&in, "\n")
		}
	}
	add("main", 1, main)
	add("side", main, aside)
	gitsynctest.Must(repo.Git(in.String(), "fast-import", "--quiet"))(t)
	all := strings.Fields(gitsynctest.Must(repo.Git("", "rev-list", "--reverse", "main"))(t))
	if len(all) != main {
		t.Fatalf("%d commits", len(all))
	}
	return func(n int) string { return all[n] }, gitsynctest.Must(repo.Tip("side"))(t)
}

// TestRelationFar: what a long history costs, in commits looked at.
func TestRelationFar(t *testing.T) {
	repo := newRepo(t)
	at, side := longHistory(t, repo)
	r := open(t, gitsync.Config{URL: repo.Dir, Limits: gitsync.Limits{Related: 3000}})
	for _, id := range []string{side, at(14_999)} {
		if err := repo.SetBranch("main", id); err != nil {
			t.Fatal(err)
		}
		fetch(t, r)
	}
	ask := func(name, commit, tip string, want planner.Relation, most int) error {
		t.Helper()
		ctx := &stepContext{Context: context.Background()}
		begin := time.Now()
		got, err := r.Relation(ctx, commit, tip)
		if got != want || ctx.steps > most {
			t.Errorf("%s: %d after %d steps, want %d after at most %d; %v", name, got, ctx.steps, want, most, err)
		}
		t.Logf("%s: %d steps, %v", name, ctx.steps, time.Since(begin))
		return err
	}
	tip := at(14_998)
	ask("ahead by one, asked first", at(14_999), tip, planner.RelationAhead, 2500)
	ask("parent", at(14_997), tip, planner.RelationAncestor, 0)
	ask("root", at(0), tip, planner.RelationAncestor, 17_000)
	for n := 1; n < 14_000; n += 250 {
		ask("any other", at(n), tip, planner.RelationAncestor, 0)
	}
	ask("far ahead", at(10_000), at(7500), planner.RelationAhead, 15_000)
	tip = at(14_999)
	var limit *gitsync.LimitError
	if err := ask("neither found", side, tip, planner.RelationUnknown, 22_000); !errors.As(err, &limit) {
		t.Errorf("error %v", err)
	}
	if err := ask("neither found, again", side, tip, planner.RelationUnknown, 0); !errors.As(err, &limit) {
		t.Errorf("error %v", err)
	}
	ask("the tip has moved back", side, at(14_998), planner.RelationUnknown, 22_000)
}

// TestRelationGoesOn: a question that takes longer than it may is answered
// after some calls, and says until then that it is not.
func TestRelationGoesOn(t *testing.T) {
	repo := newRepo(t)
	at, _ := longHistory(t, repo)
	r := open(t, gitsync.Config{URL: repo.Dir})
	fetch(t, r)
	calls := 0
	for {
		calls++
		got, err := r.Relation(&stepContext{Context: context.Background(), most: 2500}, at(0), at(14_999))
		if got == planner.RelationAncestor && err == nil {
			break
		}
		if got != planner.RelationUnknown || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("call %d: %d, %v", calls, got, err)
		}
		if calls > 20 {
			t.Fatal("no answer")
		}
	}
	t.Logf("%d calls", calls)
}
