package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/orpheus-cd/orpheus/planner"
)

// maxFolderFiles is how many files of a folder a service may mount: each is a
// volume.
const maxFolderFiles = 48

// maxWordBytes is how much of the files that the services of a project mount is
// looked into.
const maxWordBytes = 8 << 20

// repositoryPath is the path in the repository of a path of the project. reason
// says why there is none.
func (c *converter) repositoryPath(name string) (full, reason string) {
	full = path.Join(c.p.Folder, name)
	switch {
	case path.IsAbs(name) || strings.HasPrefix(name, "~") || strings.Contains(name, `\`):
		return "", "is not in the repository"
	case full == ".." || strings.HasPrefix(full, "../") || !fs.ValidPath(full):
		return "", "leaves the repository"
	}
	return full, ""
}

// look finds what is at a path of the repository, following no link. It notes
// that it looked: see Project.Reads.
func (c *converter) look(full string) (fs.FileInfo, string) {
	if c.p.Files == nil {
		return nil, "does not exist in the repository"
	}
	var info fs.FileInfo
	for i := range len(full) + 1 {
		if i < len(full) && full[i] != '/' {
			continue
		}
		var err error
		info, err = fs.Lstat(c.p.Files, full[:i])
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && i < len(full) && !info.IsDir() && info.Mode()&fs.ModeSymlink == 0:
			c.note(Read{Path: full, Gone: true})
			return nil, "does not exist in the repository"
		case err != nil:
			return nil, "cannot be read"
		case info.Mode()&fs.ModeSymlink != 0:
			c.note(Read{Path: full, Gone: true})
			return nil, "is not read: " + quote(full[:i]) + " is a symbolic link"
		}
	}
	r := Read{Path: full, Mode: info.Mode()}
	if o, ok := info.Sys().(planner.ObjectID); ok {
		r.ID = o.ObjectID()
	}
	c.note(r)
	return info, ""
}

func (c *converter) note(r Read) {
	if !c.looked[r.Path] {
		c.looked[r.Path] = true
		c.p.Reads = append(c.p.Reads, r)
	}
}

// repositoryFile is a file below a folder that is mounted.
type repositoryFile struct {
	path, below string // in the repository; relative to the folder
	executable  bool
}

// folder is what is in a folder: its regular files, in order, or the reason why
// it cannot be mounted.
type folder struct {
	files  []repositoryFile
	reason string
}

// filesBelow lists the regular files of a folder. What is neither file nor folder
// is named by reason, and so is a folder with too many.
func (c *converter) filesBelow(dir string) folder {
	if known, ok := c.folders[dir]; ok {
		return known
	}
	f := c.walk(dir)
	c.folders[dir] = f
	return f
}

func (c *converter) walk(dir string) (found folder) {
	looked := 0
	err := fs.WalkDir(c.p.Files, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if looked++; looked > 20*maxFolderFiles {
			return errTooMany
		}
		switch mode := d.Type(); {
		case mode.IsDir():
			return nil
		case !mode.IsRegular():
			found.reason = "holds " + quote(name) + ", which is no regular file"
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if found.files = append(found.files, repositoryFile{name, strings.TrimPrefix(name, dir+"/"), info.Mode()&0o111 != 0}); len(found.files) > maxFolderFiles {
			return errTooMany
		}
		return nil
	})
	switch {
	case errors.Is(err, errTooMany):
		return folder{reason: fmt.Sprintf("is a folder of more than %d files", maxFolderFiles)}
	case err != nil:
		return folder{reason: "cannot be read"}
	}
	slices.SortFunc(found.files, func(a, b repositoryFile) int { return strings.Compare(a.path, b.path) })
	return found
}

// errTooMany ends the walk through a folder.
var errTooMany = errors.New("too many files")

// mountedTexts are the contents of the text files that a service mounts from the
// repository, as far as they are looked into.
func (c *converter) mountedTexts(s types.ServiceConfig) []string {
	var texts []string
	read := func(full string) {
		if text, ok := c.textOf(full); ok {
			texts = append(texts, text)
		}
	}
	for _, v := range s.Volumes {
		full, reason := c.repositoryPath(v.Source)
		if v.Type != types.VolumeTypeBind || reason != "" {
			continue
		}
		info, gone := c.look(full)
		switch {
		case gone != "":
		case info.IsDir():
			for _, f := range c.filesBelow(full).files {
				read(f.path)
			}
		default:
			read(full)
		}
	}
	for _, use := range s.Configs {
		config := c.p.Types.Configs[use.Source]
		if full, reason := c.repositoryPath(config.File); config.File != "" && reason == "" {
			read(full)
		}
		texts = append(texts, config.Content)
	}
	return texts
}

// textOf is a file's content if it is text of moderate size.
func (c *converter) textOf(full string) (string, bool) {
	info, gone := c.look(full)
	if gone != "" || !info.Mode().IsRegular() || info.Size() > maxFileBytes || c.unread < info.Size() {
		return "", false
	}
	f, err := c.p.Files.Open(full)
	if err != nil {
		return "", false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	if c.unread -= int64(len(data)); err != nil || !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return "", false
	}
	return string(data), true
}
