package devfleet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// hostGroup is the cgroup of a node's own processes, below the node's: one
// that holds other cgroups must not hold processes, too.
const hostGroup = "host"

// unifiedRoots are where the hierarchy of version 2 is mounted: alone, or
// beside those of version 1.
var unifiedRoots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// openHostGroup makes the cgroup that a node's processes start in; nil where
// this user or this machine has none.
func openHostGroup(parent string) (*os.File, error) {
	for _, root := range unifiedRoots {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
			continue
		}
		dir := filepath.Join(root, parent, hostGroup)
		if err := os.MkdirAll(dir, 0o755); errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("make cgroup %s: %w", dir, err)
		}
		return os.Open(dir)
	}
	return nil, nil
}

// enter has a command start inside a cgroup.
func enter(cmd *exec.Cmd, group *os.File) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
}

// removeCgroups removes a cgroup and those below it from all hierarchies,
// innermost first. A process that has just died keeps its own busy for a
// moment.
func removeCgroups(name string) error {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + name)
	roots = append(roots, "/sys/fs/cgroup"+name)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var errs []error
		for _, root := range roots {
			errs = append(errs, removeTree(root))
		}
		if err := errors.Join(errs...); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func removeTree(root string) error {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	var errs []error
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := syscall.Rmdir(dirs[i]); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dirs[i], err))
		}
	}
	return errors.Join(errs...)
}
