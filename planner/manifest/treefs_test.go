package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// tree is an in-memory snapshot as gitsync gives one: files and folders have
// object ids, links and submodules are reported and never followed, and names
// may be anything.
type tree struct {
	name    string
	mode    fs.FileMode
	data    []byte
	entries []*tree
	id      string
	opened  *int // counts opened files and folders, shared by the whole tree
}

type testID string

func (id testID) ObjectID() string { return string(id) }

// newTree builds a snapshot from paths and contents.
func newTree(files map[string]string) *tree {
	root := &tree{name: ".", mode: fs.ModeDir | 0o755, opened: new(int)}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		root.put(name, files[name])
	}
	return root
}

// put adds or replaces a file.
func (t *tree) put(name, data string) *tree {
	dir, rest, deeper := strings.Cut(name, "/")
	t.id = ""
	child := t.child(dir)
	if child == nil {
		child = &tree{name: dir, opened: t.opened}
		t.entries = append(t.entries, child)
	}
	child.id = ""
	if deeper {
		child.mode = fs.ModeDir | 0o755
		child.put(rest, data)
	} else {
		child.mode, child.data = 0o644, []byte(data)
	}
	return t
}

// add appends an entry as it is, even if its name is taken or evil.
func (t *tree) add(name string, mode fs.FileMode, data string, entries ...*tree) *tree {
	t.entries = append(t.entries, &tree{name: name, mode: mode, data: []byte(data), entries: entries, opened: t.opened})
	t.id = ""
	return t
}

// remove deletes a file.
func (t *tree) remove(name string) *tree {
	dir, rest, deeper := strings.Cut(name, "/")
	t.id = ""
	if deeper {
		t.child(dir).remove(rest)
		return t
	}
	t.entries = slices.DeleteFunc(t.entries, func(e *tree) bool { return e.name == dir })
	return t
}

func (t *tree) child(name string) *tree {
	for _, e := range t.entries {
		if e.name == name {
			return e
		}
	}
	return nil
}

// objectID hashes like Git does: the id of a folder covers all below it.
func (t *tree) objectID() string {
	if t.id == "" {
		h := sha256.New()
		fmt.Fprintf(h, "%d\x00", t.mode)
		h.Write(t.data)
		for _, e := range t.entries {
			fmt.Fprintf(h, "%s\x00%d\x00%s\x00", e.name, e.mode, e.objectID())
		}
		t.id = hex.EncodeToString(h.Sum(nil))[:40]
	}
	return t.id
}

func (t *tree) find(op, name string) (*tree, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at := t
	if name != "." {
		for _, part := range strings.Split(name, "/") {
			if at = at.child(part); at == nil {
				return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
			}
		}
	}
	return at, nil
}

func (t *tree) Open(name string) (fs.File, error) {
	at, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if at.mode&fs.ModeIrregular != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New(string(at.data))}
	}
	*t.opened++
	return &openTree{tree: at, r: bytes.NewReader(at.data), left: at.entries}, nil
}

func (t *tree) Stat(name string) (fs.FileInfo, error) {
	at, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return treeInfo{at}, nil
}

type openTree struct {
	*tree
	r    *bytes.Reader
	left []*tree
}

func (o *openTree) Stat() (fs.FileInfo, error) { return treeInfo{o.tree}, nil }
func (o *openTree) Read(p []byte) (int, error) { return o.r.Read(p) }
func (o *openTree) Close() error               { return nil }

func (o *openTree) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(o.left) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(o.left) {
		n = len(o.left)
	}
	var list []fs.DirEntry
	for _, e := range o.left[:n] {
		list = append(list, fs.FileInfoToDirEntry(treeInfo{e}))
	}
	o.left = o.left[n:]
	return list, nil
}

type treeInfo struct{ t *tree }

func (i treeInfo) Name() string       { return i.t.name }
func (i treeInfo) Size() int64        { return int64(len(i.t.data)) }
func (i treeInfo) Mode() fs.FileMode  { return i.t.mode }
func (i treeInfo) ModTime() time.Time { return time.Time{} }
func (i treeInfo) IsDir() bool        { return i.t.mode.IsDir() }
func (i treeInfo) Sys() any           { return testID(i.t.objectID()) }
