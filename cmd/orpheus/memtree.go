package main

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// memTree is a tree of files in memory, by path.
type memTree map[string][]byte

// Open implements fs.FS.
func (t memTree) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if data, ok := t[name]; ok {
		return &memFile{memInfo{path.Base(name), int64(len(data)), 0o444}, bytes.NewReader(data)}, nil
	}
	if entries := t.below(name); len(entries) > 0 || name == "." {
		return &memFolder{memFile{memInfo{path.Base(name), 0, fs.ModeDir | 0o555}, bytes.NewReader(nil)}, entries}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// below lists what is in a folder, by name.
func (t memTree) below(dir string) []fs.DirEntry {
	found := map[string]memInfo{}
	for name, data := range t {
		rest, inside := name, dir == "."
		if !inside {
			rest, inside = strings.CutPrefix(name, dir+"/")
		}
		if first, _, deeper := strings.Cut(rest, "/"); inside && deeper {
			found[first] = memInfo{first, 0, fs.ModeDir | 0o555}
		} else if inside {
			found[first] = memInfo{first, int64(len(data)), 0o444}
		}
	}
	entries := make([]fs.DirEntry, 0, len(found))
	for _, info := range found {
		entries = append(entries, fs.FileInfoToDirEntry(info))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries
}

// memFile is a file of a memTree.
type memFile struct {
	info memInfo
	*bytes.Reader
}

func (f *memFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *memFile) Close() error               { return nil }

// memFolder is a folder of a memTree.
type memFolder struct {
	memFile
	left []fs.DirEntry
}

// ReadDir implements fs.ReadDirFile.
func (f *memFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(f.left)
	} else if len(f.left) == 0 {
		return nil, io.EOF
	}
	entries := f.left[:min(n, len(f.left))]
	f.left = f.left[len(entries):]
	return entries, nil
}

// memInfo describes a file of a memTree.
type memInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
