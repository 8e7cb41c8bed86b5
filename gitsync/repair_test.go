package gitsync_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// TestAttack09Damage: whatever is broken in the clone's folder, Open succeeds
// and the next look repairs it.
func TestAttack09Damage(t *testing.T) {
	one := func(dir, pattern string) string {
		files, _ := filepath.Glob(filepath.Join(dir, "clone/objects/pack", pattern))
		return files[0]
	}
	change := func(file string, f func([]byte) []byte) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, f(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	half := func(b []byte) []byte { return b[:len(b)/2] }
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for name, damage := range map[string]func(dir string){
		"flipped bit in a pack":   func(dir string) { change(one(dir, "*.pack"), flip) },
		"truncated pack":          func(dir string) { change(one(dir, "*.pack"), half) },
		"empty pack":              func(dir string) { change(one(dir, "*.pack"), func([]byte) []byte { return nil }) },
		"flipped bit in an index": func(dir string) { change(one(dir, "*.idx"), flip) },
		"truncated index":         func(dir string) { change(one(dir, "*.idx"), half) },
		"no index":                func(dir string) { os.Remove(one(dir, "*.idx")) },
		"no pack":                 func(dir string) { os.Remove(one(dir, "*.pack")) },
		"garbage in HEAD": func(dir string) {
			change(filepath.Join(dir, "clone/HEAD"), func([]byte) []byte { return []byte("\x00\xff") })
		},
		"no HEAD":                  func(dir string) { os.Remove(filepath.Join(dir, "clone/HEAD")) },
		"a file instead of clone":  func(dir string) { os.RemoveAll(dir + "/clone"); os.WriteFile(dir+"/clone", []byte("x"), 0o600) },
		"no objects":               func(dir string) { os.RemoveAll(dir + "/clone/objects") },
		"no clone":                 func(dir string) { os.RemoveAll(dir + "/clone") },
		"stopped while exchanging": func(dir string) { os.Rename(dir+"/clone", dir+"/clone.old"); os.Mkdir(dir+"/clone.new", 0o700) },
		"leftovers": func(dir string) {
			os.WriteFile(dir+"/clone/objects/pack/tmp-1.incoming", []byte("PACK"), 0o600)
			os.WriteFile(dir+"/clone/objects/pack/pack-x.idx", []byte("x"), 0o600)
			os.MkdirAll(dir+"/clone/objects/pack/folder/x", 0o700)
		},
	} {
		t.Run(name, func(t *testing.T) {
			repo := newRepo(t)
			id := commit(t, repo, map[string]string{"a": "b", "c/d": strings.Repeat("e", 1000)})
			dir := t.TempDir()
			cfg := gitsync.Config{URL: repo.Dir, Dir: dir, Branch: "main"}
			r, err := gitsync.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			fetch(t, r)
			r.Close()
			damage(dir)
			r = open(t, cfg)
			wantTip(t, r, id, map[string]string{"a": "b", "c/d": strings.Repeat("e", 1000)})
			two := commit(t, repo, map[string]string{"a": "2"})
			wantTip(t, r, two, map[string]string{"a": "2", "c/d": strings.Repeat("e", 1000)})
		})
	}
}

// TestAttack09DamageWhileRunning: a disk that goes bad under a running agent.
func TestAttack09DamageWhileRunning(t *testing.T) {
	repo := newRepo(t)
	noise := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	id := commit(t, repo, map[string]string{"a": fmt.Sprintf("%x", noise)})
	dir := t.TempDir()
	r := open(t, gitsync.Config{URL: repo.Dir, Dir: dir})
	fetch(t, r)
	packs, _ := filepath.Glob(filepath.Join(dir, "clone/objects/pack/*.pack"))
	f, err := os.OpenFile(packs[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := f.Stat()
	if _, err := f.WriteAt(make([]byte, info.Size()-200), 100); err != nil {
		t.Fatal(err)
	}
	f.Close()
	fsys, err := r.FS(id)
	if err == nil {
		_, err = fsys.(interface{ ReadFile(string) ([]byte, error) }).ReadFile("a")
	}
	if !errors.Is(err, gitsync.ErrCorrupt) {
		t.Fatalf("error %v", err)
	}
	wantTip(t, r, id, map[string]string{"a": fmt.Sprintf("%x", noise)})
}

// TestAttack09DamagedDownload: what arrives damaged never gets in.
func TestAttack09DamagedDownload(t *testing.T) {
	srv := gitsynctest.NewServer(t, gitsynctest.Options{})
	repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(t)
	id := commit(t, repo, map[string]string{"a": strings.Repeat("b", 500)})
	dir := t.TempDir()
	r := open(t, gitsync.Config{URL: srv.RepoURL(repo), Dir: dir})
	srv.SetFault(gitsynctest.OnPack(gitsynctest.Damage()))
	if _, err := r.Fetch(t.Context()); err == nil {
		t.Fatal("no error")
	}
	srv.SetFault(gitsynctest.Replace(id, strings.Repeat("d", 40))) // lies about the tip
	if _, err := r.Fetch(t.Context()); err == nil {
		t.Fatal("no error")
	}
	wantEmptyFolder(t, dir)
	srv.SetFault(nil)
	wantTip(t, r, id, map[string]string{"a": strings.Repeat("b", 500)})
}

// TestAttack09Killed kills real processes in the middle of fetches.
func TestAttack09Killed(t *testing.T) {
	if url := os.Getenv("GITSYNC_TEST_CHILD_URL"); url != "" {
		fetchForEver(t, url, os.Getenv("GITSYNC_TEST_CHILD_DIR"))
	}
	repo := newRepo(t)
	files := map[string]string{}
	for i := range 2000 {
		files[fmt.Sprintf("d%d/f%d.yaml", i%20, i)] = strings.Repeat(fmt.Sprint(i), 50)
	}
	id := commit(t, repo, files)
	dir := t.TempDir()
	for round := range 12 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAttack09Killed$")
		cmd.Env = append(os.Environ(), "GITSYNC_TEST_CHILD_URL="+repo.Dir, "GITSYNC_TEST_CHILD_DIR="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		files["a"] = fmt.Sprint(round)
		id = commit(t, repo, map[string]string{"a": files["a"]})
		waitForChange(t, dir)
		time.Sleep(rand.N(150 * time.Millisecond)) // any moment will do: nothing waits for anything here
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		r, err := gitsync.Open(gitsync.Config{URL: repo.Dir, Dir: dir, Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		if tip, err := r.Tip(); err == nil && !r.Has(tip.Hash) {
			t.Fatal("tip is not in the clone")
		}
		r.Close()
		if round%3 == 0 {
			os.RemoveAll(filepath.Join(dir, "clone"))
		}
	}
	wantTip(t, open(t, gitsync.Config{URL: repo.Dir, Dir: dir}), id, files)
}

// waitForChange returns when the child has begun to work in the folder.
func waitForChange(t *testing.T, dir string) {
	t.Helper()
	list := func() (names string) {
		_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			names += path + "\n"
			return nil // what is gone is gone
		})
		return names
	}
	before := list()
	for deadline := time.Now().Add(30 * time.Second); list() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child does nothing")
		}
	}
}

// fetchForEver is the child: it makes the clone anew again and again.
func fetchForEver(t *testing.T, url, dir string) {
	for {
		r, err := gitsync.Open(gitsync.Config{URL: url, Dir: dir, Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.Close()
		os.WriteFile(filepath.Join(dir, "clone/HEAD"), []byte("broken"), 0o600)
	}
}

// TestAttack10DiskFull: on a file system of 1 MiB the first commit fits, the
// second does not; the first stays readable, and room lets the next look in.
func TestAttack10DiskFull(t *testing.T) {
	dir := smallDisk(t, "1m")
	repo := newRepo(t)
	one := commit(t, repo, map[string]string{"a": "b"})
	r := open(t, gitsync.Config{URL: repo.Dir, Dir: filepath.Join(dir, "git")})
	wantTip(t, r, one, map[string]string{"a": "b"})

	noise := make([]byte, 700_000)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, bytes.Repeat([]byte{1}, 500_000), 0o600); err != nil {
		t.Fatal(err)
	}
	two := commit(t, repo, map[string]string{"noise": string(noise)})
	for range 3 {
		if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrStorage) || gitsync.Stalled(err) {
			t.Fatalf("error %v", err)
		}
		wantFiles(t, r, one, map[string]string{"a": "b"})
	}
	os.Remove(ballast)
	wantTip(t, r, two, map[string]string{"a": "b", "noise": string(noise)})
}

// TestAttack44CloneDeleted: somebody deletes the clone's folder under a
// process: it is made again with the next commit.
func TestAttack44CloneDeleted(t *testing.T) {
	repo := newRepo(t)
	commit(t, repo, map[string]string{"a": "1"})
	dir := filepath.Join(t.TempDir(), "state", "git")
	r := open(t, gitsync.Config{URL: repo.Dir, Dir: dir})
	fetch(t, r)
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	id := commit(t, repo, map[string]string{"a": "2"})
	if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrStorage) {
		t.Errorf("error %v, want that the clone cannot be written", err)
	}
	wantTip(t, r, id, map[string]string{"a": "2"})
	r.Close()
	wantTip(t, open(t, gitsync.Config{URL: repo.Dir, Dir: dir}), id, map[string]string{"a": "2"})
}
