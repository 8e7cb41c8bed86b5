package gitsync_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// settle takes away what one command still causes, so that it is not taken for
// the hint of the next: git writes several files, and nothing tells which was
// the last. Waiting too short would let a test pass, never fail.
func settle(hints <-chan struct{}) {
	for {
		select {
		case <-hints:
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}

func wantHint(t *testing.T, hints <-chan struct{}, what string) {
	t.Helper()
	start := time.Now()
	select {
	case _, ok := <-hints:
		if !ok {
			t.Fatal("closed")
		}
		t.Logf("%s: hint %s after the command", what, time.Since(start))
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: no hint", what)
	}
	settle(hints)
}

func TestWatchLocal(t *testing.T) {
	repo := newRepo(t)
	hints, err := gitsync.WatchLocal(t.Context(), repo.Dir)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, repo, map[string]string{"a": "1"})
	wantHint(t, hints, "first commit")
	commit(t, repo, map[string]string{"a": "2"})
	wantHint(t, hints, "commit")
	gitsynctest.Must(repo.CommitTo("team/one", map[string]string{"a": "1"}, "x"))(t)
	wantHint(t, hints, "branch in a new folder")
	gitsynctest.Must(repo.Git("", "pack-refs", "--all"))(t)
	settle(hints)
	gitsynctest.Must(repo.CommitTo("team/one", map[string]string{"a": "2"}, "x"))(t)
	wantHint(t, hints, "branch in a folder that went and came back")
	if err := repo.DeleteBranch("team/one"); err != nil {
		t.Fatal(err)
	}
	wantHint(t, hints, "deletion")
}

func TestWatchLocalWorkTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	bare := newRepo(t)
	commit(t, bare, map[string]string{"a": "1"})
	if err := os.Rename(bare.Dir, filepath.Join(dir, ".git")); err != nil {
		t.Fatal(err)
	}
	bare.Dir = filepath.Join(dir, ".git")
	hints, err := gitsync.WatchLocal(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	id := commit(t, bare, map[string]string{"a": "2"})
	wantHint(t, hints, "commit")
	r := open(t, gitsync.Config{URL: dir})
	wantTip(t, r, id, map[string]string{"a": "2"})
}

func TestWatchLocalNothingThere(t *testing.T) {
	if _, err := gitsync.WatchLocal(t.Context(), t.TempDir()); err == nil {
		t.Fatal("no error")
	}
}
