package agent

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
)

// SystemReadings returns a Pressure.Read of this machine: its memory and
// process ids, those of the cgroups that bound the given ones (paths in the
// hierarchy, such as /orpheus), and the file systems of folders.
func SystemReadings(cgroups ...string) func([]Folder) []planner.Reading {
	return func(folders []Folder) []planner.Reading {
		m := machine{proc: "/proc", cgroups: "/sys/fs/cgroup"}
		out := append(fileSystems(folders), m.memory(), m.pids())
		seen := map[string]bool{}
		for _, group := range cgroups {
			for group = filepath.Clean("/" + group); group != "/" && !seen[group]; group = filepath.Dir(group) {
				seen[group] = true
				out = append(out, m.group(group)...)
			}
		}
		return out
	}
}

// fileSystems reads disk and inodes, once for each file system: what lies in it
// first names it. A folder that is not there yet is where it will be made.
func fileSystems(folders []Folder) []planner.Reading {
	var out []planner.Reading
	at := map[uint64]int{} // by device: index of its first reading
	for _, f := range folders {
		path := existing(f.Path)
		var info unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(path, &info) != nil || unix.Statfs(path, &fs) != nil {
			for _, resource := range []planner.Resource{planner.ResourceDisk, planner.ResourceInodes} {
				out = append(out, planner.Reading{Resource: resource, Place: f.Path, Images: f.Images}) // not known
			}
			continue
		}
		if k, known := at[info.Dev]; known {
			for ; k < len(out) && f.Images && out[k].Place == out[at[info.Dev]].Place; k++ {
				out[k].Images = true
			}
			continue
		}
		at[info.Dev] = len(out)
		out = append(out, disk(f, fs))
		if fs.Files > 0 { // some file systems do not count them
			out = append(out, planner.Reading{Resource: planner.ResourceInodes, Place: f.Path, Free: fs.Ffree, Total: fs.Files, Images: f.Images})
		}
	}
	return out
}

// disk counts as df does: what is reserved for root is neither used nor free.
func disk(f Folder, fs unix.Statfs_t) planner.Reading {
	size := uint64(fs.Bsize)
	free := fs.Bavail * size
	return planner.Reading{Resource: planner.ResourceDisk, Place: f.Path, Free: free, Total: (fs.Blocks-fs.Bfree)*size + free, Images: f.Images}
}

func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// machine is where the kernel tells.
type machine struct{ proc, cgroups string }

func (m machine) memory() planner.Reading {
	r := planner.Reading{Resource: planner.ResourceMemory}
	values := fields(filepath.Join(m.proc, "meminfo"))
	if free, ok := values["MemAvailable:"]; ok {
		r.Free, r.Total = free<<10, values["MemTotal:"]<<10
	}
	return r
}

// pids are bound by the numbers there are and by how many threads may be.
func (m machine) pids() planner.Reading {
	r := planner.Reading{Resource: planner.ResourcePIDs}
	most, ok := number(filepath.Join(m.proc, "sys/kernel/pid_max"))
	threads, ok2 := number(filepath.Join(m.proc, "sys/kernel/threads-max"))
	load, err := os.ReadFile(filepath.Join(m.proc, "loadavg")) // 0.20 0.18 0.12 1/80 11206
	parts := strings.Fields(string(load))
	if !ok || !ok2 || err != nil || len(parts) < 4 {
		return r
	}
	_, all, _ := strings.Cut(parts[3], "/")
	running, err := strconv.ParseUint(all, 10, 64)
	if err != nil {
		return r
	}
	r.Total = min(most, threads)
	r.Free = r.Total - min(running, r.Total)
	return r
}

// group reads what a cgroup of either version bounds. One without bounds, or
// that is not there, has no readings.
func (m machine) group(name string) []planner.Reading {
	var out []planner.Reading
	add := func(resource planner.Resource, limit, used string, cache func() uint64) bool {
		most, bound := number(limit)
		now, ok := number(used)
		if !bound || !ok || most == 0 || most > 1<<62 { // version 1 writes no bound as a very large one
			return ok
		}
		now -= min(now, cache())
		out = append(out, planner.Reading{Resource: resource, Place: "cgroup " + name, Free: most - min(now, most), Total: most})
		return true
	}
	v2, mem1, pids1 := filepath.Join(m.cgroups, name), filepath.Join(m.cgroups, "memory", name), filepath.Join(m.cgroups, "pids", name)
	nothing := func() uint64 { return 0 }
	file := func(dir, key string) func() uint64 {
		return func() uint64 { return fields(filepath.Join(dir, "memory.stat"))[key] }
	}
	if !add(planner.ResourceMemory, filepath.Join(v2, "memory.max"), filepath.Join(v2, "memory.current"), file(v2, "inactive_file")) {
		add(planner.ResourceMemory, filepath.Join(mem1, "memory.limit_in_bytes"), filepath.Join(mem1, "memory.usage_in_bytes"), file(mem1, "total_inactive_file"))
	}
	if !add(planner.ResourcePIDs, filepath.Join(v2, "pids.max"), filepath.Join(v2, "pids.current"), nothing) {
		add(planner.ResourcePIDs, filepath.Join(pids1, "pids.max"), filepath.Join(pids1, "pids.current"), nothing)
	}
	return out
}

// number reads a file with one number.
func number(path string) (uint64, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}

// fields reads lines of a name and a number.
func fields(path string) map[string]uint64 {
	out := map[string]uint64{}
	data, err := os.ReadFile(path)
	if err != nil {
		return out
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if parts := strings.Fields(lines.Text()); len(parts) > 1 {
			if n, err := strconv.ParseUint(parts[1], 10, 64); err == nil {
				out[parts[0]] = n
			}
		}
	}
	return out
}
