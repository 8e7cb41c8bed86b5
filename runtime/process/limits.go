//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// period is the time over which the CPU quota is dealt out, in microseconds.
const period = 100_000

// create makes the group's folders and sets the limits.
func (g group) create(c *cgroups, r planner.Resources) error {
	for _, folder := range g.folders() {
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	for _, set := range []func(*cgroups, planner.Resources) error{g.limitMemory, g.limitCPU, g.limitPIDs} {
		if err := set(c, r); err != nil {
			return fmt.Errorf("set limits: %w", err)
		}
	}
	return nil
}

func (g group) limitMemory(c *cgroups, r planner.Resources) error {
	n := r.Limits.MemoryBytes
	switch folder := g.V1[memory]; {
	case n <= 0:
		return nil
	case c.v2[memory]:
		if err := put(g.Unified, "memory.max", n); err != nil {
			return err
		}
		return putIfThere(g.Unified, "memory.swap.max", 0)
	default:
		if err := put(folder, "memory.limit_in_bytes", n); err != nil {
			return err
		}
		return putIfThere(folder, "memory.memsw.limit_in_bytes", n)
	}
}

// limitCPU sets the quota by the limit and the weight by the request.
func (g group) limitCPU(c *cgroups, r planner.Resources) error {
	quota := r.Limits.CPUMillis * period / 1000
	if r.Limits.CPUMillis > 0 {
		quota = max(quota, 1000) // the kernel's least
	}
	shares := min(max(r.Requests.CPUMillis*1024/1000, 2), 262144)
	folder := g.V1[cpu]
	switch {
	case c.v2[cpu]:
		if quota > 0 {
			if err := write(g.Unified, "cpu.max", fmt.Sprintf("%d %d", quota, period)); err != nil {
				return err
			}
		}
		if r.Requests.CPUMillis > 0 {
			return put(g.Unified, "cpu.weight", 1+(shares-2)*9999/262142)
		}
	case folder != "":
		if quota > 0 {
			if err := put(folder, "cpu.cfs_period_us", period); err != nil {
				return err
			}
			if err := put(folder, "cpu.cfs_quota_us", quota); err != nil {
				return err
			}
		}
		if r.Requests.CPUMillis > 0 {
			return put(folder, "cpu.shares", shares)
		}
	}
	return nil
}

func (g group) limitPIDs(c *cgroups, r planner.Resources) error {
	switch {
	case r.Limits.PIDs <= 0:
		return nil
	case c.v2[pids]:
		return put(g.Unified, "pids.max", r.Limits.PIDs)
	default:
		return put(g.V1[pids], "pids.max", r.Limits.PIDs)
	}
}

// oomKills counts how often the kernel killed in the group for memory.
func (g group) oomKills() int64 {
	if g.Memory2 {
		return field(g.Unified, "memory.events", "oom_kill")
	}
	return field(g.V1[memory], "memory.oom_control", "oom_kill")
}

func put(folder, file string, n int64) error { return write(folder, file, strconv.FormatInt(n, 10)) }

func putIfThere(folder, file string, n int64) error {
	if err := put(folder, file, n); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func write(folder, file, value string) error {
	// Without O_CREATE: the kernel has the file, or nobody.
	f, err := os.OpenFile(filepath.Join(folder, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// field reads one number of a file of "name number" lines; 0 if it has none.
func field(folder, file, name string) int64 {
	data, err := os.ReadFile(filepath.Join(folder, file))
	if folder == "" || err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == name {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// number reads a file that holds one number; -1 if it does not.
func number(folder, file string) int64 {
	data, err := os.ReadFile(filepath.Join(folder, file))
	if folder == "" || err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
