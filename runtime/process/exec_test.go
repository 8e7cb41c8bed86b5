//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// A command beside a process is like it: environment, folder, user; it gives
// its output and its code, and ends with its context, children included.
func TestExec(t *testing.T) {
	d := open(t, Config{StateDir: t.TempDir()})
	c := runtime.Container{Name: "main", Command: []string{"/bin/sleep", "1000"}, Env: []runtime.Env{{Name: "COLOUR", Value: "blue"}}}
	uid := int64(65534)
	if os.Geteuid() == 0 {
		c.Security = planner.Security{RunAsUser: &uid, RunAsGroup: &uid}
	}
	w := runtime.Workload{ID: "a", Containers: []runtime.Container{c}}
	check(t, d.Start(t.Context(), w))
	run := func(ctx context.Context, in string, argv ...string) (string, int, error) {
		var out bytes.Buffer
		streams := runtime.Streams{Out: &out}
		if in != "" {
			streams.In = strings.NewReader(in)
		}
		code, err := d.Exec(ctx, "a", "main", argv, streams)
		return out.String(), code, err
	}
	out, code, err := run(t.Context(), "", "sh", "-c", "echo $COLOUR; pwd; id -u; grep NoNewPrivs /proc/self/status; exit 7")
	if err != nil || code != 7 || !strings.Contains(out, "blue\n") || !strings.Contains(out, filepath.Join("a", workDir)) || !strings.Contains(out, "NoNewPrivs:\t1") {
		t.Errorf("code %d, %v:\n%s", code, err, out)
	}
	if os.Geteuid() == 0 && !strings.Contains(out, "\n65534\n") {
		t.Errorf("it ran as another user:\n%s", out)
	}
	if out, _, err := run(t.Context(), "one\ntwo\n", "cat"); err != nil || out != "one\ntwo\n" {
		t.Errorf("input: %q, %v", out, err)
	}
	if _, code, err := run(t.Context(), "", "sh", "-c", "kill -9 $$"); err != nil || code != 137 {
		t.Errorf("killed: code %d, %v", code, err)
	}
	if _, _, err := run(t.Context(), "", "/no/such/program"); !errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("no program: %v", err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := run(ctx, "", "sh", "-c", "trap '' TERM; sleep 987 & sleep 987"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without an end: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); runs("987"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("children of a command that was killed run on")
		}
	}
	// What a command leaves behind holds its output open, not the command; it
	// goes with the instance.
	began := time.Now()
	if out, code, err := run(t.Context(), "", "sh", "-c", "setsid sleep 986 & echo left"); err != nil || code != 0 || out != "left\n" || time.Since(began) > 20*time.Second {
		t.Errorf("left behind: %q, code %d, %v after %v", out, code, err, time.Since(began))
	}
	check(t, d.Stop(t.Context(), "a", 0))
	if runs("986") {
		t.Error("what a command left behind outlives its instance")
	}
	for _, name := range []string{"main", "other"} {
		if _, err := d.Exec(t.Context(), "a", name, []string{"true"}, runtime.Streams{}); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("after its end: %v", err)
		}
	}
	check(t, d.Remove(t.Context(), "a"))
}

// runs reports whether a sleep for so long is going on.
func runs(seconds string) bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && string(line) == "sleep\x00"+seconds+"\x00" {
			return true
		}
	}
	return false
}
