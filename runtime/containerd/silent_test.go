//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/api/types/task"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestSilentShim: containerd answers for a shim that is too slow, on a machine
// under load, with a process in no state at all. That is not known to be
// broken, and must not be replaced: also not by a driver that has never seen it
// run, as after an upgrade. The others are listed as ever.
func TestSilentShim(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	w := b.workload(t, "lines")
	start(t, d, w)
	other := b.workload(t, "lines")
	start(t, d, other)
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
		have, err := d.List(t.Context())
		if err != nil || len(have) != 2 || have[0].State != planner.StateRunning || have[1].State != planner.StateRunning {
			t.Errorf("%s lists %+v, %v; want both running", who, have, err)
		}
	}
	if err := syscall.Kill(shim, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the shim answers again", func() bool {
		have := find(t, d, w.ID)
		return have != nil && have.State == planner.StateRunning && have.Containers[0].PID == in.Containers[0].PID
	})
	for _, id := range []string{w.ID, other.ID} {
		if err := d.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
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

// TestManySilentShims are asked at once: a listing that takes the two seconds
// of each would never end in time.
func TestManySilentShims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := make([]container, 3*maxAsked)
		for i := range all {
			all[i].ID = strconv.Itoa(i)
			if i == 1 {
				all[i].process = &task.Process{Status: task.Status_RUNNING} // not asked
			}
		}
		begin, most, now := time.Now(), 0, 0
		var mu sync.Mutex
		count := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			now += n
			most = max(most, now)
		}
		err := askAgain(t.Context(), all, func(_ context.Context, id string) (*task.Process, error) {
			count(1)
			defer count(-1)
			if id == "2" {
				return nil, nil
			}
			time.Sleep(2 * time.Second)
			return nil, errSilentShim
		})
		if took := time.Since(begin); err != nil || took > 6*time.Second || most > maxAsked {
			t.Errorf("%d silent shims take %s, %d at once, %v", len(all), took, most, err)
		}
		for i, c := range all {
			if c.silent == (i == 1 || i == 2) {
				t.Errorf("container %d: silent %v", i, c.silent)
			}
		}
		broken := errors.New("broken")
		if err := askAgain(t.Context(), all, func(context.Context, string) (*task.Process, error) { return nil, broken }); !errors.Is(err, broken) {
			t.Errorf("an answer that is none: %v", err)
		}
	})
}
