//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// eachWay runs a test with cgroups and without.
func eachWay(t *testing.T, test func(t *testing.T, c Config)) {
	for name, without := range map[string]bool{"cgroups": false, "subreaper": true} {
		t.Run(name, func(t *testing.T) {
			c := Config{StateDir: t.TempDir(), NoCgroups: without}
			before := openFiles(t)
			test(t, c)
			for _, i := range must(open(t, c).List(t.Context())) {
				t.Errorf("the test left %+v", i)
			}
			check(t, open(t, c).Sweep(t.Context(), nil))
			var left []string
			if !soon(func() bool { left = leftovers(t, c.StateDir); return len(left) == 0 }) {
				t.Errorf("left behind: %q", left)
			}
			var after []string
			if !soon(func() bool { after = openFiles(t); return len(after) <= len(before) }) {
				t.Errorf("file descriptors leaked: before %q, after %q", before, after)
			}
		})
	}
}

// openFiles lists what the test process has open, but for the logs of tests.
func openFiles(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	var open []string
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasSuffix(target, "/fd") {
			open = append(open, target)
		}
	}
	return open
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func soon(condition func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return poll(ctx, condition) == nil
}

func workload(t *testing.T, id string, args ...string) runtime.Workload {
	return runtime.Workload{
		ID:   id,
		Slot: planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: "web"}, Name: "0"},
		Containers: []runtime.Container{{
			Name: "main", Command: []string{payload(t)}, Args: args, LogPath: filepath.Join(t.TempDir(), "log"),
		}},
	}
}

// started starts the workload and waits for "ready" in its log.
func started(t *testing.T, d *Driver, w runtime.Workload) instance {
	t.Helper()
	check(t, d.Start(t.Context(), w))
	if !soon(func() bool {
		log, _ := os.ReadFile(w.Containers[0].LogPath)
		return bytes.Contains(log, []byte("ready"))
	}) {
		t.Fatal("the payload is not ready")
	}
	return must(d.load(w.ID))
}

func carriers(token string) []int {
	return slices.DeleteFunc(must(processes()), func(pid int) bool {
		line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		return !bytes.Contains(line, []byte("\x00"+token+"\x00"))
	})
}

// only is the one listed instance.
func only(t *testing.T, d *Driver) planner.Instance {
	t.Helper()
	have := must(d.List(t.Context()))
	if len(have) != 1 {
		t.Fatalf("%d instances are listed; want 1: %+v", len(have), have)
	}
	return have[0]
}

// A killed shim: the listing tells the truth, Stop takes the whole tree.
func TestShimKilled(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		token := filepath.Base(c.StateDir) + t.Name()
		i := started(t, d, workload(t, "a", "tree", token))
		check(t, i.state.Shim.signal(unix.SIGKILL))
		if !soon(func() bool { return !i.state.Shim.alive() }) {
			t.Fatal("the shim lives")
		}
		d = open(t, c)
		if l := only(t, d); l.State != planner.StateRunning || l.Containers[0].PID != i.state.Workload.PID {
			t.Fatalf("listed as %+v; want running as process %d", l, i.state.Workload.PID)
		}
		if n := len(carriers(token)); n != 5 {
			t.Fatalf("%d of 5 processes run without their shim", n)
		}
		waited := make(chan planner.Exit)
		go func() { e, _ := d.Wait(t.Context(), "a"); waited <- e }()
		check(t, d.Stop(t.Context(), "a", 50*time.Millisecond))
		if left := carriers(token); len(left) > 0 {
			t.Errorf("processes %d survived", left)
		}
		if e := <-waited; !e.Unknown {
			t.Errorf("exit is %+v; want unknown", e)
		}
		if l := only(t, d); l.State != planner.StateExited || l.Exit == nil || !l.Exit.Unknown {
			t.Errorf("listed as %+v; want an unknown exit", l)
		}
		check(t, d.Remove(t.Context(), "a"))
	})
}

// A tree whose program and shim both were killed is still taken.
func TestShimAndProgramKilled(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		token := filepath.Base(c.StateDir) + t.Name()
		i := started(t, d, workload(t, "a", "tree", token))
		check(t, i.state.Shim.signal(unix.SIGKILL))
		check(t, i.state.Workload.signal(unix.SIGKILL))
		if !soon(func() bool { return len(carriers(token)) == 4 && only(t, d).State == planner.StateExited }) {
			t.Fatalf("%d processes run, listed as %+v", len(carriers(token)), only(t, d))
		}
		check(t, d.Remove(t.Context(), "a"))
		if left := carriers(token); len(left) > 0 {
			t.Errorf("processes %d survived", left)
		}
	})
}

// A shim that hangs does not hold up Stop for ever.
func TestShimHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("not run: it waits for the shim's patience")
	}
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		i := started(t, d, workload(t, "a", "ignore"))
		check(t, i.state.Shim.signal(unix.SIGSTOP))
		check(t, d.Remove(t.Context(), "a"))
		if i.state.Workload.alive() || i.state.Shim.alive() {
			t.Error("something survived")
		}
	})
}

// After a reboot the process ids of the state files belong to others.
func TestReboot(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		other := exec.Command("sleep", "3600")
		check(t, other.Start())
		defer func() { other.Process.Kill(); other.Wait() }()
		them := must(identify(other.Process.Pid))
		for id, boot := range map[string]string{"before": "an earlier boot", "reused": d.boot} {
			s := state{Version: stateVersion, ID: id, Container: "main", Boot: boot, Group: d.cgroups.group(id), Shim: them, Workload: them}
			if boot == d.boot { // same boot: the id went round
				s.Shim.Start--
				s.Workload.Start--
			}
			check(t, os.Mkdir(d.folder(id), 0o700))
			check(t, writeAtomic(filepath.Join(d.folder(id), stateFile), s, false))
		}
		for _, l := range must(d.List(t.Context())) {
			if l.State != planner.StateExited || l.Exit == nil || !l.Exit.Unknown {
				t.Errorf("listed as %+v; want an unknown exit", l)
			}
			check(t, d.Stop(t.Context(), l.ID, time.Second))
			check(t, d.Remove(t.Context(), l.ID))
		}
		if !them.alive() {
			t.Error("a process of somebody else was killed")
		}
	})
}

// A program that forks all the time cannot outrun Stop.
func TestForkBomb(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		token := "bomb" + filepath.Base(filepath.Dir(c.StateDir)) + strconv.Itoa(os.Getpid())
		check(t, d.Start(t.Context(), workload(t, "a", "bomb", token)))
		if !soon(func() bool { return len(carriers(token)) > 20 }) {
			t.Fatal("the bomb does not go off")
		}
		begin := time.Now()
		check(t, d.Remove(t.Context(), "a"))
		if left := carriers(token); len(left) > 0 {
			t.Errorf("processes %d survived", left)
		}
		t.Logf("killed within %s", time.Since(begin))
	})
}

// starter is the helper process of TestAgentKilledWhileStarting.
func starter() {
	d, err := New(Config{StateDir: os.Args[1], NoCgroups: os.Args[2] == "subreaper", CgroupParent: cgroupParent})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		w := runtime.Workload{
			ID:         os.Args[3] + "-" + strconv.Itoa(n),
			Containers: []runtime.Container{{Name: "main", Command: []string{os.Args[4], "sleep"}}},
		}
		go d.Start(context.Background(), w)
		if err := d.Start(context.Background(), runtime.Workload{ID: w.ID + "-b", Containers: w.Containers}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("started")
	}
}

// An agent killed in the middle of starts leaves instances that are complete
// or listed as partial, and nothing that is not listed.
func TestAgentKilledWhileStarting(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		program := payload(t)
		for round := range 8 {
			agent := exec.Command("/proc/self/exe", c.StateDir, filepath.Base(t.Name()), "r"+strconv.Itoa(round), program)
			agent.Env = []string{roleVariable + "=starter"}
			out := must(agent.StdoutPipe())
			check(t, agent.Start())
			// Killed at another point of the second start each time.
			must(out.Read(make([]byte, 64)))
			time.Sleep(time.Duration(round) * 700 * time.Microsecond)
			agent.Process.Kill()
			agent.Wait()

			d := open(t, c)
			for _, i := range must(d.List(t.Context())) {
				again := runtime.Workload{ID: i.ID, Containers: []runtime.Container{{Name: "main", Command: []string{program, "sleep"}}}}
				check(t, d.Start(t.Context(), again))
				if l := must(d.load(i.ID)); l.listed().State != planner.StateRunning {
					t.Errorf("%s is %s after Start; it was %s", i.ID, l.listed().State, i.State)
				}
			}
			have := must(d.List(t.Context()))
			live := map[string]bool{}
			for _, i := range have {
				live[i.ID] = true
			}
			check(t, d.Sweep(t.Context(), live))
			if after := must(d.List(t.Context())); len(after) != len(have) {
				t.Errorf("%d instances are listed after Sweep; want %d", len(after), len(have))
			}
			if n, shims := len(strays(t, d)), len(shims(t, c.StateDir)); n != len(have) || shims != len(have) {
				t.Errorf("%d instances, %d processes, %d shims; want the same", len(have), n, shims)
			}
			for _, i := range have {
				check(t, d.Remove(t.Context(), i.ID))
			}
			if left := leftovers(t, c.StateDir); len(left) > 0 {
				t.Fatalf("round %d left %q", round, left)
			}
		}
	})
}

// Start returns early when its context ends, and leaves nothing.
func TestStartCutOff(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		d := open(t, c)
		for n := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*300*time.Microsecond)
			w := workload(t, "a", "sleep")
			err := d.Start(ctx, w)
			cancel()
			if err == nil {
				check(t, d.Remove(t.Context(), "a"))
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Start: %v; want the end of the context", err)
			}
			if left := leftovers(t, c.StateDir); len(left) > 0 {
				t.Fatalf("left behind: %q", left)
			}
		}
	})
}
