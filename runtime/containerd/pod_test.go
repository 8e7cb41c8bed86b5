//go:build linux

package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// The containers of an instance share the network namespace they are given,
// and no other: one serves, the other is asked for it.
func TestPodSharesItsNetwork(t *testing.T) {
	b := testBench(t)
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("not run: ip, which makes a network namespace for this test, is not on PATH")
	}
	b.leavesNothing(t)
	name := fmt.Sprintf("octd-%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "del", name) })

	d := b.driver(t)
	w := b.workload(t, "serve")
	w.NetNS, w.Hostname = "/run/netns/"+name, "pod-0"
	w = twoContainers(w)
	w.Containers[0].Env = []runtime.Env{{Name: "PORT", Value: "80"}}
	w.Containers[1].Env = []runtime.Env{{Name: "PORT", Value: "81"}}
	start(t, d, w)
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]bool{}
	for _, c := range find(t, d, w.ID).Containers {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", c.PID))
		if err != nil {
			t.Fatal(err)
		}
		given[ns] = true
	}
	if len(given) != 1 || given[host] {
		t.Errorf("network namespaces are %v; want one that is not the host's, %s", given, host)
	}
	logHas(t, w, "ready")
	eventually(t, "both serve in the one namespace", func() bool {
		var out bytes.Buffer
		for _, table := range []string{"/proc/%d/net/tcp6", "/proc/%d/net/tcp"} {
			data, err := os.ReadFile(fmt.Sprintf(table, find(t, d, w.ID).Containers[0].PID))
			if err != nil {
				t.Fatal(err)
			}
			out.Write(data)
		}
		return strings.Contains(out.String(), ":0050 ") && strings.Contains(out.String(), ":0051 ")
	})
}

// A failing init container takes the start back and is named, with its exit.
func TestInitError(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	w := b.workload(t, "lines")
	first := w.Containers[0]
	first.Name, first.Args = "migrate", []string{"exit", "7"}
	w.Init = []runtime.Container{first}
	if _, err := d.Prepare(t.Context(), w, nil); err != nil {
		t.Fatal(err)
	}
	var failed *InitError
	if err := d.Start(t.Context(), w); !errors.As(err, &failed) || failed.Exit.Container != "migrate" || failed.Exit.Code != 7 {
		t.Errorf("Start: %v; want an InitError of migrate with code 7", err)
	}
}

// A command inside an instance: its output, its input, its code, its end with
// the context.
func TestExec(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	w := b.workload(t, "lines")
	w.Containers[0].Env = []runtime.Env{{Name: "CODE", Value: "9"}}
	start(t, d, w)
	var out bytes.Buffer
	code, err := d.Exec(t.Context(), w.ID, "main", []string{"/payload", "report"}, runtime.Streams{Out: &out})
	if err != nil || code != 0 || !strings.Contains(out.String(), "Seccomp: 2") {
		t.Errorf("report: code %d, %v, %s", code, err, out.String())
	}
	if code, err := d.Exec(t.Context(), w.ID, "", []string{"/payload", "exit", "9"}, runtime.Streams{}); err != nil || code != 9 {
		t.Errorf("exit 9: code %d, %v", code, err)
	}
	if _, err := d.Exec(t.Context(), w.ID, "other", []string{"/payload"}, runtime.Streams{}); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("in a container that is not there: %v; want ErrNotFound", err)
	}
	// What a command leaves behind holds its output open, not the command.
	out.Reset()
	if code, err := d.Exec(t.Context(), w.ID, "", []string{"/payload", "leave"}, runtime.Streams{Out: &out}); err != nil || code != 0 || out.String() != "left\n" {
		t.Errorf("leave: code %d, %v, %q", code, err, out.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := d.Exec(ctx, w.ID, "", []string{"/payload", "deaf"}, runtime.Streams{}); err == nil {
		t.Error("a command without an end ended")
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it was killed after %v", took)
	}
	pid := find(t, d, w.ID).Containers[0].PID
	eventually(t, "only the command that was killed is gone", func() bool { return runningBeside(pid, "deaf") == 1 })
	if exit := find(t, d, w.ID); exit == nil || exit.Exit != nil {
		t.Errorf("after the commands the instance is %+v", exit)
	}
}

// runningBeside counts the processes with an argument in the namespace of
// another.
func runningBeside(pid int, argument string) int {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		return 0
	}
	n := 0
	namespaces, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
	for _, path := range namespaces {
		line, _ := os.ReadFile(strings.TrimSuffix(path, "ns/pid") + "cmdline")
		if other, err := os.Readlink(path); err == nil && other == own && strings.Contains(string(line), "\x00"+argument) {
			n++
		}
	}
	return n
}
