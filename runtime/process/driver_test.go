//go:build linux

package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Whatever cannot be executed is told with its path and remedy, and leaves
// nothing.
func TestCannotExecute(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	tests := []struct {
		name    string
		command string
		cwd     string
		says    []string
	}{
		// The program is not on the node.
		{"missing", "/no/such/program", "", []string{"/no/such/program", "install"}},
		// A name without a path is looked for in the workload's PATH.
		{"not in PATH", "no-such-program", "", []string{"no-such-program", "PATH"}},
		// The file may not be executed.
		{"not executable", file("plain", "x", 0o600), "", []string{dir, "chmod +x"}},
		// A folder is no program.
		{"folder", dir, "", []string{dir}},
		// Neither ELF nor script.
		{"no format", file("noise", "\x01\x02", 0o755), "", []string{dir, "#!"}},
		// The script's interpreter is missing, not the script.
		{"no interpreter", file("script", "#!/no/such/sh\n", 0o755), "", []string{"script", "interpreter"}},
		// The working directory is missing, not the program.
		{"no directory", "/bin/true", "/no/such/dir", []string{"/no/such/dir", "workingDir"}},
	}
	c := Config{StateDir: t.TempDir()}
	d := open(t, c)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := runtime.Workload{ID: "a", Containers: []runtime.Container{{Name: "main", Command: []string{test.command}, WorkingDir: test.cwd}}}
			err := d.Start(t.Context(), w)
			if !errors.Is(err, runtime.ErrInvalid) {
				t.Fatalf("Start: %v; want ErrInvalid", err)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("Start: %v; want it to say %q", err, part)
				}
			}
			if left := leftovers(t, c.StateDir); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// What the driver does not do is refused, not left out silently.
func TestRefused(t *testing.T) {
	minus, yes := int64(-1), true
	tests := map[string]func(w *runtime.Workload, c *runtime.Container){
		"id that leads out of the folder": func(w *runtime.Workload, _ *runtime.Container) { w.ID = ".." },
		"id with a slash":                 func(w *runtime.Workload, _ *runtime.Container) { w.ID = "a/b" },
		"id of a hidden file":             func(w *runtime.Workload, _ *runtime.Container) { w.ID = hintFile },
		"no id":                           func(w *runtime.Workload, _ *runtime.Container) { w.ID = "" },
		"namespace":                       func(w *runtime.Workload, _ *runtime.Container) { w.NetNS = "/run/netns/a" },
		"init containers":                 func(w *runtime.Workload, c *runtime.Container) { w.Init = []runtime.Container{*c} },
		"no command":                      func(_ *runtime.Workload, c *runtime.Container) { c.Command, c.Args = nil, nil },
		"image":                           func(_ *runtime.Workload, c *runtime.Container) { c.Image = "web:1" },
		"mount":                           func(_ *runtime.Workload, c *runtime.Container) { c.Mounts = []runtime.Mount{{}} },
		"device":                          func(_ *runtime.Workload, c *runtime.Container) { c.Devices = []string{"/dev/null"} },
		"privileged":                      func(_ *runtime.Workload, c *runtime.Container) { c.Security.Privileged = yes },
		"unknown signal":                  func(_ *runtime.Workload, c *runtime.Container) { c.StopSignal = "SIGNOT" },
		"negative user":                   func(_ *runtime.Workload, c *runtime.Container) { c.Security.RunAsUser = &minus },
		"variable with =":                 func(_ *runtime.Workload, c *runtime.Container) { c.Env = []runtime.Env{{Name: "A=B"}} },
		"value with zero byte": func(_ *runtime.Workload, c *runtime.Container) {
			c.Env = []runtime.Env{{Name: "A", Value: "secret\x00"}}
		},
		"argument with zero byte": func(_ *runtime.Workload, c *runtime.Container) { c.Args = []string{"\x00"} },
	}
	c := Config{StateDir: t.TempDir()}
	d := open(t, c)
	for name, spoil := range tests {
		w := workload(t, "a", "sleep")
		spoil(&w, &w.Containers[0])
		err := d.Start(t.Context(), w)
		if !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("%s: Start: %v; want ErrInvalid", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the value", name)
		}
	}
	if left := leftovers(t, c.StateDir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A limit that nobody enforces is refused.
func TestLimitsWithoutCgroups(t *testing.T) {
	d := open(t, Config{StateDir: t.TempDir(), NoCgroups: true})
	w := workload(t, "a", "sleep")
	w.Containers[0].Resources.Limits.MemoryBytes = 1 << 30
	if err := d.Start(t.Context(), w); !errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("Start: %v; want ErrInvalid", err)
	}
}

// A log that leads elsewhere, or blocks, is refused.
func TestLogIsNoRegularFile(t *testing.T) {
	d := open(t, Config{StateDir: t.TempDir()})
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	check(t, os.WriteFile(victim, nil, 0o644))
	link, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	check(t, os.Symlink(victim, link))
	check(t, unix.Mkfifo(pipe, 0o600))
	for _, path := range []string{link, pipe, dir, "/dev/null"} {
		w := workload(t, "a", "say", "hello")
		w.Containers[0].LogPath = path
		if err := d.Start(t.Context(), w); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("log %s: Start: %v; want an error naming it", path, err)
		}
	}
	if text := must(os.ReadFile(victim)); len(text) > 0 {
		t.Errorf("the link was followed: %q", text)
	}
}

// Folders that say nothing useful neither break the listing nor are lost.
func TestGarbageInTheStateFolder(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		for name, text := range map[string]string{
			"empty": "", "broken": "{", "other": `{"version":1,"id":"somebody"}`, "future": `{"version":9,"id":"future"}`,
			"huge": strings.Repeat("x", 2*maxStateSize), "odd": `{"version":1,"id":"odd","shim":{"pid":-1}}`,
			"foreign": `{"version":1,"id":"foreign","group":{"unified":"/sys/fs/cgroup/unified/system"}}`,
		} {
			check(t, os.Mkdir(filepath.Join(c.StateDir, name), 0o700))
			check(t, os.WriteFile(filepath.Join(c.StateDir, name, stateFile), []byte(text), 0o600))
		}
		check(t, os.Mkdir(filepath.Join(c.StateDir, "none"), 0o700))
		check(t, os.MkdirAll(filepath.Join(c.StateDir, "folder", stateFile), 0o700))
		check(t, os.Mkdir(filepath.Join(c.StateDir, "pipe"), 0o700))
		check(t, unix.Mkfifo(filepath.Join(c.StateDir, "pipe", stateFile), 0o600))
		check(t, os.WriteFile(filepath.Join(c.StateDir, "file"), nil, 0o600))
		defer os.Remove(filepath.Join(c.StateDir, "file"))
		good := started(t, d, workload(t, "good", "sleep"))
		if l := only(t, d); l.ID != "good" {
			t.Errorf("listed as %+v; want the good one alone", l)
		}
		check(t, d.Sweep(t.Context(), map[string]bool{"good": true, "broken": true}))
		left := must(d.folders())
		if strings.Join(left, " ") != "broken good" || !good.state.Workload.alive() {
			t.Errorf("folders after Sweep: %q; want the live ones", left)
		}
		// The instance whose state is lost while it runs is left alone by
		// Sweep, and replaced by Start.
		check(t, os.WriteFile(filepath.Join(d.folder("good"), stateFile), []byte("lost"), 0o600))
		check(t, d.Sweep(t.Context(), nil))
		if !good.state.Workload.alive() {
			t.Error("Sweep killed what it cannot read")
		}
		check(t, d.Start(t.Context(), workload(t, "good", "sleep")))
		if good.state.Workload.alive() {
			t.Error("Start left the old process beside the new one")
		}
		check(t, d.Remove(t.Context(), "good"))
	})
}

// A start that was cut off before its shim came far is listed with its
// identity, and replaced or removed.
func TestPartial(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		w := workload(t, "a", "sleep")
		w.Token = 7
		j := must(d.job(w))
		for _, end := range []func() error{
			func() error { return d.Start(t.Context(), w) },
			func() error { return d.Stop(t.Context(), "a", time.Hour) },
		} {
			check(t, os.Mkdir(d.folder("a"), 0o700))
			check(t, writeAtomic(filepath.Join(d.folder("a"), stateFile), j.State, false))
			if l := only(t, d); l.State != planner.StatePartial || l.Token != 7 {
				t.Errorf("listed as %+v; want partial with its token", l)
			}
			check(t, end())
			check(t, d.Remove(t.Context(), "a"))
		}
	})
}

// Nothing of the agent reaches the program, and no secret the disk, a command
// line or the shim's environment.
func TestNothingLeaksIn(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		// A descriptor that the agent itself inherited, not closed on exec.
		inherited := must(unix.Dup(1))
		defer unix.Close(inherited)
		w := workload(t, "a", "sleep")
		w.Containers[0].Env = []runtime.Env{{Name: "KEY", Value: "hunter2", Secret: true}}
		// Not a Go program: those open files of their own.
		w.Containers[0].Command, w.Containers[0].Args = []string{"/bin/sleep", "3600"}, nil
		check(t, d.Start(t.Context(), w))
		i := must(d.load("a"))
		program := "/proc/" + strconv.Itoa(i.state.Workload.PID)
		more := ""
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			more = ""
			for _, e := range must(os.ReadDir(program + "/fd")) {
				target, _ := os.Readlink(program + "/fd/" + e.Name())
				if n, _ := strconv.Atoi(e.Name()); n > 2 {
					more = e.Name() + ": " + target
				}
			}
			if more == "" { // its libraries are loaded
				break
			}
		}
		if more != "" {
			t.Errorf("the program has descriptor %s open", more)
		}
		shim := "/proc/" + strconv.Itoa(i.state.Shim.PID)
		for _, file := range []string{shim + "/cmdline", shim + "/environ", program + "/cmdline", d.folder("a") + "/" + stateFile} {
			if strings.Contains(string(must(os.ReadFile(file))), "hunter2") {
				t.Errorf("%s shows the secret", file)
			}
		}
		if cwd := must(os.Readlink(program + "/cwd")); cwd != filepath.Join(d.folder("a"), workDir) {
			t.Errorf("the program works in %s", cwd)
		}
		if info := must(os.Stat(d.folder("a"))); info.Mode().Perm() != 0o700 {
			t.Errorf("the folder has mode %s", info.Mode())
		}
		check(t, d.Remove(t.Context(), "a"))
	})
}

// A user that cannot walk the state folder still has its working directory.
func TestUserWorksInItsFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not run: another user needs root")
	}
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		w := workload(t, "a", "write", "here", "text")
		uid := int64(12345)
		w.Containers[0].Security.RunAsUser = &uid
		check(t, d.Start(t.Context(), w))
		if e := must(d.Wait(t.Context(), "a")); e.Code != 0 {
			t.Errorf("exit is %+v: %s", e, must(os.ReadFile(w.Containers[0].LogPath)))
		}
		check(t, d.Remove(t.Context(), "a"))
	})
}

// A user runs with a group of its own, not with the agent's, which is root's.
func TestGroupOfTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not run: another user needs root")
	}
	id := func(n int64) *int64 { return &n }
	d := open(t, Config{StateDir: t.TempDir(), CgroupParent: cgroupParent})
	for _, c := range []struct {
		user, group *int64
		want        string
	}{
		{id(12345), nil, "12345"}, // no account
		{id(12345), id(0), "0"},   // as asked for
		{id(0), nil, "0"},         // root's account
		{nil, id(54321), "54321"}, // the agent's user
		{nil, nil, "0"},           // the agent's user and group
	} {
		w := workload(t, "a", "sleep")
		w.Containers[0].Security.RunAsUser, w.Containers[0].Security.RunAsGroup = c.user, c.group
		i := started(t, d, w)
		status := string(must(os.ReadFile("/proc/" + strconv.Itoa(i.state.Workload.PID) + "/status")))
		if !strings.Contains(status, "\nGid:\t"+c.want+"\t") {
			t.Errorf("user %v, group %v: group is not %s:\n%s", c.user, c.group, c.want, status)
		}
		check(t, d.Remove(t.Context(), "a"))
	}
}

// Shims are collected when they end.
func TestNoZombies(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		for range 5 {
			i := started(t, d, workload(t, "a", "sleep"))
			check(t, d.Remove(t.Context(), "a"))
			if !soon(func() bool { _, err := readStat(i.state.Shim.PID); return err != nil }) {
				t.Errorf("shim %d is still there", i.state.Shim.PID)
			}
		}
	})
}

// BenchmarkStart measures from the call until the program was executed, and
// what a shim weighs.
func BenchmarkStart(b *testing.B) {
	d, err := New(Config{StateDir: b.TempDir(), CgroupParent: cgroupParent})
	if err != nil {
		b.Fatal(err)
	}
	defer d.cgroups.removeEmpty()
	n := 0
	var pages int64
	for b.Loop() {
		n++
		w := runtime.Workload{ID: "a" + strconv.Itoa(n), Containers: []runtime.Container{{Name: "main", Command: []string{"/bin/sleep", "3600"}}}}
		if err := d.Start(b.Context(), w); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		i := must(d.load(w.ID))
		pages += must(readStat(i.state.Shim.PID)).pages
		if err := d.Remove(b.Context(), w.ID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(pages*int64(os.Getpagesize()))/float64(n)/(1<<20), "shim-MiB-RSS")
}

// TestRemoveCgroups: the driver's cgroups go with its last process, and no sooner.
func TestRemoveCgroups(t *testing.T) {
	d := open(t, Config{StateDir: t.TempDir()})
	if len(d.cgroups.own()) == 0 {
		t.Skip("no cgroups here that this user may change")
	}
	w := runtime.Workload{ID: "a", Containers: []runtime.Container{{Name: "main", Command: []string{"/bin/sleep", "3600"}}}}
	check(t, d.Start(t.Context(), w))
	at, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.RemoveCgroups(at); err == nil || !strings.Contains(err.Error(), d.space) {
		t.Errorf("a process runs: %v", err)
	}
	check(t, d.Stop(t.Context(), "a", 0))
	check(t, d.Remove(t.Context(), "a"))
	check(t, d.RemoveCgroups(t.Context()))
	if left := d.cgroups.own(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}
