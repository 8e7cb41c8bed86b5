package volume

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth bounds how many folders are open at once. What lies deeper is moved
// up to the top first: depth is the stranger's choice.
const maxDepth = 64

// remover deletes one folder with all that is in it and nothing else: it goes
// down only by names it just opened, never through a symbolic link, never into
// a mount, also not one that appeared meanwhile or that shows the same disk.
type remover struct {
	ctx context.Context
	top int // the folder that is to be emptied
}

// removeTree removes the folder name within parent. It is success if there is
// none.
func removeTree(ctx context.Context, parent *os.File, name string) error {
	at := int(parent.Fd())
	top, err := openFolder(at, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return removeError(parent.Name(), name, err)
	}
	r := remover{ctx: ctx, top: top}
	err = r.empty(top, filepath.Join(parent.Name(), name), 0)
	unix.Close(top)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(at, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return removeError(parent.Name(), name, err)
	}
	return nil
}

// empty removes all that is in the open folder. path is for errors only.
func (r *remover) empty(dir int, path string, depth int) error {
	for {
		names, err := r.names(dir, path)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := r.remove(dir, name, path, depth); err != nil {
				return err
			}
		}
	}
}

// names reads some of the folder from its start; removing changes the rest.
func (r *remover) names(dir int, path string) ([]string, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	again, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	f := os.NewFile(uintptr(again), path)
	defer f.Close()
	names, err := f.Readdirnames(1000)
	if len(names) == 0 && err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return names, nil
}

func (r *remover) remove(dir int, name, path string, depth int) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	// EPERM: POSIX's word for "is a folder".
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return removeError(path, name, err)
	}
	if depth >= maxDepth {
		if err := unix.Renameat(dir, name, r.top, ".deep-"+rand.Text()); err != nil {
			return removeError(path, name, err)
		}
		return nil
	}
	sub, err := openFolder(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return removeError(path, name, err)
	}
	err = r.empty(sub, filepath.Join(path, name), depth+1)
	unix.Close(sub)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return removeError(path, name, err)
	}
	return nil
}

// openFolder opens a folder that is neither a link nor a mount point. One that
// its owner closed against himself is opened to him first.
func openFolder(dir int, name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}
	fd, err := unix.Openat2(dir, name, &how)
	if err == nil && os.Geteuid() != 0 {
		// Searching and writing it may be forbidden still; root may anyway.
		if err := unix.Fchmod(fd, 0o700); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	if !errors.Is(err, unix.EACCES) {
		return fd, err
	}
	handle := how
	handle.Flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err = unix.Openat2(dir, name, &handle)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700); err != nil {
		return -1, err
	}
	return unix.Openat2(dir, name, &how)
}

func removeError(path, name string, err error) error {
	what := filepath.Join(path, name)
	switch {
	case errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EBUSY):
		return fmt.Errorf("remove %s: something is mounted there and was left alone: unmount it: %w", what, err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("remove %s: left alone, for it takes Linux 5.6 to tell mounts from folders: %w", what, err)
	}
	return fmt.Errorf("remove %s: %w", what, err)
}
