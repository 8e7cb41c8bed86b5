//go:build linux

package containerd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerinit"
)

// What runs beside the program is not touched: commands get their own exit
// codes, the program is told of its death for memory, and no more than the first
// process itself comes between them and their limits.
func TestReaperBeside(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	w := b.workload(t, "lines")
	w.Containers[0].Reaper = true
	w.Containers[0].Ulimits = []planner.Ulimit{{Name: "nofile", Soft: 1000, Hard: 2000}}
	start(t, d, w)
	logHas(t, w, "line 10\n")
	var out bytes.Buffer
	if code, err := d.Exec(t.Context(), w.ID, "", []string{"/payload", "exit", "7"}, runtime.Streams{Out: &out}); code != 7 || err != nil {
		t.Errorf("a command ended with %d, %v: %s", code, err, out.String())
	}
	if _, err := d.Exec(t.Context(), w.ID, "", []string{"/payload", "show", "/proc/1/cmdline", "/proc/1/mountinfo"}, runtime.Streams{Out: &out}); err != nil {
		t.Fatal(err)
	}
	if want := containerinit.Path + "\x00/payload\x00lines\x00"; !strings.Contains(out.String(), want) {
		t.Errorf("the first process is not %q: %s", want, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) > 5 && f[4] == containerinit.Path && (!strings.Contains(f[5], "ro,nosuid,nodev") || strings.Contains(f[5], "noexec")) {
			t.Errorf("mounted as %s", line)
		}
	}

	w = b.workload(t, "memory")
	w.Containers[0].Reaper = true
	w.Containers[0].Resources.Limits.MemoryBytes = smallMemory
	start(t, d, w)
	if exit, err := d.Wait(t.Context(), w.ID); err != nil || !exit.OOM || exit.Code != 137 {
		t.Errorf("Wait: %+v, %v; want an out-of-memory kill", exit, err)
	}
}

// The program of the first process is kept whatever becomes of the one that we
// are: what runs goes on when it is replaced or removed, what starts finds it
// again. It is a copy where there can be no link.
func TestReaperIsKept(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	program := filepath.Join(t.TempDir(), "orpheus")
	install := func(more string) {
		t.Helper()
		content, err := os.ReadFile(b.payload)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program+".new", append(content, more...), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	stat := func(name string) os.FileInfo {
		t.Helper()
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for name, data := range map[string]string{"link": t.TempDir(), "copy": elsewhere(t)} {
		t.Run(name, func(t *testing.T) {
			kept := filepath.Join(data, "init")
			install("")
			made := func() *Driver {
				return b.driver(t, func(c *Config) { c.Executable, c.DataDir = program, data })
			}
			run := func(d *Driver) runtime.Workload {
				t.Helper()
				w := b.workload(t, "lines")
				w.Containers[0].Reaper = true
				start(t, d, w)
				logHas(t, w, "line 1\n")
				return w
			}
			d := made()
			first := run(d)
			is := stat(kept)
			if linked := os.SameFile(is, stat(program)); linked != (name == "link") {
				t.Errorf("a link: %t", linked)
			}
			run(made()) // as after a restart of the agent
			if !os.SameFile(is, stat(kept)) {
				t.Error("a driver after it makes it anew")
			}

			install("another version")
			d = made()
			run(d)
			if now := stat(kept); os.SameFile(is, now) || now.Size() != stat(program).Size() {
				t.Error("a later version is not the one that is kept")
			}

			if err := os.Remove(kept); err != nil {
				t.Fatal(err)
			}
			run(d)
			if err := os.WriteFile(kept+".next", []byte("left by a crash"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(kept+".next", kept); err != nil { // something else
				t.Fatal(err)
			}
			run(d)
			if in := find(t, d, first.ID); in == nil || in.State != planner.StateRunning {
				t.Errorf("the one before all that is %+v", in)
			}
		})
	}
}

// elsewhere is a folder on another file system than those of t.TempDir.
func elsewhere(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "orpheus-init-")
	if err != nil {
		t.Skip("not run: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// A program that needs libraries is refused before it is tried: images have
// others, or none.
func TestReaperIsStatic(t *testing.T) {
	if why := unfit("/bin/sh"); !strings.Contains(why, "CGO_ENABLED=0") {
		t.Errorf("a program with libraries: %q", why)
	}
	if why := unfit("/nowhere"); why == "" {
		t.Error("one that is not there is taken")
	}
	b := testBench(t)
	if info, err := b.driver(t).Info(t.Context()); err != nil || !info.Capabilities.Reaper {
		t.Errorf("%+v, %v", info, err)
	}
	info, err := b.driver(t, func(c *Config) { c.Executable = "/bin/sh" }).Info(t.Context())
	if err != nil || info.Capabilities.Reaper || !strings.Contains(strings.Join(info.Notes, " "), "init") {
		t.Errorf("%+v, %v", info, err)
	}
}
