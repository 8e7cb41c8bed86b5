package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync"
)

// treeReader reads trees and files of a checkout's repository with one git that
// stays.
type treeReader struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	// last is the object that was read last: its size is asked for before its
	// content.
	last object
}

type object struct {
	id, kind string
	size     int64
	data     []byte // nil = too large to be kept
}

// maxObject is more than any manifest, folder or mounted file may have.
const maxObject = 32 << 20

var _ gitsync.Objects = (*treeReader)(nil)

// newTreeReader starts it. env is added to the checkout's.
func newTreeReader(ctx context.Context, c *checkout, env ...string) (*treeReader, error) {
	r := &treeReader{cmd: exec.CommandContext(ctx, "git", "-C", c.top, "cat-file", "--batch")}
	r.cmd.Env, r.cmd.WaitDelay = append(append(c.environ(), "LC_ALL=C"), env...), gitPatience
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewReaderSize(out, 64<<10)
	return r, r.cmd.Start()
}

// read brings an object. Ids are of git's own making.
func (r *treeReader) read(id string) (object, error) {
	if r.last.id == id {
		return r.last, nil
	}
	r.last = object{}
	if _, err := io.WriteString(r.in, id+"\n"); err != nil {
		return object{}, fmt.Errorf("git cat-file: %w", err)
	}
	head, err := r.out.ReadString('\n')
	if err != nil {
		return object{}, fmt.Errorf("git cat-file: %w", err)
	}
	words := strings.Fields(head)
	if len(words) != 3 {
		return object{}, fmt.Errorf("object %.12s is not in this clone; fetch it", id)
	}
	o := object{id: id, kind: words[1]}
	if o.size, err = strconv.ParseInt(words[2], 10, 64); err != nil {
		return object{}, fmt.Errorf("git cat-file: %w", err)
	}
	if o.size > maxObject {
		_, err = io.CopyN(io.Discard, r.out, o.size+1)
	} else {
		o.data = make([]byte, o.size+1) // a line end follows
		_, err = io.ReadFull(r.out, o.data)
		o.data = o.data[:o.size]
	}
	if err != nil {
		return object{}, fmt.Errorf("git cat-file: %w", err)
	}
	r.last = o
	return o, nil
}

// Size implements gitsync.Objects.
func (r *treeReader) Size(id string) (int64, error) {
	o, err := r.read(id)
	return o.size, err
}

// Object implements gitsync.Objects.
func (r *treeReader) Object(kind, id string, limit int64) ([]byte, error) {
	o, err := r.read(id)
	switch {
	case err != nil:
		return nil, err
	case o.kind != kind:
		return nil, fmt.Errorf("it is a %s, not a %s", o.kind, kind)
	case o.data == nil || o.size > limit:
		return nil, fmt.Errorf("it has %d bytes, more than %d", o.size, limit)
	}
	return o.data, nil
}

func (r *treeReader) close() {
	_ = r.in.Close() // it ends at the end of its input
	_, _ = io.Copy(io.Discard, r.out)
	_ = r.cmd.Wait()
}

// workTree is the tree that a commit of everything in the work tree would have,
// ignored files left out: files that are not added yet count. It is made beside
// the repository, which stays as it is. done removes it; env is how git finds its
// objects.
func (c *checkout) workTree(ctx context.Context) (tree string, env []string, done func(), err error) {
	dir, err := os.MkdirTemp("", "orpheus-plan-")
	if err != nil {
		return "", nil, nil, err
	}
	remove := func() { os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	paths, err := c.git(ctx, "rev-parse", "--path-format=absolute", "--git-path", "index", "--git-path", "objects")
	if err != nil {
		return "", nil, nil, err
	}
	index, objects, _ := strings.Cut(strings.TrimRight(paths, "\r\n"), "\n")
	objects = strings.TrimSpace(objects)
	env = []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index"), "GIT_OBJECT_DIRECTORY=" + dir, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + strconv.Quote(objects)}
	// What the index knows of files makes it quick; without one all are read.
	if err := copyIndex(strings.TrimSpace(index), filepath.Join(dir, "index")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil, fmt.Errorf("read the index: %w", err)
	}
	beside := *c
	beside.env = append(c.environ(), env...)
	if _, err := beside.git(ctx, "-c", "core.safecrlf=false", "-c", "advice.addEmbeddedRepo=false", "add", "--all", "--", "."); err != nil {
		return "", nil, nil, fmt.Errorf("read the work tree: %w", err)
	}
	out, err := beside.git(ctx, "write-tree")
	if err != nil {
		return "", nil, nil, fmt.Errorf("read the work tree: %w", err)
	}
	return strings.TrimSpace(out), env, remove, nil
}

// copyIndex copies an index with its time: by that git knows which files may have
// changed since, although they look as they did.
func copyIndex(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
