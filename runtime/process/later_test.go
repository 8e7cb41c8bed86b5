//go:build linux

package process

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// TestLaterVersion goes back to an agent that cannot read what a later one
// wrote of a running process: it touches nothing and says so, and the later
// one finds everything as it was. Once the process has ended there is nothing
// to spare any more.
func TestLaterVersion(t *testing.T) {
	config := Config{StateDir: t.TempDir()}
	d := open(t, config)
	w := runtime.Workload{ID: "a", Containers: []runtime.Container{{Name: "main", Command: []string{"/bin/sleep", "1000"}}}}
	check(t, d.Start(t.Context(), w))
	file := filepath.Join(config.StateDir, "a", stateFile)
	written, err := os.ReadFile(file)
	check(t, err)
	later := bytes.Replace(written, []byte(`"version":1`), []byte(`"version":2,"more":{}`), 1)
	check(t, os.WriteFile(file, later, 0o600))
	i, err := decodeState(written, "a")
	check(t, err)

	for what, call := range map[string]func() error{
		"List":   func() error { _, err := d.List(t.Context()); return err },
		"Start":  func() error { return d.Start(t.Context(), w) },
		"Stop":   func() error { return d.Stop(t.Context(), "a", time.Second) },
		"Remove": func() error { return d.Remove(t.Context(), "a") },
		"Sweep":  func() error { return d.Sweep(t.Context(), nil) },
	} {
		if err := call(); !errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(err.Error(), "later version") {
			t.Errorf("%s: %v, want it unavailable", what, err)
		}
	}
	check(t, os.WriteFile(file, written, 0o600))
	have, err := d.List(t.Context())
	if err != nil || len(have) != 1 || have[0].Containers[0].PID != i.Workload.PID {
		t.Errorf("the later version finds %+v, %v; want process %d", have, err, i.Workload.PID)
	}

	check(t, d.Stop(t.Context(), "a", 0))
	check(t, os.WriteFile(file, later, 0o600))
	if have, err := d.List(t.Context()); err != nil || len(have) != 0 {
		t.Errorf("ended: %+v, %v", have, err)
	}
	check(t, d.Remove(t.Context(), "a"))
}

// TestExposedToOOM: what spares the agent when memory runs out is not for what
// it starts.
func TestExposedToOOM(t *testing.T) {
	const own = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(own)
	check(t, err)
	if err := os.WriteFile(own, []byte("-7"), 0); err != nil {
		t.Skipf("this user may not lower the score: %v", err)
	}
	defer func() { check(t, os.WriteFile(own, bytes.TrimSpace(before), 0)) }()
	d := open(t, Config{StateDir: t.TempDir()})
	w := runtime.Workload{ID: "a", Containers: []runtime.Container{{Name: "main", Command: []string{"/bin/sleep", "1000"}}}}
	check(t, d.Start(t.Context(), w))
	i, err := d.load("a")
	check(t, err)
	for _, p := range []process{i.state.Shim, i.state.Workload} {
		if score, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "oom_score_adj")); err != nil || string(score) != "0\n" {
			t.Errorf("process %d has the score %q, %v", p.PID, score, err)
		}
	}
	check(t, d.Remove(t.Context(), "a"))
}
