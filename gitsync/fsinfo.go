package gitsync

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/orpheus-cd/orpheus/planner"
)

// objectID is FileInfo.Sys of files and folders.
type objectID plumbing.Hash

var _ planner.ObjectID = objectID{}

// ObjectID implements planner.ObjectID.
func (id objectID) ObjectID() string { return plumbing.Hash(id).String() }

// fileInfo describes one entry.
type fileInfo struct {
	entry treeEntry
	size  int64
}

func (i fileInfo) Name() string       { return i.entry.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.entry.mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} } // Git keeps none
func (i fileInfo) IsDir() bool        { return i.entry.mode.IsDir() }

// Sys returns the object id of files and folders, nil for the rest.
func (i fileInfo) Sys() any {
	if i.entry.mode.IsRegular() || i.entry.mode.IsDir() {
		return objectID(i.entry.id)
	}
	return nil
}

// dirEntry is one entry of a listing; its Info looks up the size of a file.
type dirEntry struct {
	snapshot *snapshot
	entry    treeEntry
}

var _ planner.ObjectID = dirEntry{}

func (d dirEntry) Name() string               { return d.entry.name }
func (d dirEntry) IsDir() bool                { return d.entry.mode.IsDir() }
func (d dirEntry) Type() fs.FileMode          { return d.entry.mode.Type() }
func (d dirEntry) Info() (fs.FileInfo, error) { return d.snapshot.info(d.entry) }
func (d dirEntry) String() string             { return fs.FormatDirEntry(d) }

// ObjectID implements planner.ObjectID without looking up a size; "" for what
// is neither file nor folder.
func (d dirEntry) ObjectID() string {
	if d.entry.mode.IsRegular() || d.IsDir() {
		return d.entry.id.String()
	}
	return ""
}

// openFile is a file whose content is in memory.
type openFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func newOpenFile(info fs.FileInfo, data []byte) *openFile {
	return &openFile{Reader: bytes.NewReader(data), info: info}
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

// openFolder is a folder being listed.
type openFolder struct {
	name    string
	info    fs.FileInfo
	entries []fs.DirEntry
}

var _ fs.ReadDirFile = (*openFolder)(nil)

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }
func (f *openFolder) Read([]byte) (int, error) {
	return 0, pathError("read", f.name, errors.New("is a folder"))
}

// ReadDir implements fs.ReadDirFile.
func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(f.entries)
	} else if len(f.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.entries))
	list := f.entries[:n:n]
	f.entries = f.entries[n:]
	return list, nil
}
