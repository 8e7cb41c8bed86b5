//go:build linux

package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// cgroupRoot is where the kernel's control groups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// cgroups describes the hierarchies of this machine. Version 2 has one that
// holds all controllers, version 1 one for each.
type cgroups struct {
	unified     bool
	controllers []string
	// mounts are the roots of all hierarchies a container appears in.
	mounts []string
	// swap is set where the memory controller counts swap.
	swap bool
}

// detectCgroups looks once: what is mounted does not change while we run.
var detectCgroups = sync.OnceValue(func() cgroups {
	if data, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return cgroups{unified: true, controllers: strings.Fields(string(data)), mounts: []string{cgroupRoot}, swap: true}
	}
	c := cgroups{}
	entries, _ := os.ReadDir(cgroupRoot)
	for _, e := range entries {
		dir := filepath.Join(cgroupRoot, e.Name())
		if e.Type()&fs.ModeSymlink != 0 || !isFile(filepath.Join(dir, "cgroup.procs")) {
			continue
		}
		c.mounts = append(c.mounts, dir)
		c.controllers = append(c.controllers, strings.Split(e.Name(), ",")...)
	}
	c.swap = isFile(filepath.Join(cgroupRoot, "memory", "memory.memsw.limit_in_bytes"))
	return c
})

func isFile(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (c cgroups) has(controller string) bool { return slices.Contains(c.controllers, controller) }

// notes says which limits have no effect on this machine.
func (c cgroups) notes() []string {
	var notes []string
	for _, controller := range []string{"cpu", "memory", "pids"} {
		if !c.has(controller) {
			notes = append(notes, fmt.Sprintf("no cgroup controller %q: %s limits are not enforced", controller, controller))
		}
	}
	return notes
}

// oomKills is how often the kernel has killed in a container's cgroup for
// memory. The cgroup, and the count with it, stays until the process is
// deleted; 0 if it is gone.
func (c cgroups) oomKills(path string) uint64 {
	name := filepath.Join(cgroupRoot, "memory", path, "memory.oom_control")
	if c.unified {
		name = filepath.Join(cgroupRoot, path, "memory.events")
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		if value, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
			return n
		}
	}
	return 0
}

// remove deletes a cgroup and those below it in every hierarchy. One that
// still holds processes stays, and is an error.
func (c cgroups) remove(path string) error {
	var errs []error
	for _, root := range c.mounts {
		errs = append(errs, removeCgroup(filepath.Join(root, path)))
	}
	return errors.Join(errs...)
}

// removeCgroup goes depth first; os.RemoveAll would try to delete the files.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return ignoreMissing(os.Remove(dir))
}

// kill ends every process in a cgroup and those below it.
func (c cgroups) kill(path string) {
	for _, root := range c.mounts {
		_ = filepath.WalkDir(filepath.Join(root, path), func(dir string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return nil // gone, or a file
			}
			procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for _, field := range strings.Fields(string(procs)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			return nil
		})
	}
}

// children lists the names of the cgroups directly below path, of all
// hierarchies.
func (c cgroups) children(path string) map[string]bool {
	names := map[string]bool{}
	for _, root := range c.mounts {
		entries, _ := os.ReadDir(filepath.Join(root, path))
		for _, e := range entries {
			if e.IsDir() {
				names[e.Name()] = true
			}
		}
	}
	return names
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
