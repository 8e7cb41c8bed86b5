//go:build linux

package containerd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// TestSilentShim: containerd answers for a shim that is too slow, on a machine
// under load, with a process in no state at all. That is not known to be
// broken, and must not be replaced: also not by a driver that has never seen it
// run, as after an upgrade.
func TestSilentShim(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	w := b.workload(t, "lines")
	start(t, d, w)
	in := find(t, d, w.ID)
	if in == nil || in.State != planner.StateRunning {
		t.Fatalf("listed as %+v", in)
	}
	shim := parentOf(t, in.Containers[0].PID)
	if err := syscall.Kill(shim, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(shim, syscall.SIGCONT)
	for who, d := range map[string]*Driver{"the driver that started it": d, "another": b.driver(t)} {
		if have, err := d.List(t.Context()); !errors.Is(err, runtime.ErrUnavailable) {
			t.Errorf("%s lists %+v, %v; want it unavailable", who, have, err)
		}
	}
	if err := syscall.Kill(shim, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the shim answers again", func() bool {
		have, err := d.List(t.Context())
		return err == nil && len(have) == 1 && have[0].State == planner.StateRunning && have[0].Containers[0].PID == in.Containers[0].PID
	})
	if err := d.Remove(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
}

func parentOf(t *testing.T, pid int) (parent int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nPPid:")
	if _, err := fmt.Sscan(rest, &parent); err != nil || parent <= 1 {
		t.Fatalf("parent of %d: %d, %v", pid, parent, err)
	}
	return parent
}
