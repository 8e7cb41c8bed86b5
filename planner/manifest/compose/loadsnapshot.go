package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner"
)

// snapshot is the only place that files are read from. It follows no links,
// and keeps account of all it was asked for.
type snapshot struct {
	ctx   context.Context
	fsys  fs.FS
	reads map[string]*Read
	data  map[string][]byte
	total int64
}

func newSnapshot(ctx context.Context, fsys fs.FS) *snapshot {
	return &snapshot{ctx: ctx, fsys: fsys, reads: map[string]*Read{}, data: map[string][]byte{}}
}

// inTime is what to do where reading took too long.
const inTime = "try again; if it stays so, have the project read fewer and smaller files"

// unread says why a file is not read.
type unread struct {
	reason, remedy string
	gone           bool // there is none
}

// read returns what the file holds.
func (s *snapshot) read(name string) ([]byte, *unread) {
	if data, ok := s.data[name]; ok {
		return data, nil
	}
	info, why := s.look(name)
	if why != nil {
		return nil, why
	}
	if info.Size() > maxFileBytes {
		return nil, tooLarge(maxFileBytes)
	}
	f, err := s.fsys.Open(name)
	if err != nil {
		return nil, &unread{reason: "cannot be read", remedy: "check that the agent may read the repository, and try again"}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	switch s.total += int64(len(data)); {
	case err != nil:
		return nil, &unread{reason: "cannot be read", remedy: "check that the agent may read the repository, and try again"}
	case len(data) > maxFileBytes:
		return nil, tooLarge(maxFileBytes)
	case s.total > maxReadBytes:
		return nil, &unread{reason: fmt.Sprintf("is one too many: what a Compose file leads to may have %d MiB together", maxReadBytes>>20), remedy: "split the project"}
	}
	s.data[name] = data
	return data, nil
}

func tooLarge(limit int) *unread {
	return &unread{reason: fmt.Sprintf("is larger than %d KiB", limit>>10), remedy: "split it"}
}

// holds reports whether there is a file of the name.
func (s *snapshot) holds(name string) bool {
	_, why := s.look(name)
	return why == nil
}

// look finds a regular file without following links anywhere on the way.
func (s *snapshot) look(name string) (fs.FileInfo, *unread) {
	if !fs.ValidPath(name) || name == "." {
		return nil, &unread{reason: "is no file of the repository", remedy: "name a file of the repository, relative to the file that says so"}
	}
	r := s.reads[name]
	if r == nil {
		if len(s.reads) >= maxReads {
			return nil, &unread{reason: fmt.Sprintf("is one too many: a Compose file may lead to %d files", maxReads), remedy: "split the project"}
		}
		r = &Read{Path: name}
		s.reads[name] = r
	}
	var info fs.FileInfo
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if s.ctx.Err() != nil {
			return nil, &unread{reason: "was not read in time", remedy: inTime}
		}
		var err error
		info, err = fs.Lstat(s.fsys, name[:i])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			r.Gone = true
			return nil, &unread{reason: "does not exist", remedy: "commit it, or correct the path: it is relative to the file that says so", gone: true}
		case err != nil:
			return nil, &unread{reason: "cannot be read", remedy: "check that the agent may read the repository, and try again"}
		case info.Mode()&fs.ModeSymlink != 0:
			r.Gone = true // what counts is that it is no file
			return nil, &unread{reason: "is not read: " + quote(name[:i]) + " is a symbolic link", remedy: "commit the file itself: links are not followed"}
		case i < len(name) && !info.IsDir():
			r.Gone = true
			return nil, &unread{reason: "does not exist: " + quote(name[:i]) + " is no folder", remedy: "correct the path", gone: true}
		}
	}
	if !info.Mode().IsRegular() {
		r.Gone = true
		return nil, &unread{reason: "is no regular file", remedy: "name a file"}
	}
	r.Mode = info.Mode()
	if o, ok := info.Sys().(planner.ObjectID); ok {
		r.ID = o.ObjectID()
	}
	return info, nil
}

// text returns the file's text.
func (s *snapshot) text(name string) ([]byte, *unread) {
	data, why := s.read(name)
	switch {
	case why != nil:
		return nil, why
	case bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")):
		return nil, &unread{reason: "is a Git LFS pointer, not the file itself", remedy: "commit the file without LFS"}
	case !utf8.Valid(data):
		return nil, &unread{reason: "is not valid UTF-8", remedy: "save it as UTF-8"}
	case bytes.IndexByte(data, 0) >= 0:
		return nil, &unread{reason: "has a NUL byte", remedy: "save it as text"}
	}
	return bytes.TrimPrefix(data, []byte("\uFEFF")), nil
}

// list returns what was read, by path.
func (s *snapshot) list() []Read {
	all := make([]Read, 0, len(s.reads))
	for _, r := range s.reads {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Read) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// within is the path in the repository of a name that a file in dir uses.
// reason says why there is none.
func within(dir, name string) (full, reason, remedy string) {
	const inside = "name a file of the repository, relative to the file that says so"
	switch {
	case name == "":
		return "", "is empty", inside
	case strings.Contains(name, "://") || strings.HasPrefix(name, "git@") || strings.HasPrefix(name, "file:"):
		return "", "is remote: nothing is fetched while a commit is read", "copy the file into the repository"
	case strings.HasPrefix(name, "/") || strings.HasPrefix(name, "~") || strings.Contains(name, `\`):
		return "", "is not in the repository: files of the machine are not read", inside
	}
	full = path.Join(dir, name)
	if full == ".." || strings.HasPrefix(full, "../") || !fs.ValidPath(full) {
		return "", "leaves the repository", inside
	}
	return full, "", ""
}
