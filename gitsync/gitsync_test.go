package gitsync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
	"github.com/orpheus-cd/orpheus/planner"
)

// open opens a repository that is closed with the test.
func open(t *testing.T, cfg gitsync.Config) *gitsync.Repository {
	t.Helper()
	if cfg.Branch == "" {
		cfg.Branch = "main"
	}
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

func newRepo(t *testing.T) *gitsynctest.Repo {
	t.Helper()
	return gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "fleet.git")))(t)
}

func commit(t *testing.T, r *gitsynctest.Repo, files map[string]string) string {
	t.Helper()
	return gitsynctest.Must(r.Commit(files, "change"))(t)
}

func fetch(t *testing.T, r *gitsync.Repository) planner.Commit {
	t.Helper()
	c, err := r.Fetch(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantTip fetches and checks commit and files.
func wantTip(t *testing.T, r *gitsync.Repository, id string, files map[string]string) {
	t.Helper()
	if got := fetch(t, r); got.Hash != id {
		t.Fatalf("tip is %s, want %s", got.Hash, id)
	}
	wantFiles(t, r, id, files)
}

func wantFiles(t *testing.T, r *gitsync.Repository, id string, files map[string]string) {
	t.Helper()
	fsys, err := r.FS(id)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, path)
		got[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, files) {
		t.Fatalf("files are %q, want %q", got, files)
	}
}

// TestFollow is a branch's life, over every transport and kind of credential.
func TestFollow(t *testing.T) {
	basic := gitsync.Credentials{Username: "ada", Password: "s3cret/with%and@"}
	bearer := gitsync.Credentials{Token: "t0ken"}
	for _, tt := range []struct {
		name  string
		opts  gitsynctest.Options
		creds gitsync.Credentials
		local bool
	}{
		{name: "local path", local: true},
		{name: "http"},
		{name: "http on loopback with credentials", opts: gitsynctest.Options{Username: basic.Username, Password: basic.Password}, creds: basic},
		{name: "https with own CA", opts: gitsynctest.Options{TLS: true}},
		{name: "https basic", opts: gitsynctest.Options{TLS: true, Username: basic.Username, Password: basic.Password}, creds: basic},
		{name: "https token", opts: gitsynctest.Options{TLS: true, Token: bearer.Token}, creds: bearer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := gitsynctest.NewServer(t, tt.opts)
			repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
			cfg := gitsync.Config{URL: srv.RepoURL(repo)}
			if tt.local {
				cfg.URL = repo.Dir
			}
			if tt.opts.TLS {
				cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
				if err := srv.WriteCA(cfg.CAFile); err != nil {
					t.Fatal(err)
				}
			}
			if tt.creds != (gitsync.Credentials{}) {
				cfg.Credentials = func(context.Context) (gitsync.Credentials, error) { return tt.creds, nil }
			}
			follow(t, repo, open(t, cfg))
		})
	}
}

func follow(t *testing.T, repo *gitsynctest.Repo, r *gitsync.Repository) {
	if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrEmptyRepository) {
		t.Fatalf("empty repository: %v", err)
	}
	one := commit(t, repo, map[string]string{"fleet.yaml": "a", "web/service.yaml": "one"})
	wantTip(t, r, one, map[string]string{"fleet.yaml": "a", "web/service.yaml": "one"})

	two := commit(t, repo, map[string]string{"web/service.yaml": "two", "new.yaml": ""})
	wantTip(t, r, two, map[string]string{"fleet.yaml": "a", "web/service.yaml": "two", "new.yaml": ""})
	wantFiles(t, r, one, map[string]string{"fleet.yaml": "a", "web/service.yaml": "one"}) // still there

	reverted := gitsynctest.Must(repo.Revert())(t)
	wantTip(t, r, reverted, map[string]string{"fleet.yaml": "a", "web/service.yaml": "one"})

	// History is rewritten: a sibling of two, then back to a commit we have.
	if err := repo.SetBranch("main", one); err != nil {
		t.Fatal(err)
	}
	wantTip(t, r, one, map[string]string{"fleet.yaml": "a", "web/service.yaml": "one"})
	forced := commit(t, repo, map[string]string{"fleet.yaml": "forced"})
	wantTip(t, r, forced, map[string]string{"fleet.yaml": "forced", "web/service.yaml": "one"})

	if _, err := repo.CommitTo("other", map[string]string{"x": "y"}, "other"); err != nil {
		t.Fatal(err)
	}
	if err := repo.DeleteBranch("main"); err != nil {
		t.Fatal(err)
	}
	_, err := r.Fetch(t.Context())
	if !errors.Is(err, gitsync.ErrBranchNotFound) || !gitsync.Stalled(err) {
		t.Fatalf("deleted branch: %v", err)
	}
	wantFiles(t, r, forced, map[string]string{"fleet.yaml": "forced", "web/service.yaml": "one"})
	if tip, err := r.Tip(); err != nil || tip.Hash != forced {
		t.Fatalf("Tip after a failed look: %v, %v", tip, err)
	}
}

// TestFSConforms holds the file system against the standard's own suite.
func TestFSConforms(t *testing.T) {
	repo := newRepo(t)
	id := commit(t, repo, map[string]string{"fleet.yaml": "a", "a/b/c.yaml": "c", "a/d.yaml": "", "a.yaml": "x"})
	r := open(t, gitsync.Config{URL: repo.Dir})
	fetch(t, r)
	fsys, err := r.FS(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(fsys, "fleet.yaml", "a/b/c.yaml", "a/d.yaml", "a.yaml"); err != nil {
		t.Fatal(err)
	}
	for path, object := range map[string]string{".": "^{tree}", "a": ":a", "a/d.yaml": ":a/d.yaml"} {
		info, err := fs.Stat(fsys, path)
		if err != nil {
			t.Fatal(err)
		}
		want := gitsynctest.Must(repo.Git("", "rev-parse", id+object))(t)
		if got := info.Sys().(planner.ObjectID).ObjectID(); got != want {
			t.Errorf("object id of %s is %s, want %s", path, got, want)
		}
	}
}

// TestDirEntryObjectID: a listing tells object ids without looking up sizes.
func TestDirEntryObjectID(t *testing.T) {
	repo := newRepo(t)
	id := blob(t, repo, "x")
	fsys := handmade(t, repo, gitsync.Limits{}, gitformat.TreeEntry("100644", "file", id), gitformat.TreeEntry("120000", "link", id))
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{id, ""} {
		if got := entries[i].(planner.ObjectID).ObjectID(); got != want {
			t.Errorf("object id of %s is %q, want %q", entries[i].Name(), got, want)
		}
	}
}

// TestLookCostsOneRequest: a tip that is known costs the advertisement.
func TestLookCostsOneRequest(t *testing.T) {
	srv := gitsynctest.NewServer(t, gitsynctest.Options{})
	repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
	commit(t, repo, map[string]string{"a": "b"})
	r := open(t, gitsync.Config{URL: srv.RepoURL(repo)})
	fetch(t, r)
	before := srv.Requests()
	fetch(t, r)
	if got := srv.Requests() - before; got != 1 {
		t.Fatalf("%d requests, want 1", got)
	}
}

// TestRestartWithoutRemote: what was fetched is there after a restart.
func TestRestartWithoutRemote(t *testing.T) {
	repo := newRepo(t)
	id := commit(t, repo, map[string]string{"a": "b"})
	dir := t.TempDir()
	cfg := gitsync.Config{URL: repo.Dir, Dir: dir, Branch: "main"}
	r, err := gitsync.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, r)
	if _, err := gitsync.Open(cfg); !errors.Is(err, gitsync.ErrLocked) {
		t.Fatalf("second process: %v", err)
	}
	r.Close()
	if err := os.RemoveAll(repo.Dir); err != nil {
		t.Fatal(err)
	}
	r = open(t, cfg)
	if !r.Has(id) || r.Has("0123456789012345678901234567890123456789") {
		t.Fatal("Has is wrong")
	}
	wantFiles(t, r, id, map[string]string{"a": "b"})
	if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrRepositoryNotFound) {
		t.Fatalf("fetch of a missing repository: %v", err)
	}
}

// TestManyCommits: every fetch adds a pack; they do not pile up, and git
// agrees with the result.
func TestManyCommits(t *testing.T) {
	repo := newRepo(t)
	dir := t.TempDir()
	r := open(t, gitsync.Config{URL: repo.Dir, Dir: dir})
	for i := range 60 {
		id := commit(t, repo, map[string]string{"fleet.yaml": "a", "web.yaml": time.Duration(i).String()})
		wantTip(t, r, id, map[string]string{"fleet.yaml": "a", "web.yaml": time.Duration(i).String()})
	}
	packs, _ := filepath.Glob(filepath.Join(dir, "clone/objects/pack/*.pack"))
	if len(packs) > 51 {
		t.Fatalf("%d packs", len(packs))
	}
	clone := &gitsynctest.Repo{Dir: filepath.Join(dir, "clone")}
	if out, err := clone.Git("", "fsck", "--full", "--strict"); err != nil {
		t.Fatal(out, err)
	}
	if n := gitsynctest.Must(clone.Git("", "rev-list", "--count", "HEAD"))(t); n != "60" {
		t.Fatalf("%s commits", n)
	}
}

// TestReadersAndFetches: files are read from several goroutines while fetches
// add packs and make the clone anew.
func TestReadersAndFetches(t *testing.T) {
	repo := newRepo(t)
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("d%d/f%d.yaml", i%4, i)] = strings.Repeat(fmt.Sprintln("line", i), 200)
	}
	one := commit(t, repo, files)
	r := open(t, gitsync.Config{URL: repo.Dir})
	fetch(t, r)
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				fsys, err := r.FS(one)
				if err != nil {
					t.Error(err)
					return
				}
				for name, want := range files {
					if got, err := fs.ReadFile(fsys, name); err != nil || string(got) != want {
						t.Errorf("%s: %d bytes, %v", name, len(got), err)
						return
					}
				}
			}
		})
	}
	for i := range 60 {
		commit(t, repo, map[string]string{"new.yaml": fmt.Sprint(i)})
		fetch(t, r)
	}
	stop()
	readers.Wait()
}

// TestCredentialsAreReadAnew: a rotated token is picked up by the next look.
func TestCredentialsAreReadAnew(t *testing.T) {
	srv := gitsynctest.NewServer(t, gitsynctest.Options{Token: "new"})
	repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
	id := commit(t, repo, map[string]string{"a": "b"})
	token, err := "old", error(nil)
	r := open(t, gitsync.Config{URL: srv.RepoURL(repo), Credentials: func(context.Context) (gitsync.Credentials, error) {
		return gitsync.Credentials{Token: token}, err
	}})
	if _, got := r.Fetch(t.Context()); !errors.Is(got, gitsync.ErrUnauthorized) {
		t.Fatal(got)
	}
	token, err = "new", errors.New("token file is gone")
	if _, got := r.Fetch(t.Context()); !errors.Is(got, gitsync.ErrUnauthorized) {
		t.Fatal(got)
	}
	err = nil
	wantTip(t, r, id, map[string]string{"a": "b"})
}

// TestNoGitProgram: a local repository needs one, and the error says so.
func TestNoGitProgram(t *testing.T) {
	repo := newRepo(t)
	r := open(t, gitsync.Config{URL: repo.Dir})
	t.Setenv("PATH", "")
	if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrUnreachable) || !strings.Contains(err.Error(), "git program") {
		t.Fatal(err)
	}
}

// TestGrownCloneIsMadeAnew: what rewritten history left behind goes away.
func TestGrownCloneIsMadeAnew(t *testing.T) {
	repo := newRepo(t)
	one := commit(t, repo, map[string]string{"a": "b"})
	dir := t.TempDir()
	r := open(t, gitsync.Config{URL: repo.Dir, Dir: dir})
	fetch(t, r)
	noise := make([]byte, 17*mebi)
	source := rand.New(rand.NewSource(1))
	for range 2 {
		if err := repo.SetBranch("main", one); err != nil {
			t.Fatal(err)
		}
		source.Read(noise)
		commit(t, repo, map[string]string{"noise": string(noise)})
		fetch(t, r)
	}
	packs, _ := filepath.Glob(filepath.Join(dir, "clone/objects/pack/*.pack"))
	var size int64
	for _, p := range packs {
		if info, err := os.Stat(p); err == nil {
			size += info.Size()
		}
	}
	if size > 20*mebi {
		t.Errorf("clone has %d MiB", size/mebi)
	}
	wantFiles(t, r, one, map[string]string{"a": "b"})
	two := commit(t, repo, map[string]string{"noise": gitsynctest.Delete, "a": "c"})
	wantTip(t, r, two, map[string]string{"a": "c"})
}
