package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestReadingsOfAMachine reads files as kernels write them.
func TestReadingsOfAMachine(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/meminfo":                                "MemTotal:       2048 kB\nMemFree: 100 kB\nMemAvailable:    512 kB\n",
		"proc/loadavg":                                "0.20 0.18 0.12 1/900 11206\n",
		"proc/sys/kernel/pid_max":                     "4194304\n",
		"proc/sys/kernel/threads-max":                 "1000\n",
		"cg/bound/memory.max":                         "1000\n",
		"cg/bound/memory.current":                     "900\n",
		"cg/bound/memory.stat":                        "anon 500\ninactive_file 300\n",
		"cg/bound/pids.max":                           "10\n",
		"cg/bound/pids.current":                       "10\n",
		"cg/unbound/memory.max":                       "max\n",
		"cg/unbound/memory.current":                   "900\n",
		"cg/unbound/pids.max":                         "max\n",
		"cg/unbound/pids.current":                     "3\n",
		"cg/memory/old/memory.limit_in_bytes":         "2000\n",
		"cg/memory/old/memory.usage_in_bytes":         "2500\n",
		"cg/memory/old/memory.stat":                   "total_inactive_file 100\n",
		"cg/memory/old-unbound/memory.limit_in_bytes": "9223372036854771712\n",
		"cg/memory/old-unbound/memory.usage_in_bytes": "2500\n",
		"cg/pids/old/pids.max":                        "100\n",
		"cg/pids/old/pids.current":                    "1\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := machine{proc: filepath.Join(root, "proc"), cgroups: filepath.Join(root, "cg")}
	mem, pids := planner.ResourceMemory, planner.ResourcePIDs
	for _, row := range []struct {
		what      string
		got, want []planner.Reading
	}{
		{"memory that can be had, not what is unused", []planner.Reading{m.memory()}, []planner.Reading{{Resource: mem, Free: 512 << 10, Total: 2048 << 10}}},
		{"the smaller of two bounds", []planner.Reading{m.pids()}, []planner.Reading{{Resource: pids, Free: 100, Total: 1000}}},
		{"cache that can be dropped is free", m.group("/bound"), []planner.Reading{
			{Resource: mem, Place: "cgroup /bound", Free: 400, Total: 1000}, {Resource: pids, Place: "cgroup /bound", Free: 0, Total: 10}}},
		{"no bound, no reading", m.group("/unbound"), nil},
		{"cgroups of version 1; more may be used than is allowed", m.group("/old"), []planner.Reading{
			{Resource: mem, Place: "cgroup /old", Free: 0, Total: 2000}, {Resource: pids, Place: "cgroup /old", Free: 99, Total: 100}}},
		{"version 1 writes a large number where there is no bound", m.group("/old-unbound"), nil},
		{"no such group", m.group("/nobody"), nil},
		{"nothing can be read", []planner.Reading{machine{proc: root}.memory(), machine{proc: root}.pids()},
			[]planner.Reading{{Resource: mem}, {Resource: pids}}},
	} {
		if !slices.Equal(row.got, row.want) {
			t.Errorf("%s: %+v, not %+v", row.what, row.got, row.want)
		}
	}
}

// TestReadingsOfFileSystems: each file system once, named after the first folder
// in it; images anywhere in it count.
func TestReadingsOfFileSystems(t *testing.T) {
	dir := t.TempDir()
	got := fileSystems([]Folder{{Path: filepath.Join(dir, "not", "there", "yet")}, {Path: dir, Images: true}, {Path: "/proc"}})
	if len(got) == 0 || got[0].Place != filepath.Join(dir, "not", "there", "yet") || !got[0].Images || got[0].Total == 0 || got[0].Free > got[0].Total {
		t.Fatalf("%+v", got)
	}
	for _, r := range got {
		if r.Place == dir {
			t.Errorf("one file system is told twice: %+v", got)
		}
		if r.Place == got[0].Place && !r.Images {
			t.Errorf("images in it do not count: %+v", r)
		}
	}
	if all := SystemReadings("/no/such/group")(nil); len(all) != 2 || all[0].Total == 0 || all[1].Total == 0 {
		t.Errorf("this machine: %+v", all)
	}
}
