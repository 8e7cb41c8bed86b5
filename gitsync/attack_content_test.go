package gitsync_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
)

// handmade opens the tree of a commit whose root is made of entries.
func handmade(t *testing.T, repo *gitsynctest.Repo, limits gitsync.Limits, entries ...[]byte) fs.FS {
	t.Helper()
	root := gitsynctest.Must(repo.WriteObject(gitformat.Tree, bytes.Join(entries, nil)))(t)
	id := gitsynctest.Must(repo.CommitTree(root))(t)
	r := open(t, gitsync.Config{URL: repo.Dir, Limits: limits})
	fetch(t, r)
	fsys, err := r.FS(id)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

func blob(t *testing.T, repo *gitsynctest.Repo, content string) string {
	t.Helper()
	return gitsynctest.Must(repo.WriteObject(gitformat.Blob, []byte(content)))(t)
}

// list returns the names and types in a folder.
func list(t *testing.T, fsys fs.FS, name string) map[string]fs.FileMode {
	t.Helper()
	entries, err := fs.ReadDir(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]fs.FileMode{}
	for _, e := range entries {
		out[e.Name()] = e.Type()
	}
	return out
}

func TestAttack12SubmodulesAndLFS(t *testing.T) {
	repo := newRepo(t)
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("a", 64) + "\nsize 5\n"
	modules := "[submodule \"x\"]\n\tpath = x\n\turl = http://127.0.0.1:1/metadata\n"
	fsys := handmade(t, repo, gitsync.Limits{},
		gitformat.TreeEntry("100644", ".gitmodules", blob(t, repo, modules)),
		gitformat.TreeEntry("160000", "x", strings.Repeat("b", 40)),
		gitformat.TreeEntry("100644", "y.yaml", blob(t, repo, pointer)))
	if mode := list(t, fsys, ".")["x"]; mode != fs.ModeIrregular {
		t.Errorf("submodule has mode %v", mode)
	}
	if _, err := fs.ReadFile(fsys, "x"); err == nil || !strings.Contains(err.Error(), "neither file nor folder") {
		t.Errorf("read submodule: %v", err)
	}
	if data, err := fs.ReadFile(fsys, "y.yaml"); err != nil || string(data) != pointer {
		t.Errorf("LFS pointer is not shown as it is: %q, %v", data, err)
	}
}

// TestAttack13TreeBomb: ten folders in each other, each with ten names for the
// next: 10^10 files in eleven objects.
func TestAttack13TreeBomb(t *testing.T) {
	repo := newRepo(t)
	id, mode := blob(t, repo, "x"), "100644"
	for range 10 {
		var tree []byte
		for i := range 10 {
			tree = append(tree, gitformat.TreeEntry(mode, fmt.Sprint("d", i), id)...)
		}
		id, mode = gitsynctest.Must(repo.WriteObject(gitformat.Tree, tree))(t), "40000"
	}
	var fsys fs.FS
	got := allocated(func() { fsys = handmade(t, repo, gitsync.Limits{}, gitformat.TreeEntry("40000", "bomb", id)) })
	if got > 8*mebi {
		t.Errorf("allocated %d MiB", got/mebi)
	}
	if data, err := fs.ReadFile(fsys, "bomb"+strings.Repeat("/d7", 10)); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestAttack13DepthBomb(t *testing.T) {
	repo := newRepo(t)
	id, mode := blob(t, repo, "x"), "100644"
	for range 500 {
		id = gitsynctest.Must(repo.WriteObject(gitformat.Tree, gitformat.TreeEntry(mode, "d", id)))(t)
		mode = "40000"
	}
	fsys := handmade(t, repo, gitsync.Limits{}, gitformat.TreeEntry("40000", "d", id), gitformat.TreeEntry("100644", "ok", blob(t, repo, "fine")))
	_, err := fs.Stat(fsys, "d"+strings.Repeat("/d", 400))
	wantLimit(t, err, "Depth")
	if data, err := fs.ReadFile(fsys, "ok"); err != nil || string(data) != "fine" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestAttack13MillionEntries: a folder far beyond the limit costs nobody who
// does not open it.
func TestAttack13MillionEntries(t *testing.T) {
	repo := newRepo(t)
	id := blob(t, repo, "x")
	entries, limits := 1_000_000, gitsync.Limits{Object: 64 * mebi}
	if testing.Short() { // all a tenth
		entries, limits = 100_000, gitsync.Limits{Object: 6 * mebi, TreeEntries: 10_000}
	}
	var tree bytes.Buffer
	for i := range entries {
		tree.Write(gitformat.TreeEntry("100644", fmt.Sprintf("f%07d", i), id))
	}
	big := gitsynctest.Must(repo.WriteObject(gitformat.Tree, tree.Bytes()))(t)
	// A fleet beside it is not touched by what nobody opens, beyond one
	// verification.
	fsys := handmade(t, repo, limits,
		gitformat.TreeEntry("40000", "big", big), gitformat.TreeEntry("100644", "ok", id))
	var err error
	got := allocated(func() { _, err = fs.ReadDir(fsys, "big") })
	wantLimit(t, err, "TreeEntries")
	if got > 2*limits.Object {
		t.Errorf("allocated %d MiB", got/mebi)
	}
	if data, err := fs.ReadFile(fsys, "ok"); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	// With half the limit, the default, the object itself is refused.
	limits.Object /= 2
	r := open(t, gitsync.Config{URL: repo.Dir, Limits: limits})
	_, err = r.Fetch(t.Context())
	wantLimit(t, err, "Object")
}

func TestAttack14Names(t *testing.T) {
	p := &gitformat.Pack{} // git's own upload-pack would not send an empty name
	id := p.Add(gitformat.Blob, []byte("evil"))
	folder := p.Add(gitformat.Tree, gitformat.TreeEntry("100644", "f", id))
	long := strings.Repeat("n", 300)
	bad := []string{"..", ".", "", "/etc/passwd", "../x", "a/b", "new\nline", "esc\x1b[2J", "\xff\xfe", long}
	var entries [][]byte
	for _, name := range bad {
		entries = append(entries, gitformat.TreeEntry("100644", name, id))
	}
	// Names that only a checkout has to fear, and case twins, are just names.
	good := []string{".git", ".GIT", "git~1", "dot.", "Case", "case", "sp ace", "ünï"}
	for _, name := range good {
		entries = append(entries, gitformat.TreeEntry("100644", name, id))
	}
	entries = append(entries, gitformat.TreeEntry("40000", "...", folder), gitformat.TreeEntry("40000", "../..", folder))
	tip := oneCommit(p, entries...)
	r := open(t, gitsync.Config{URL: serveHostile(t, packServer(tip, p))})
	fetch(t, r)
	fsys, err := r.FS(tip)
	if err != nil {
		t.Fatal(err)
	}
	got := list(t, fsys, ".")
	irregular := 0
	for name, mode := range got {
		if !fs.ValidPath(name) || strings.Contains(name, "/") || strings.ContainsAny(name, "\n\x1b") || len(name) > 500 {
			t.Errorf("listed name %q", name)
		}
		if mode == fs.ModeIrregular {
			irregular++
			if _, err := fs.ReadFile(fsys, name); err == nil {
				t.Errorf("%q could be read", name)
			}
		}
	}
	if irregular != len(bad)+1 {
		t.Errorf("%d irregular entries, want %d: %v", irregular, len(bad)+1, got)
	}
	for _, name := range append(good, ".../f") {
		if _, err := fs.ReadFile(fsys, name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range bad {
		if _, err := fs.ReadFile(fsys, name); err == nil {
			t.Errorf("%q could be read", name)
		}
	}
}

func TestAttack15Modes(t *testing.T) {
	repo := newRepo(t)
	id := blob(t, repo, "/etc/passwd")
	entries := [][]byte{}
	want := map[string]fs.FileMode{}
	for mode, typ := range map[string]fs.FileMode{
		"100644": 0, "100755": 0,
		"120000": fs.ModeSymlink,
		"100664": fs.ModeIrregular, "104755": fs.ModeIrregular, // setuid
		"20644": fs.ModeIrregular, "60644": fs.ModeIrregular, // devices
		"10644": fs.ModeIrregular, "0": fs.ModeIrregular, "777": fs.ModeIrregular,
	} {
		entries = append(entries, gitformat.TreeEntry(mode, "m"+mode, id))
		want["m"+mode] = typ
	}
	fsys := handmade(t, repo, gitsync.Limits{}, entries...)
	got := list(t, fsys, ".")
	for name, mode := range want {
		if got[name] != mode {
			t.Errorf("%s: type %v, want %v", name, got[name], mode)
		}
		if data, err := fs.ReadFile(fsys, name); (err == nil) != (mode == 0) {
			t.Errorf("read %s: %q, %v", name, data, err)
		}
	}
	if _, err := fs.ReadFile(fsys, "m120000/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("path through a link: %v", err)
	}
}

func TestAttack16DuplicateEntries(t *testing.T) {
	repo := newRepo(t)
	one, two := blob(t, repo, "one"), blob(t, repo, "two")
	folder := gitsynctest.Must(repo.WriteObject(gitformat.Tree, gitformat.TreeEntry("100644", "f", one)))(t)
	fsys := handmade(t, repo, gitsync.Limits{},
		gitformat.TreeEntry("100644", "web.yaml", one), gitformat.TreeEntry("100644", "web.yaml", two),
		gitformat.TreeEntry("100644", "d", one), gitformat.TreeEntry("40000", "d", folder),
		gitformat.TreeEntry("100644", "web.yaml (2)", two), gitformat.TreeEntry("100644", "ok", one))
	got := list(t, fsys, ".")
	if len(got) != 6 || got["ok"] != 0 {
		t.Fatalf("listed %v", got)
	}
	for name, mode := range got {
		data, err := fs.ReadFile(fsys, name)
		if name != "ok" && (mode != fs.ModeIrregular || err == nil) {
			t.Errorf("%s has mode %v and reads as %q", name, mode, data)
		}
	}
	if _, err := fs.ReadFile(fsys, "web.yaml"); err == nil || !strings.Contains(err.Error(), "stands 2 times") {
		t.Errorf("error %v", err)
	}
}

// TestAttack17LargeFile: a file over the limit is named, its neighbours read.
func TestAttack17LargeFile(t *testing.T) {
	repo := newRepo(t)
	id := commit(t, repo, map[string]string{"big.yaml": strings.Repeat("x", 2*mebi), "ok.yaml": "fine"})
	r := open(t, gitsync.Config{URL: repo.Dir})
	fetch(t, r)
	fsys, err := r.FS(id)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fs.ReadFile(fsys, "big.yaml")
	wantLimit(t, err, "Blob")
	if !strings.Contains(err.Error(), "big.yaml") {
		t.Errorf("error %v does not name the file", err)
	}
	if info, err := fs.Stat(fsys, "big.yaml"); err != nil || info.Size() != 2*mebi {
		t.Errorf("stat: %v, %v", info, err)
	}
	if data, err := fs.ReadFile(fsys, "ok.yaml"); err != nil || string(data) != "fine" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestAttack23TerminalEscapes: what a commit says is fit for a terminal.
func TestAttack23TerminalEscapes(t *testing.T) {
	repo := newRepo(t)
	gitsynctest.Must(repo.Commit(map[string]string{"a": "b"}, "evil\x1b[2J\a subject\n\nbody"))(t)
	c := fetch(t, open(t, gitsync.Config{URL: repo.Dir}))
	if strings.ContainsAny(c.Subject, "\x1b\a\n") || !strings.HasPrefix(c.Subject, "evil") || c.Author != "Ada Test" || c.Time.IsZero() {
		t.Errorf("commit %+v", c)
	}
}

// TestMissingObjects: a tip whose tree is not whole never becomes the tip.
func TestMissingObjects(t *testing.T) {
	missing := strings.Repeat("c", 40)
	for name, build := range map[string]func(p *gitformat.Pack) string{
		"no commit": func(p *gitformat.Pack) string { oneCommit(p); return missing },
		"no tree": func(p *gitformat.Pack) string {
			return p.Add(gitformat.Commit, gitformat.CommitData(missing, "x"))
		},
		"no blob": func(p *gitformat.Pack) string {
			return oneCommit(p, gitformat.TreeEntry("100644", "a", missing))
		},
		"no parent": func(p *gitformat.Pack) string {
			tree := p.Add(gitformat.Tree, nil)
			return p.Add(gitformat.Commit, gitformat.CommitData(tree, "x", missing))
		},
		"malformed tree": func(p *gitformat.Pack) string { return oneCommit(p, []byte("100644 a\x00short")) },
		"tip is a blob":  func(p *gitformat.Pack) string { return p.Add(gitformat.Blob, []byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			p := &gitformat.Pack{}
			tip := build(p)
			dir := t.TempDir()
			r := open(t, gitsync.Config{URL: serveHostile(t, packServer(tip, p)), Dir: dir})
			if _, err := r.Fetch(t.Context()); !errors.Is(err, gitsync.ErrCorrupt) {
				t.Fatalf("error %v", err)
			}
			if _, err := r.Tip(); !errors.Is(err, gitsync.ErrUnknownCommit) {
				t.Fatalf("tip: %v", err)
			}
			wantEmptyFolder(t, dir)
		})
	}
}
