package devfleet

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// madeCgroups are those of the fleets of these tests: the machine's other
// programs make cgroups, too.
var madeCgroups []string

// noteCgroup remembers the cgroup of the fleet in a folder.
func noteCgroup(t *testing.T, dir string) {
	t.Helper()
	var r remains
	text, err := os.ReadFile(filepath.Join(dir, remainsFile))
	must(t, err)
	must(t, json.Unmarshal(text, &r))
	madeCgroups = append(madeCgroups, r.Cgroup)
}

// traces is all that a fleet can leave on a machine, one a line.
func traces(t *testing.T) []string {
	t.Helper()
	var all []string
	for pid, p := range readProcesses() {
		if pid != os.Getpid() {
			all = append(all, fmt.Sprintf("process %d %s", pid, p.exe))
		}
	}
	namespaces, _ := filepath.Glob("/proc/[0-9]*/ns/*")
	for _, file := range namespaces {
		if ns, err := os.Readlink(file); err == nil {
			all = append(all, "namespace "+ns)
		}
	}
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, file := range fds {
		if target, err := os.Readlink(file); err == nil && strings.HasPrefix(target, "/") {
			all = append(all, "open file "+target)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		all = append(all, "mount "+strings.TrimSpace(line))
	}
	forward, err := os.ReadFile(forwardSysctl)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, "ip_forward "+string(forward))
	all = append(all, folders(os.TempDir())...)
	all = append(all, folders("/run")...)
	for _, name := range madeCgroups {
		groups, _ := filepath.Glob("/sys/fs/cgroup/*" + name)
		for _, group := range append(groups, "/sys/fs/cgroup"+name) {
			all = append(all, folders(group)...)
		}
	}
	if os.Geteuid() == 0 {
		all = append(all, networkTraces(t)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func networkTraces(t *testing.T) (all []string) {
	t.Helper()
	links, err := dump(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		all = append(all, "link "+l.Attrs().Name)
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		all = append(all, "table "+table.Name)
	}
	return all
}

func folders(root string) (all []string) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			all = append(all, "file "+path)
		}
		return nil
	})
	return all
}

// leavesNothing demands that all is as it was, soon: the kernel takes
// namespaces away in its own time.
func leavesNothing(t *testing.T, before []string) {
	t.Helper()
	var now []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if now = traces(t); slices.Equal(now, before) {
			return
		}
	}
	for _, line := range now {
		if !slices.Contains(before, line) {
			t.Errorf("left behind: %s", line)
		}
	}
	for _, line := range before {
		if !slices.Contains(now, line) {
			t.Errorf("gone: %s", line)
		}
	}
}
