package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// content is one file of the repository that services mount.
type content struct {
	data []byte
	sum  string // SHA-256, hexadecimal
	use
}

// filled is a service with its files read.
type filled struct {
	sums    string // of the files, joined
	service planner.Service
}

// refused is why a file cannot be mounted.
type refused struct{ reason, remedy string }

// fileReader reads the file volumes of one load, each file once.
type fileReader struct {
	*walker
	known map[string]fileResult // by path
	sums  map[string]bool       // counted in total
	total int64
}

func newFileReader(w *walker) *fileReader {
	return &fileReader{walker: w, known: map[string]fileResult{}, sums: map[string]bool{}}
}

type fileResult struct {
	content *content
	refused refused
}

// fill returns the service with its file volumes read, or what is wrong with
// them. The service is shared: it stays as it is. The error is for files that
// could not be read at all.
func (r *fileReader) fill(s *service, name string) (*planner.Service, []planner.Fault, error) {
	if len(s.files) == 0 {
		return &s.Service, nil, nil
	}
	var faults []planner.Fault
	contents := make([]*content, len(s.files))
	var sums strings.Builder
	for i, ref := range s.files {
		result, err := r.content(s, ref.path)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s for %s: %w", ref.path, name, err)
		}
		if result.content == nil {
			faults = append(faults, planner.Fault{File: ref.at.in(name), Line: ref.at.line, Column: ref.at.column, Field: ref.field,
				Reason: quote(ref.path) + " " + result.refused.reason, Remedy: result.refused.remedy})
			continue
		}
		contents[i] = result.content
		sums.WriteString(result.content.sum)
	}
	if len(faults) > 0 {
		return nil, faults, nil
	}
	if s.filled == nil || s.filled.sums != sums.String() {
		s.filled = &filled{sums.String(), withFiles(s, contents)}
	}
	return &s.filled.service, nil, nil
}

// withFiles copies the service, since s is shared, and computes its revision
// and its hooks.
func withFiles(s *service, contents []*content) planner.Service {
	out := s.Service
	out.Template.Volumes = slices.Clone(out.Template.Volumes)
	out.Files = make([]planner.File, len(s.files))
	for i, ref := range s.files {
		c, v := contents[i], &out.Template.Volumes[ref.volume]
		v.File = &planner.FileVolume{SHA256: c.sum}
		out.Files[i] = planner.File{Volume: v.Name, Path: ref.path, SHA256: c.sum, Data: c.data}
	}
	out.Revision = planner.RevisionOf(out.Template)
	s.withHooks(&out)
	return out
}

// content is a file that the service brings with it, or one of the repository.
func (r *fileReader) content(s *service, name string) (fileResult, error) {
	data, own := s.contents[name]
	if !own {
		return r.read(name)
	}
	sum := sha256.Sum256(data)
	c := &content{data: data, sum: hex.EncodeToString(sum[:])}
	return r.within(fileResult{content: c}), nil
}

// within refuses a file that there is no more room for.
func (r *fileReader) within(result fileResult) fileResult {
	c := result.content
	if c == nil || r.sums[c.sum] {
		return result
	}
	if r.total+int64(len(c.data)) > r.limits.AllFileVolumes {
		return fileResult{refused: refused{fmt.Sprintf("does not fit: the files of a commit may have %d MiB together", r.limits.AllFileVolumes>>20), ""}}
	}
	r.sums[c.sum] = true
	r.total += int64(len(c.data))
	return result
}

func (r *fileReader) read(name string) (fileResult, error) {
	if result, ok := r.known[name]; ok {
		return result, nil
	}
	result, err := r.load(name)
	if err != nil {
		return result, err
	}
	result = r.within(result)
	r.known[name] = result
	return result, nil
}

// load finds the file without following links anywhere on the way.
func (r *fileReader) load(name string) (fileResult, error) {
	no := func(reason, remedy string) (fileResult, error) {
		return fileResult{refused: refused{reason, remedy}}, nil
	}
	if err := r.ctx.Err(); err != nil {
		return fileResult{}, err
	}
	var info fs.FileInfo
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		var err error
		info, err = statNoFollow(r.fsys, name[:i])
		if errors.Is(err, fs.ErrNotExist) {
			return no("does not exist", "write the path relative to the top of the repository")
		}
		if err != nil {
			return fileResult{}, err
		}
		if i < len(name) && !info.IsDir() {
			return no("does not exist: "+quote(name[:i])+" is not a folder", "write the path relative to the top of the repository")
		}
	}
	switch {
	case info.IsDir():
		return no("is a folder", "name a file")
	case info.Mode()&fs.ModeSymlink != 0:
		return no("is a symbolic link: links are not followed", "commit the file itself")
	case info.Mode()&fs.ModeIrregular != 0:
		return no("is a submodule: submodules are not followed", "commit the file itself")
	case !info.Mode().IsRegular():
		return no("is not a regular file", "commit the file itself")
	}
	id := objectID(info)
	if c := r.contents[id]; id != "" && c != nil {
		c.last = r.generation
		r.stats.FilesReused++
		return fileResult{content: c}, nil
	}
	r.stats.FilesRead++
	data, err := readFile(r.fsys, name, r.limits.FileVolume)
	var large *tooLargeError
	switch {
	case errors.As(err, &large):
		return no(large.Error(), "put large files into the image or a local volume")
	case err != nil:
		return fileResult{}, err
	case strings.HasPrefix(string(data[:min(len(data), len(lfsPointer))]), lfsPointer):
		return no("is a Git LFS pointer, not the file itself", "commit the file without LFS: large files are not followed")
	}
	sum := sha256.Sum256(data)
	c := &content{data: data, sum: hex.EncodeToString(sum[:]), use: use{last: r.generation}}
	if id != "" && r.total+int64(len(data)) <= r.limits.AllFileVolumes {
		r.contents[id] = c
	}
	return fileResult{content: c}, nil
}

// statNoFollow says what name itself is, not what it leads to.
func statNoFollow(fsys fs.FS, name string) (fs.FileInfo, error) {
	if !fs.ValidPath(path.Clean(name)) {
		return nil, fs.ErrNotExist
	}
	return fs.Lstat(fsys, name)
}
