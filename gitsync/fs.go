package gitsync

import (
	"errors"
	"io/fs"
	"sort"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// FS returns the tree of a commit of the clone. It reads from the clone on
// demand and stays usable as long as the clone holds the commit. Names and
// modes are the repository's, checked:
//   - files are 0644 or 0755, folders fs.ModeDir, symbolic links
//     fs.ModeSymlink (never followed, not even to read where they point);
//   - everything else is fs.ModeIrregular and cannot be opened: submodules,
//     unknown modes, names that are no names (quoted), and entries whose name
//     stands twice in a folder. Opening one says why.
//   - FileInfo.Sys of files and folders implements planner.ObjectID, and so
//     does every fs.DirEntry, where "" says that there is no id.
//
// Files over Limits.Blob, folders over Limits.TreeEntries and paths deeper
// than Limits.Depth are a LimitError inside the *fs.PathError.
func (r *Repository) FS(commit string) (fs.FS, error) {
	id, err := parseID(commit)
	if err != nil {
		return nil, err
	}
	snap := newSnapshot(cloneObjects{r}, r.settings.Limits)
	err = r.reading(func(s *store) error {
		c, err := readCommit(s, id)
		if err == nil {
			snap.root = treeEntry{name: ".", mode: fs.ModeDir | 0o755, id: c.TreeHash}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return snap, nil
}

// maxCachedEntries bounds the parsed folders a snapshot keeps.
const maxCachedEntries = 50_000

// snapshot is the tree of one commit.
type snapshot struct {
	objects objects
	limits  Limits
	root    treeEntry

	mu      sync.Mutex
	folders map[plumbing.Hash][]treeEntry
	entries int
}

var (
	_ fs.ReadDirFS  = (*snapshot)(nil)
	_ fs.StatFS     = (*snapshot)(nil)
	_ fs.ReadFileFS = (*snapshot)(nil)
)

// Open implements fs.FS.
func (s *snapshot) Open(name string) (fs.File, error) {
	e, err := s.lookup("open", name)
	if err != nil {
		return nil, err
	}
	info, err := s.info(e)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if e.mode.IsDir() {
		list, err := s.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openFolder{name: name, info: info, entries: list}, nil
	}
	data, err := s.content(e)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return newOpenFile(info, data), nil
}

// ReadFile implements fs.ReadFileFS.
func (s *snapshot) ReadFile(name string) ([]byte, error) {
	e, err := s.lookup("read", name)
	if err != nil {
		return nil, err
	}
	data, err := s.content(e)
	if err != nil {
		return nil, pathError("read", name, err)
	}
	return data, nil
}

// Stat implements fs.StatFS. Links are described, not followed.
func (s *snapshot) Stat(name string) (fs.FileInfo, error) {
	e, err := s.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := s.info(e)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return info, nil
}

// ReadDir implements fs.ReadDirFS. Entries that cannot be opened are listed.
func (s *snapshot) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := s.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if !e.mode.IsDir() {
		return nil, pathError("readdir", name, errors.New("not a folder"))
	}
	entries, err := s.folder(e.id)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	list := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		list[i] = dirEntry{snapshot: s, entry: e}
	}
	return list, nil
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// lookup walks down to name.
func (s *snapshot) lookup(op, name string) (treeEntry, error) {
	if !fs.ValidPath(name) {
		return treeEntry{}, pathError(op, name, fs.ErrInvalid)
	}
	e := s.root
	if name == "." {
		return e, nil
	}
	parts := strings.Split(name, "/")
	if max := s.limits.Depth; len(parts) > max {
		return e, pathError(op, name, &LimitError{Limit: "Depth", What: "folders in each other", Max: int64(max), Value: int64(len(parts))})
	}
	for _, part := range parts {
		if !e.mode.IsDir() {
			return e, pathError(op, name, fs.ErrNotExist)
		}
		entries, err := s.folder(e.id)
		if err != nil {
			return e, pathError(op, name, err)
		}
		i := sort.Search(len(entries), func(i int) bool { return entries[i].name >= part })
		if i == len(entries) || entries[i].name != part {
			return e, pathError(op, name, fs.ErrNotExist)
		}
		e = entries[i]
	}
	return e, nil
}

// folder returns the entries of a tree, sorted by name.
func (s *snapshot) folder(id plumbing.Hash) ([]treeEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if entries, ok := s.folders[id]; ok {
		return entries, nil
	}
	size, err := s.objects.size(id)
	if err != nil {
		return nil, err
	}
	if size > maxFolderSize(s.limits.TreeEntries) {
		return nil, tooManyEntries(s.limits.TreeEntries)
	}
	data, err := s.objects.content(plumbing.TreeObject, id, s.limits.Object)
	if err != nil {
		return nil, err
	}
	entries, err := parseTree(data, s.limits.TreeEntries)
	if err != nil {
		return nil, err
	}
	if s.entries+len(entries) > maxCachedEntries {
		clear(s.folders)
		s.entries = 0
	}
	s.folders[id] = entries
	s.entries += len(entries)
	return entries, nil
}

// content reads a file; whoever asks for anything else learns why not.
func (s *snapshot) content(e treeEntry) ([]byte, error) {
	switch {
	case e.mode.IsDir():
		return nil, errors.New("is a folder")
	case e.mode&fs.ModeSymlink != 0:
		return nil, errors.New("is a symbolic link, which is never followed")
	case !e.mode.IsRegular():
		return nil, errors.New(e.bad)
	}
	limit := s.limits.Blob
	size, err := s.objects.size(e.id)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &LimitError{Limit: "Blob", What: "the file", Max: limit, Value: size, Bytes: true}
	}
	return s.objects.content(plumbing.BlobObject, e.id, limit)
}

// info describes an entry; only of files it has to look up the size.
func (s *snapshot) info(e treeEntry) (fs.FileInfo, error) {
	info := fileInfo{entry: e}
	if e.mode.IsRegular() {
		var err error
		if info.size, err = s.objects.size(e.id); err != nil {
			return nil, err
		}
	}
	return info, nil
}
