//go:build linux

package containerd

import (
	"context"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"

	"github.com/orpheus-cd/orpheus/planner"
)

const smallMemory = 32 << 20

// Ten of ten deaths for memory are told as such, by Wait and by the listing of
// a driver that was not there when it happened.
func TestOOM(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	for range 10 {
		w := b.workload(t, "memory")
		w.Containers[0].Resources.Limits.MemoryBytes = smallMemory
		start(t, d, w)
		exit, err := d.Wait(t.Context(), w.ID)
		if err != nil || !exit.OOM || exit.Code != 137 || exit.Signal != int(syscall.SIGKILL) || exit.At.IsZero() {
			t.Fatalf("Wait: %+v, %v; want an out-of-memory kill", exit, err)
		}
		in := find(t, b.driver(t), w.ID)
		if in == nil || in.State != planner.StateExited || in.Exit == nil || !in.Exit.OOM {
			t.Fatalf("listed as %+v; want exited for memory", in)
		}
	}
}

// Another death by the same signal is no lack of memory, with and without a
// limit.
func TestKilledIsNotOOM(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	for _, limit := range []int64{0, 256 << 20} {
		w := b.workload(t, "lines")
		w.Containers[0].Resources.Limits.MemoryBytes = limit
		start(t, d, w)
		_, err := b.client.TaskService().Kill(b.ctx(), &tasks.KillRequest{ContainerID: containerID(w.ID, 0), Signal: uint32(syscall.SIGKILL)})
		if err != nil {
			t.Fatal(err)
		}
		exit, err := d.Wait(context.Background(), w.ID)
		if err != nil || exit.OOM || exit.Code != 137 || exit.Signal != int(syscall.SIGKILL) {
			t.Errorf("Wait: %+v, %v; want a kill that is none for memory", exit, err)
		}
	}
}
