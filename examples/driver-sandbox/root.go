//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// workDir is where the program works when the manifest does not say.
const workDir = "/work"

// devices are those every program expects.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}

// hidden are the parts of /proc through which root reaches the host.
var hidden = []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"}

// piece is a part of the host that is put into the sandbox.
type piece struct {
	tree   int // a detached copy of the mount
	target string
	folder bool
}

// enterRoot makes the file system of the sandbox in an empty folder and moves
// this process into it. What is taken of the host is picked up first and put
// down last, when every path already means one inside.
func enterRoot(folder string, show []string, mounts []runtime.Mount, owner *syscall.Credential) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "mode=755,size=64m"); err != nil {
		return fmt.Errorf("mount root: %w", err)
	}
	pieces, err := pickUp(folder, show, mounts)
	if err != nil {
		return err
	}
	if err := os.Chdir(folder); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil { // the host's
		return fmt.Errorf("leave the host's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := furnish(owner); err != nil {
		return err
	}
	for _, p := range pieces {
		if err := p.putDown(); err != nil {
			return fmt.Errorf("mount %s: %w", p.target, err)
		}
	}
	return nil
}

// pickUp collects everything of the host that the sandbox sees. A shown path
// that is a link stays one.
func pickUp(folder string, show []string, mounts []runtime.Mount) ([]piece, error) {
	const calm = unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID
	var pieces []piece
	pick := func(source, target string, attributes uint64) error {
		info, err := os.Stat(source)
		if err != nil {
			return fmt.Errorf("mount %s: %w", source, err)
		}
		tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("mount %s: %w", source, err)
		}
		err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attributes})
		if err != nil {
			return fmt.Errorf("mount %s: %w", source, err)
		}
		pieces = append(pieces, piece{tree, target, info.IsDir()})
		return nil
	}
	for _, path := range show {
		link, err := os.Readlink(path)
		if err == nil && !filepath.IsAbs(link) && filepath.Dir(path) == "/" {
			if err := os.Symlink(link, filepath.Join(folder, path)); err != nil {
				return nil, err
			}
			continue
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := pick(path, path, calm|unix.MOUNT_ATTR_RDONLY); err != nil {
			return nil, err
		}
	}
	for _, device := range devices {
		if err := pick(device, device, unix.MOUNT_ATTR_NOSUID); err != nil {
			return nil, err
		}
	}
	for _, m := range mounts {
		attributes := uint64(calm)
		if m.ReadOnly {
			attributes |= unix.MOUNT_ATTR_RDONLY
		}
		if err := pick(m.Source, m.Target, attributes); err != nil {
			return nil, err
		}
	}
	return pieces, nil
}

// putDown mounts a piece at its place, which is made if it is missing.
func (p piece) putDown() error {
	defer unix.Close(p.tree)
	if _, err := os.Stat(p.target); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(p.target), 0o755); err != nil {
			return err
		}
		if p.folder {
			err = os.Mkdir(p.target, 0o755)
		} else {
			err = os.WriteFile(p.target, nil, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return unix.MoveMount(p.tree, "", unix.AT_FDCWD, p.target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// furnish makes what belongs to the sandbox alone.
func furnish(owner *syscall.Credential) error {
	for _, dir := range []string{"/proc", "/dev/shm", "/tmp", "/run", "/var/tmp", workDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm"} {
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	if err := os.Chown(workDir, int(owner.Uid), int(owner.Gid)); err != nil {
		return err
	}
	for from, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, filepath.Join("/dev", from)); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, path := range hidden {
		err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "")
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("protect %s: %w", path, err)
		}
	}
	return nil
}
