//go:build linux

package plugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
)

// only is the one listed instance.
func only(t *testing.T, d *plugin.Driver) planner.Instance {
	t.Helper()
	have, err := d.List(t.Context())
	check(t, err)
	if len(have) != 1 {
		t.Fatalf("%d instances are listed; want 1: %+v", len(have), have)
	}
	return have[0]
}

// An agent that is killed leaves the plugin and what it runs alone; the next
// one finds both, and the plugin's memory: the fake has no other.
func TestAgentKilled(t *testing.T) {
	for _, role := range []string{"fake", "process"} {
		t.Run(role, func(t *testing.T) {
			c := config(t, role, dirVariable+"="+t.TempDir())
			w := workload(t, "a", "trap")
			if role == "fake" { // it has images, and no real program
				w.Containers[0].Command, w.Containers[0].Image = nil, "localhost/payload:1"
			}
			killedAgent(t, c, w)
			before := readRecord(t, c)
			if !running(before.Process.PID) {
				t.Fatal("the plugin has ended with its agent")
			}
			d := open(t, c)
			i := only(t, d)
			if i.State != planner.StateRunning {
				t.Errorf("listed as %+v; want running", i)
			}
			if after := pid(t, d, c); after != before.Process.PID {
				t.Errorf("the plugin is process %d, was %d", after, before.Process.PID)
			}
			if role != "fake" {
				awaitReady(t, w)
			}
			check(t, d.Stop(t.Context(), "a", time.Minute))
			if e := must(d.Wait(t.Context(), "a")); e.Code != 100+15 || e.Unknown {
				t.Errorf("exit is %+v; want 115", e)
			}
			check(t, d.Remove(t.Context(), "a"))
		})
	}
}

// awaitReady waits until the payload's signal handlers stand.
func awaitReady(t *testing.T, w runtime.Workload) {
	t.Helper()
	if !soon(func() bool {
		log, _ := os.ReadFile(w.Containers[0].LogPath)
		return strings.Contains(string(log), "ready\n")
	}) {
		t.Fatalf("%s is not ready", w.ID)
	}
}

// The plugin writes to its stderr, and to its stdout, after its agent was
// killed: both go to the file, and it neither dies of it nor hangs.
func TestSpeaksAfterTheAgentDied(t *testing.T) {
	c := config(t, "odd", oddVariable+"=talks")
	killedAgent(t, c)
	log := filepath.Join(c.StateDir, "stderr.log")
	d := open(t, c)
	before := pid(t, d, c)
	for range 100 {
		if _, err := d.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d.Close()
	// Far more than a pipe holds.
	text := string(must(os.ReadFile(log)))
	for _, line := range []string{"on stdout\n", "on stderr\n"} {
		if n := strings.Count(text, line); n < 100 {
			t.Errorf("%q stands %d times in %s; want 100 and more", line, n, log)
		}
	}
	if info := must(os.Stat(log)); info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %s", log, info.Mode())
	}
	if after := pid(t, open(t, c), c); after != before {
		t.Errorf("the plugin is process %d, was %d", after, before)
	}
}

// stderr.log stays small, while the plugin has it open.
func TestStderrIsTrimmed(t *testing.T) {
	c := config(t, "odd", oddVariable+"=talks")
	d := open(t, c)
	pid(t, d, c)
	log := filepath.Join(c.StateDir, "stderr.log")
	check(t, os.WriteFile(log, []byte(strings.Repeat("x", 9<<20)), 0o600))
	pid(t, d, c)
	pid(t, d, c)
	if text := string(must(os.ReadFile(log))); len(text) > 1000 || !strings.Contains(text, "on stderr\n") || strings.ContainsAny(text, "\x00") {
		t.Errorf("stderr.log has %d bytes: %.80q", len(text), text)
	}
	if info := must(os.Stat(log + ".1")); info.Size() < 9<<20 {
		t.Errorf("stderr.log.1 has %d bytes", info.Size())
	}
}

// A plugin killed with calls in flight: their outcome is unknown, Wait goes on
// with the next process and sees the true exit, Watch ends.
func TestPluginKilledWithCallsInFlight(t *testing.T) {
	c := config(t, "process", dirVariable+"="+t.TempDir())
	d := open(t, c)
	for _, w := range []runtime.Workload{workload(t, "a", "trap"), workload(t, "deaf", "ignore")} {
		check(t, d.Start(t.Context(), w))
		awaitReady(t, w)
	}
	program := find(t, d, "deaf").Containers[0].PID
	exits := make(chan planner.Exit, 1)
	go func() {
		e, err := d.Wait(t.Context(), "a")
		if err != nil {
			t.Errorf("Wait: %v", err)
		}
		exits <- e
	}()
	hints, err := d.Watch(t.Context())
	check(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- d.Stop(t.Context(), "deaf", time.Hour) }()
	// Whether the call has arrived cannot be seen; it outlives a hundred others.
	for range 100 {
		find(t, d, "deaf")
	}
	before := pid(t, d, c)
	kill(t, before)
	if err := <-stopped; !errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(err.Error(), "example") {
		t.Errorf("Stop: %v; want ErrUnavailable naming the driver", err)
	}
	for range hints { // must be closed
	}
	select {
	case e := <-exits:
		t.Errorf("Wait saw the exit %+v of what runs", e)
	default:
	}
	if after := pid(t, d, c); after == before {
		t.Error("the plugin was not started again")
	}
	if i := find(t, d, "deaf"); i.State != planner.StateRunning || i.Containers[0].PID != program {
		t.Errorf("listed as %+v; want it running as process %d", i, program)
	}
	// Again, to see back-off end by itself.
	kill(t, pid(t, d, c))
	if !soon(func() bool { return d.Stop(t.Context(), "a", time.Minute) == nil }) {
		t.Fatal("the plugin does not come back")
	}
	if e := <-exits; e.Code != 100+15 || e.Unknown {
		t.Errorf("exit is %+v; want 115", e)
	}
	for _, id := range []string{"a", "deaf"} {
		check(t, d.Remove(t.Context(), id))
	}
}

func find(t *testing.T, d *plugin.Driver, id string) planner.Instance {
	t.Helper()
	have, err := d.List(t.Context())
	check(t, err)
	for _, i := range have {
		if i.ID == id {
			return i
		}
	}
	t.Fatalf("%s is not listed: %+v", id, have)
	return planner.Instance{}
}

// A workload that kills the plugin of its own driver gains nothing: the plugin
// comes back, and nothing was lost or started again.
func TestAttack26KillsItsDriverPlugin(t *testing.T) {
	c := config(t, "process", dirVariable+"="+t.TempDir())
	d := open(t, c)
	check(t, d.Start(t.Context(), workload(t, "victim", "sleep")))
	victim := find(t, d, "victim")
	for round := range 3 {
		id := fmt.Sprintf("killer-%d", round)
		target := readRecord(t, c).Process.PID
		w := workload(t, id)
		w.Containers[0].Command = []string{"/bin/sh", "-c", fmt.Sprintf("kill -TERM %d; kill -9 %d; exit 5", target, target)}
		// It may kill before Start has returned.
		if err := d.Start(t.Context(), w); err != nil && !errors.Is(err, runtime.ErrUnavailable) {
			t.Fatal(err)
		}
		if !soon(func() bool { return !running(target) }) {
			t.Fatal("the plugin lives: nothing was tried")
		}
		if !soon(func() bool { _, err := d.List(t.Context()); return err == nil }) {
			t.Fatal("the plugin does not come back")
		}
		if e := must(d.Wait(t.Context(), id)); e.Code != 5 {
			t.Errorf("exit of the killer is %+v; want 5", e)
		}
		if now := find(t, d, "victim"); now.State != planner.StateRunning || now.Containers[0].PID != victim.Containers[0].PID || !now.StartedAt.Equal(victim.StartedAt) {
			t.Errorf("another workload is %+v, was %+v", now, victim)
		}
		check(t, d.Remove(t.Context(), id))
	}
	check(t, d.Remove(t.Context(), "victim"))
}

// copyOf makes another file of this program, with these bytes at its end.
func copyOf(t *testing.T, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	check(t, os.WriteFile(path, append(must(os.ReadFile("/proc/self/exe")), more...), 0o755))
	return path
}

// A plugin whose file was swapped is not executed, whenever it happens; one
// that runs goes on.
func TestAttack42PluginSwapped(t *testing.T) {
	proof := filepath.Join(t.TempDir(), "executed")
	evil := "#!/bin/sh\ntouch " + proof + "\n"
	swap := func(t *testing.T, path string) {
		check(t, os.Remove(path))
		check(t, os.WriteFile(path, []byte(evil), 0o755))
	}
	refused := func(t *testing.T, d *plugin.Driver, path string) {
		t.Helper()
		_, err := d.List(t.Context())
		if !errors.Is(err, runtime.ErrInvalid) || !errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(err.Error(), path) {
			t.Errorf("List: %v; want ErrInvalid and ErrUnavailable naming %s", err, path)
		}
		if _, err := os.Stat(proof); err == nil {
			t.Error("the other file was executed")
		}
	}
	c := config(t, "process", dirVariable+"="+t.TempDir())
	c.Path = copyOf(t, "")

	t.Run("before the first start", func(t *testing.T) {
		first := c
		first.StateDir, first.RunDir = first.StateDir+"1", first.RunDir+"1"
		first.Path = copyOf(t, "")
		swap(t, first.Path)
		refused(t, open(t, first), first.Path)
	})
	d := open(t, c)
	check(t, d.Start(t.Context(), workload(t, "a", "sleep")))
	before := pid(t, d, c)
	swap(t, c.Path)
	d.Close()
	d = open(t, c)
	t.Run("while it runs", func(t *testing.T) {
		if after := pid(t, d, c); after != before {
			t.Errorf("the plugin is process %d, was %d", after, before)
		}
	})
	t.Run("and it dies", func(t *testing.T) { // its own copy is what was checked
		kill(t, before)
		if !soon(func() bool { _, err := d.List(t.Context()); return err == nil }) {
			t.Fatal("the plugin does not come back")
		}
		if i := only(t, d); i.State != planner.StateRunning {
			t.Errorf("listed as %+v; want running", i)
		}
	})
	t.Run("and its copy too", func(t *testing.T) {
		swap(t, filepath.Join(c.StateDir, "bin-"+c.SHA256))
		kill(t, pid(t, d, c))
		if !soon(func() bool { _, err := d.List(t.Context()); return errors.Is(err, runtime.ErrInvalid) }) {
			t.Fatal("no error tells of it")
		}
		refused(t, d, c.Path)
	})
	t.Run("until it is put right", func(t *testing.T) {
		check(t, os.Rename(copyOf(t, ""), c.Path))
		if !soon(func() bool { _, err := d.List(t.Context()); return err == nil }) {
			t.Fatal("the plugin does not come back")
		}
		check(t, d.Remove(t.Context(), "a"))
	})
}

// Another process with the recorded id is neither spoken to nor killed, and
// neither is one that listens in the plugin's place.
func TestRecordOfAnotherProcess(t *testing.T) {
	c := config(t, "fake")
	d := open(t, c)
	plugins := pid(t, d, c)
	d.Close()
	other := exec.Command("sleep", "3600")
	check(t, other.Start())
	defer func() { other.Process.Kill(); other.Wait() }()
	path := filepath.Join(c.StateDir, "plugin.json")
	genuine := must(os.ReadFile(path))
	forge := func(edit func(r, process map[string]any)) {
		var r map[string]any
		check(t, json.Unmarshal(genuine, &r))
		process := r["process"].(map[string]any)
		edit(r, process)
		check(t, os.WriteFile(path, must(json.Marshal(r)), 0o600))
	}
	start := func() any {
		fields := strings.Fields(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", other.Process.Pid)))))
		var n uint64
		fmt.Sscan(fields[21], &n)
		return n
	}
	for name, edit := range map[string]func(r, process map[string]any){
		"recycled id":      func(_, p map[string]any) { p["pid"] = other.Process.Pid },
		"another program":  func(_, p map[string]any) { p["pid"], p["start"] = other.Process.Pid, start() },
		"an earlier boot":  func(_, p map[string]any) { p["boot"] = "00000000-0000-0000-0000-000000000000" },
		"init":             func(_, p map[string]any) { p["pid"] = 1 },
		"another version":  func(r, _ map[string]any) { r["version"] = 9 },
		"somebody listens": func(_, p map[string]any) { p["pid"] = os.Getpid() },
	} {
		forge(edit)
		d := open(t, c)
		if now := pid(t, d, c); now == plugins || now == other.Process.Pid {
			t.Errorf("%s: connected to process %d", name, now)
		}
		kill(t, readRecord(t, c).Process.PID)
		d.Close()
		if !running(other.Process.Pid) || !running(plugins) {
			t.Errorf("%s: a process of somebody else was killed", name)
		}
	}
	check(t, syscall.Kill(plugins, syscall.SIGKILL))
}

// Another checksum in the configuration, or other arguments: the old process
// ends, the new one takes over, what runs goes on.
func TestUpgrade(t *testing.T) {
	c := config(t, "process", dirVariable+"="+t.TempDir())
	d := open(t, c)
	check(t, d.Start(t.Context(), workload(t, "a", "sleep")))
	before, program := pid(t, d, c), only(t, d).Containers[0].PID
	d.Close()

	for _, name := range []string{"checksum", "arguments", "environment"} {
		switch name {
		case "checksum":
			c.Path = copyOf(t, "of another version")
			c.SHA256 = sumOf(t, c.Path)
		case "arguments":
			c.Args = []string{"--more"}
		case "environment":
			c.Env = append(c.Env, "MORE=1")
		}
		d = open(t, c)
		after := pid(t, d, c)
		if after == before || running(before) {
			t.Errorf("%s: the plugin is process %d, was %d", name, after, before)
		}
		if i := only(t, d); i.State != planner.StateRunning || i.Containers[0].PID != program {
			t.Errorf("%s: listed as %+v; want it running as process %d", name, i, program)
		}
		before = after
		d.Close()
	}
	if copies := must(filepath.Glob(filepath.Join(c.StateDir, "*bin-*"))); len(copies) != 1 {
		t.Errorf("copies %q; want one", copies)
	}
	d = open(t, c)
	check(t, d.Remove(t.Context(), "a"))
}

// A plugin that was started, but whose agent died before it was told to go,
// ends; one that is recorded without a socket is replaced.
func TestAgentDiedInTheMiddleOfAStart(t *testing.T) {
	c := config(t, "fake")
	path, _ := self(t)
	half := exec.Command(path)
	half.Env = append(c.Env, "ORPHEUS_DRIVER_PLUGIN=a driver for an orpheus agent") // stdin is empty
	if err := half.Run(); err == nil {
		t.Error("a plugin without an agent goes on")
	}
	d := open(t, c)
	before := pid(t, d, c)
	d.Close()
	file := filepath.Join(c.StateDir, "plugin.json")
	var r map[string]any
	check(t, json.Unmarshal(must(os.ReadFile(file)), &r))
	delete(r, "socket")
	check(t, os.WriteFile(file, must(json.Marshal(r)), 0o600))
	if after := pid(t, open(t, c), c); after == before || running(before) {
		t.Errorf("the plugin is process %d, was %d", after, before)
	}
}

// End takes away a plugin that is not configured any more.
func TestEnd(t *testing.T) {
	c := config(t, "process", dirVariable+"="+t.TempDir())
	d := open(t, c)
	check(t, d.Start(t.Context(), workload(t, "a", "sleep")))
	gone, program := pid(t, d, c), only(t, d).Containers[0].PID
	d.Close()
	check(t, plugin.End(t.Context(), c.StateDir))
	if running(gone) || !running(program) {
		t.Error("the plugin runs, or its workload does not")
	}
	if _, err := os.Stat(c.StateDir); err == nil {
		t.Error("its folder is still there")
	}
	check(t, plugin.End(t.Context(), c.StateDir)) // already so
	check(t, open(t, c).Remove(t.Context(), "a"))
}

// A plugin that hangs: calls end with their context, and an agent that finds
// it so starts another.
func TestPluginHangs(t *testing.T) {
	c := config(t, "fake")
	d := open(t, c)
	before := pid(t, d, c)
	check(t, syscall.Kill(before, syscall.SIGSTOP))
	if !soon(func() bool { return state(before) == "T" }) {
		t.Fatal("the plugin does not hang")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := d.List(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("List: %v; want the end of the context", err)
	}
	d.Close()
	if testing.Short() {
		check(t, syscall.Kill(before, syscall.SIGKILL))
		t.Skip("the rest is not run: it waits for the agent's patience")
	}
	if after := pid(t, open(t, c), c); after == before || running(before) {
		t.Errorf("the plugin is process %d, was %d", after, before)
	}
}

// What cannot be a plugin is told so, and left.
func TestNotAPlugin(t *testing.T) {
	for role, says := range map[string]string{
		"chatty": "print nothing before", "ends": "stderr.log", "future": "version", "elsewhere": "plugin.Serve",
		"old": "no driver plugin", "endless": "introducing",
	} {
		c := config(t, role)
		d := open(t, c)
		begin := time.Now()
		_, err := d.List(t.Context())
		if !errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("%s: List: %v; want ErrUnavailable saying %q", role, err, says)
		}
		if p := readRecord(t, c).Process.PID; running(p) {
			t.Errorf("%s: process %d runs", role, p)
		}
		// Back-off: the error stands, nothing is executed for a moment.
		var again error
		if !soon(func() bool { _, again = d.List(t.Context()); return strings.Contains(again.Error(), "tried again in") }) {
			t.Errorf("%s: %v after %s; want back-off", role, again, time.Since(begin))
		}
	}
	// By hand.
	path, _ := self(t)
	out, err := (&exec.Cmd{Path: path, Env: []string{roleVariable + "=fake"}}).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "plugin") {
		t.Errorf("started by a person: %v, %q", err, out)
	}
}

// What New refuses, with the field.
func TestConfigRefused(t *testing.T) {
	good := config(t, "fake")
	for says, edit := range map[string]func(*plugin.Config){
		"DNS label":    func(c *plugin.Config) { c.Name = "../x" },
		"built-in":     func(c *plugin.Config) { c.Name = "process" },
		"not absolute": func(c *plugin.Config) { c.Path = "bin/x" },
		"sha256sum":    func(c *plugin.Config) { c.SHA256 = strings.ToUpper(c.SHA256[:10]) },
		"NAME=value":   func(c *plugin.Config) { c.Env = []string{"hunter2"} },
		"shorter":      func(c *plugin.Config) { c.RunDir += strings.Repeat("x", 100) },
		"open to others": func(c *plugin.Config) {
			c.RunDir = t.TempDir()
			check(t, os.Chmod(c.RunDir, 0o755))
		},
	} {
		c := good
		edit(&c)
		if _, err := plugin.New(c); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New: %v; want an error saying %q, without values", err, says)
		}
	}
}
