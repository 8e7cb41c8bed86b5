//go:build linux

package process

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The controllers we use.
const (
	memory = "memory"
	cpu    = "cpu"
	pids   = "pids"
)

var controllers = []string{memory, cpu, pids}

// cgroups is what this machine lets us do with cgroups. Its zero value means
// nothing at all.
type cgroups struct {
	unified string            // our folder in the cgroup2 hierarchy; "" = none
	shims   string            // the shims' own in it, so that no limit on the agent's kills them
	v2      map[string]bool   // controllers enabled in it
	v1      map[string]string // controller to our folder, for those that v2 has not
	made    []string          // every folder of ours, parents first
	notes   []string
}

// mountsOf lists the mount points of cgroup2 and of the version 1 controllers.
func mountsOf(mountinfo string) (unified string, v1 map[string]string) {
	v1 = map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(mountinfo))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup2":
			unified = place[4]
		case "cgroup":
			for _, option := range strings.Split(kind[2], ",") {
				if slices.Contains(controllers, option) {
					v1[option] = place[4]
				}
			}
		}
	}
	return unified, v1
}

// findCgroups makes our folders in all hierarchies that let us. name is the
// path below their roots.
func findCgroups(name string) (cgroups, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return cgroups{}, fmt.Errorf("find cgroups: %w", err)
	}
	unified, v1 := mountsOf(string(mountinfo))
	c := cgroups{v2: map[string]bool{}, v1: map[string]string{}}
	if unified != "" {
		if folder, err := c.makeGroup(unified, name); err == nil {
			c.unified = folder
			c.enable(unified, name)
			// A valid id never begins with a dot.
			if c.shims, err = c.makeGroup(folder, ".shims"); err != nil {
				return cgroups{}, fmt.Errorf("make cgroup of the shims: %w", err)
			}
		}
	}
	for _, controller := range controllers {
		root, mounted := v1[controller]
		if c.v2[controller] || !mounted {
			continue
		}
		if folder, err := c.makeGroup(root, name); err == nil {
			c.v1[controller] = folder
		}
	}
	c.explain()
	return c, nil
}

// makeGroup makes a cgroup and reports whether processes can be put there.
func (c *cgroups) makeGroup(root, name string) (string, error) {
	folder := root
	for part := range strings.SplitSeq(name, "/") {
		folder = filepath.Join(folder, part)
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
		c.made = append(c.made, folder)
	}
	return folder, unix.Access(filepath.Join(folder, "cgroup.procs"), unix.W_OK)
}

// enable turns the controllers on, from the root down to our folder.
func (c *cgroups) enable(root, name string) {
	for _, controller := range controllers {
		folder, ok := root, true
		for _, part := range append(strings.Split(name, "/"), "") {
			ok = ok && os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+"+controller), 0) == nil
			folder = filepath.Join(folder, part)
		}
		c.v2[controller] = ok
	}
}

func (c *cgroups) explain() {
	if c.unified == "" {
		c.notes = append(c.notes, "no writable cgroup2 hierarchy: trees of processes are killed by looking for descendants; run the agent as root, or delegate a cgroup to it")
	}
	for _, limit := range controllers {
		if !c.has(limit) {
			c.notes = append(c.notes, "no writable "+limit+" controller: "+limit+" limits are not enforced")
		}
	}
}

func (c *cgroups) has(controller string) bool {
	return c.v2[controller] || c.v1[controller] != ""
}

// removeEmpty takes our folders away as far as nothing is in them.
func (c *cgroups) removeEmpty() {
	for _, folder := range slices.Backward(c.made) {
		unix.Rmdir(folder)
	}
}

// own lists our folders that are there, without those around them.
func (c *cgroups) own() []string {
	var there []string
	for _, folder := range append(slices.Sorted(maps.Values(c.v1)), c.unified) {
		if _, err := os.Lstat(folder); folder != "" && err == nil {
			there = append(there, folder)
		}
	}
	return there
}

// ids lists the instances that have a cgroup.
func (c *cgroups) ids() ([]string, error) {
	var ids []string
	for _, folder := range append(slices.Collect(maps.Values(c.v1)), c.unified) {
		if folder == "" {
			continue
		}
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list cgroups: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() && validID(e.Name()) {
				ids = append(ids, e.Name())
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// group is the place of one instance in all hierarchies.
type group struct {
	Unified string            `json:"unified,omitempty"`
	V1      map[string]string `json:"v1,omitempty"`
	Memory2 bool              `json:"memory2,omitempty"` // Unified has the memory controller
}

func (c *cgroups) group(id string) group {
	g := group{V1: map[string]string{}, Memory2: c.v2[memory]}
	if c.unified != "" {
		g.Unified = filepath.Join(c.unified, id)
	}
	for controller, folder := range c.v1 {
		g.V1[controller] = filepath.Join(folder, id)
	}
	return g
}

// folders lists the group's folders, each once.
func (g group) folders() []string {
	var all []string
	if g.Unified != "" {
		all = append(all, g.Unified)
	}
	for _, controller := range controllers {
		if f := g.V1[controller]; f != "" && !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	return all
}

// members finds the living processes in the group.
func (g group) members(visit func(pid int)) error {
	for _, folder := range g.folders() {
		data, err := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return err
		}
		for _, field := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid <= 1 {
				continue
			}
			if s, err := readStat(pid); err == nil && !s.dead() {
				visit(pid)
			}
		}
	}
	return nil
}

// kill kills everything in the group's cgroup2 folder at once, and reports
// whether the kernel could.
func (g group) kill() bool {
	if g.Unified == "" {
		return false
	}
	err := os.WriteFile(filepath.Join(g.Unified, "cgroup.kill"), []byte("1"), 0)
	return err == nil
}

// remove deletes the group's folders. A group whose last process is just
// going away is busy for a moment.
func (g group) remove() error {
	var errs []error
	for _, folder := range g.folders() {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			err := removeGroup(folder)
			if errors.Is(err, unix.EBUSY) && time.Now().Before(deadline) {
				continue
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("remove cgroup: %w", err))
			}
			break
		}
	}
	return errors.Join(errs...)
}

// removeGroup removes a cgroup and those that the workload made below it.
func removeGroup(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(folder); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: folder, Err: err}
	}
	return nil
}
