package devfleet

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processes says which processes of this machine belong to a node or a fleet:
// those in its cgroups, those that work below its folder, those that run its
// payload, and all that descends from them. It is read from the kernel each
// time, so that it also holds for what a program that died has started.
type processes struct {
	dir      string   // strictly below it
	programs []string // what works below dir counts only if it runs one of these, by base name; nil = all
	cgroup   string   // with a slash at its start; "" = none
	payload  string   // path of the program; "" = none
}

// process is what the kernel tells of one.
type process struct {
	pid, parent int
	exe, cwd    string
	cgroups     string // as /proc/PID/cgroup has them
	dead        bool   // it waits to be collected
}

// list returns the ids of all that belong, sorted, without this program and
// without those that wait to be collected.
func (p processes) list() []int {
	all := readProcesses()
	below := map[int][]int{}
	var found []int
	for pid, proc := range all {
		below[proc.parent] = append(below[proc.parent], pid)
		if p.owns(proc) {
			found = append(found, pid)
		}
	}
	members := map[int]bool{}
	for len(found) > 0 {
		pid := found[len(found)-1]
		found = found[:len(found)-1]
		if !members[pid] && pid != os.Getpid() {
			members[pid] = true
			found = append(found, below[pid]...)
		}
	}
	maps.DeleteFunc(members, func(pid int, _ bool) bool { return all[pid].dead })
	return slices.Sorted(maps.Keys(members))
}

func (p processes) owns(proc process) bool {
	exe := strings.TrimSuffix(proc.exe, " (deleted)")
	if p.payload != "" && exe == p.payload {
		return true
	}
	if strings.HasPrefix(proc.cwd, p.dir+"/") && (p.programs == nil || slices.Contains(p.programs, filepath.Base(exe))) {
		return true
	}
	return p.cgroup != "" && inCgroup(proc.cgroups, p.cgroup)
}

// inCgroup reports whether a process is in a cgroup or below it, in any
// hierarchy.
func inCgroup(cgroups, name string) bool {
	for line := range strings.Lines(cgroups) {
		// number:controllers:path
		if parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(parts) == 3 &&
			(parts[2] == name || strings.HasPrefix(parts[2], name+"/")) {
			return true
		}
	}
	return false
}

// kill ends them all as if at one moment: nobody reacts to the death of
// another, for all are stopped first.
func (p processes) kill() error {
	stopped := map[int]bool{}
	for fresh := true; fresh; {
		fresh = false
		for _, pid := range p.list() {
			if !stopped[pid] {
				stopped[pid], fresh = true, true
				_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have just ended
			}
		}
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		pids := p.list()
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("processes of the fleet still run: %v", p.list())
}

func readProcesses() map[int]process {
	all := map[int]process{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if proc, ok := readProcess(pid); ok {
			all[pid] = proc
		}
	}
	return all
}

// readProcess reports false for one that has just gone. Links and cgroups that
// may not be read are empty: they are another user's.
func readProcess(pid int) (process, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return process{}, false
	}
	// pid (name, which may hold anything) state ppid …
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return process{}, false
	}
	p := process{pid: pid, dead: fields[0] == "Z" || fields[0] == "X"}
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return process{}, false
	}
	p.exe, _ = os.Readlink(filepath.Join(dir, "exe"))
	p.cwd, _ = os.Readlink(filepath.Join(dir, "cwd"))
	cgroups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
	p.cgroups = string(cgroups)
	return p, true
}
