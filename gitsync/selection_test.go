package gitsync_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
)

// openSelected opens a repository without the branch that open fills in.
func openSelected(t *testing.T, cfg gitsync.Config) *gitsync.Repository {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	r, err := gitsync.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func git(t *testing.T, r *gitsynctest.Repo, args ...string) string {
	t.Helper()
	return gitsynctest.Must(r.Git("", args...))(t)
}

// tag makes a tag, annotated or not.
func tag(t *testing.T, r *gitsynctest.Repo, name, id string, annotated bool) {
	t.Helper()
	if annotated {
		git(t, r, "-c", "user.name=a", "-c", "user.email=a@example.com", "tag", "--force", "--annotate", "--message", "release", name, id)
		return
	}
	git(t, r, "tag", "--force", name, id)
}

// eachTransport runs f against one repository over every transport, in both
// versions of the protocol.
func eachTransport(t *testing.T, f func(t *testing.T, repo *gitsynctest.Repo, cfg gitsync.Config)) {
	t.Run("local path", func(t *testing.T) {
		repo := newRepo(t)
		f(t, repo, gitsync.Config{URL: repo.Dir})
	})
	for _, only0 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http, version 0 only: %v", only0), func(t *testing.T) {
			srv := gitsynctest.NewServer(t, gitsynctest.Options{})
			repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
			if only0 {
				srv.SetFault(gitsynctest.OnlyVersion0())
			}
			f(t, repo, gitsync.Config{URL: srv.RepoURL(repo)})
		})
		t.Run(fmt.Sprintf("ssh, version 0 only: %v", only0), func(t *testing.T) {
			srv := newSSHD(t, gitsynctest.SSHDOptions{OnlyVersion0: only0})
			repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
			f(t, repo, sshConfig(srv, repo))
		})
	}
}

// TestSelectTag follows one tag: lightweight, annotated, moved, gone.
func TestSelectTag(t *testing.T) {
	eachTransport(t, func(t *testing.T, repo *gitsynctest.Repo, cfg gitsync.Config) {
		first := commit(t, repo, map[string]string{"a": "1"})
		second := commit(t, repo, map[string]string{"a": "2"})
		tag(t, repo, "v1", first, false)
		tag(t, repo, "v1x", second, false)
		cfg.Tag = "v1"
		r := openSelected(t, cfg)
		wantTip(t, r, first, map[string]string{"a": "1"})
		if got := r.Following(); got != "tag v1" {
			t.Errorf("following %q", got)
		}
		tag(t, repo, "v1", second, true)
		wantTip(t, r, second, map[string]string{"a": "2"})
		git(t, repo, "tag", "--delete", "v1")
		_, err := r.Fetch(t.Context())
		if !errors.Is(err, gitsync.ErrTagNotFound) || !gitsync.Stalled(err) || !strings.Contains(err.Error(), "v1x") {
			t.Errorf("error %v, want that there is no such tag, but v1x", err)
		}
		wantFiles(t, r, second, map[string]string{"a": "2"}) // what was there stays
	})
}

// TestSelectRange follows the highest version in a range, as tags come and go.
func TestSelectRange(t *testing.T) {
	eachTransport(t, func(t *testing.T, repo *gitsynctest.Repo, cfg gitsync.Config) {
		ids := map[string]string{}
		for i, name := range []string{"v1.1.9", "v1.2.0", "1.10.0", "v1.9.0", "v1.11.0-rc.1", "v2.0.0", "v1.12", "latest", "v1.13.0x"} {
			ids[name] = commit(t, repo, map[string]string{"a": name})
			tag(t, repo, name, ids[name], i%2 == 0)
		}
		cfg.Semver = ">=1.2 <2"
		r := openSelected(t, cfg)
		if got := r.Following(); got != "tags in >=1.2 <2" {
			t.Errorf("following %q before the first look", got)
		}
		wantTip(t, r, ids["1.10.0"], map[string]string{"a": "1.10.0"})
		if got := r.Following(); got != "tag 1.10.0 of range >=1.2 <2" {
			t.Errorf("following %q", got)
		}
		tag(t, repo, "v1.14.3", ids["v2.0.0"], true)
		wantTip(t, r, ids["v2.0.0"], map[string]string{"a": "v2.0.0"})
		// The best is gone: the next best is told, whoever follows must judge it.
		git(t, repo, "tag", "--delete", "v1.14.3", "1.10.0")
		wantTip(t, r, ids["v1.9.0"], map[string]string{"a": "v1.9.0"})

		cfg.Semver, cfg.Dir = ">=1.2-0 <2", t.TempDir()
		wantTip(t, openSelected(t, cfg), ids["v1.11.0-rc.1"], map[string]string{"a": "v1.11.0-rc.1"})
		cfg.Semver, cfg.Dir = "^3", t.TempDir()
		_, err := openSelected(t, cfg).Fetch(t.Context())
		if !errors.Is(err, gitsync.ErrTagNotFound) || !strings.Contains(err.Error(), "^3") || !strings.Contains(err.Error(), "latest") {
			t.Errorf("error %v, want that no tag is in the range", err)
		}
	})
}

// TestSelectCommit follows one commit: from servers that give it away by its
// id, and from those that do not.
func TestSelectCommit(t *testing.T) {
	eachTransport(t, func(t *testing.T, repo *gitsynctest.Repo, cfg gitsync.Config) {
		commit(t, repo, map[string]string{"a": "1"})
		wanted := commit(t, repo, map[string]string{"a": "2"})
		commit(t, repo, map[string]string{"a": "3"})
		aside := gitsynctest.Must(repo.CommitTo("side", map[string]string{"b": "1"}, "aside"))(t)
		cfg.Commit, cfg.Branch = wanted, "main"
		r := openSelected(t, cfg)
		wantTip(t, r, wanted, map[string]string{"a": "2"})
		commit(t, repo, map[string]string{"a": "4"})
		wantTip(t, r, wanted, map[string]string{"a": "2"})

		// Of another branch: only a server that gives away any tip has it.
		cfg.Commit, cfg.Dir = aside, t.TempDir()
		if got, err := openSelected(t, cfg).Fetch(t.Context()); err == nil && got.Hash != aside || err != nil && !errors.Is(err, gitsync.ErrCommitNotFound) {
			t.Errorf("commit %s, error %v", got.Hash, err)
		}
		cfg.Commit, cfg.Dir = strings.Repeat("5", 40), t.TempDir()
		missing := openSelected(t, cfg)
		for range 2 { // the second time the branch is not downloaded again
			if _, err := missing.Fetch(t.Context()); !errors.Is(err, gitsync.ErrCommitNotFound) || !gitsync.Stalled(err) {
				t.Errorf("error %v, want that there is no such commit", err)
			}
		}
	})
}

// TestSelectCommitNeedsNoServer: a commit that is there is followed without a
// request, also by the next process.
func TestSelectCommitNeedsNoServer(t *testing.T) {
	srv := gitsynctest.NewServer(t, gitsynctest.Options{})
	repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
	id := commit(t, repo, map[string]string{"a": "1"})
	cfg := gitsync.Config{URL: srv.RepoURL(repo), Commit: id, Dir: t.TempDir()}
	r := openSelected(t, cfg)
	wantTip(t, r, id, map[string]string{"a": "1"})
	r.Close()
	before := srv.Requests()
	wantTip(t, openSelected(t, cfg), id, map[string]string{"a": "1"})
	if n := srv.Requests() - before; n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// TestSelectTagOfNoCommit: a tag may stand for a file.
func TestSelectTagOfNoCommit(t *testing.T) {
	repo := newRepo(t)
	commit(t, repo, map[string]string{"a": "1"})
	tag(t, repo, "v1", "main:a", true)
	r := openSelected(t, gitsync.Config{URL: repo.Dir, Tag: "v1"})
	for range 2 {
		if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrTagNotFound) || !strings.Contains(err.Error(), "no commit") {
			t.Errorf("error %v, want that the tag stands for no commit", err)
		}
	}
	id := commit(t, repo, map[string]string{"a": "2"})
	tag(t, repo, "v1", id, true)
	wantTip(t, r, id, map[string]string{"a": "2"})
}

// TestAttack03TagFlood: of a hundred thousand tags one is kept; more are over
// the limit, as are endless ones.
func TestAttack03TagFlood(t *testing.T) {
	id := strings.Repeat("a", 40)
	flood := func(n int) string {
		return serveHostile(t, &gitsynctest.Hostile{Tip: id, Pack: func(io.Writer) {}, Refs: func(w io.Writer) {
			for i := range n {
				fmt.Fprint(w, gitformat.Packet(fmt.Sprintf("%s refs/tags/v1.%d.0\n", id, i)),
					gitformat.Packet(fmt.Sprintf("%s refs/tags/v1.%d.0^{}\n", id, i)))
			}
		}})
	}
	for _, tt := range []struct {
		tags int
		over bool
	}{{99_000, false}, {150_000, true}} {
		r := openSelected(t, gitsync.Config{URL: flood(tt.tags), Semver: "1.x"})
		var err error
		got := allocated(func() { _, err = r.Fetch(t.Context()) })
		var limit *gitsync.LimitError
		if errors.As(err, &limit) != tt.over || err == nil {
			t.Errorf("%d tags: error %v, want over the limit: %v", tt.tags, err, tt.over)
		}
		if got > 300*mebi {
			t.Errorf("%d tags: allocated %d MiB", tt.tags, got/mebi)
		}
	}
}

// TestSelectionFaults: what cannot be meant is told, all at once.
func TestSelectionFaults(t *testing.T) {
	id := strings.Repeat("a", 40)
	for _, tt := range []struct {
		selection gitsync.Selection
		want      []string // nil = it is fine
	}{
		{gitsync.Selection{Branch: "main"}, nil},
		{gitsync.Selection{Tag: "v1"}, nil},
		{gitsync.Selection{Semver: ">=1.2 <2"}, nil},
		{gitsync.Selection{Commit: id}, nil},
		{gitsync.Selection{Commit: id, Branch: "main"}, nil},
		{gitsync.Selection{}, []string{"branch is missing"}},
		{gitsync.Selection{Tag: "v1", Semver: "^1"}, []string{"tag and semver are given together"}},
		{gitsync.Selection{Tag: "v1", Semver: "^1", Commit: id}, []string{"tag and semver and commit"}},
		{gitsync.Selection{Tag: "v1", Branch: "main"}, []string{"branch and tag"}},
		{gitsync.Selection{Tag: "-x"}, []string{"not the name of a tag"}},
		{gitsync.Selection{Tag: "refs/tags/v1"}, []string{"not the name of a tag"}},
		{gitsync.Selection{Semver: "a lot"}, []string{"no range of versions"}},
		{gitsync.Selection{Commit: "abc1234"}, []string{"full object id"}},
		{gitsync.Selection{Commit: "abc", Branch: "-x"}, []string{"full object id", "not a branch name"}},
	} {
		err := tt.selection.Validate()
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%+v: error %v", tt.selection, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want %q", tt.selection, err, want)
			}
		}
	}
}
