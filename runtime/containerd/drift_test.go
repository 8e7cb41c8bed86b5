//go:build linux

package containerd

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Somebody deletes parts of instances behind the driver's back.
func TestDrift(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	task := b.client.TaskService()
	kill := func(t *testing.T, id string) {
		t.Helper()
		if _, err := task.Kill(b.ctx(), &tasks.KillRequest{ContainerID: id, Signal: uint32(syscall.SIGKILL), All: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := task.Wait(b.ctx(), &tasks.WaitRequest{ContainerID: id}); err != nil {
			t.Fatal(err)
		}
		if _, err := task.Delete(b.ctx(), &tasks.DeleteTaskRequest{ContainerID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		damage  func(t *testing.T, id string) // id of the first of two containers
		state   planner.InstanceState         // as the driver that started it lists it
		unaware planner.InstanceState         // as one lists it that has not seen it run
	}{
		// Its process is gone: lost. Another agent cannot know that it ever ran.
		{"process deleted", kill, planner.StateExited, planner.StatePartial},
		// ctr task kill, ctr container rm.
		{"process and record deleted", func(t *testing.T, id string) {
			kill(t, id)
			if err := b.client.ContainerService().Delete(b.ctx(), id); err != nil {
				t.Fatal(err)
			}
		}, planner.StatePartial, planner.StatePartial},
		// The record alone: the process runs on without it.
		{"record deleted", func(t *testing.T, id string) {
			if err := b.client.ContainerService().Delete(b.ctx(), id); err != nil {
				t.Fatal(err)
			}
		}, planner.StatePartial, planner.StatePartial},
		{"killed", func(t *testing.T, id string) {
			if _, err := task.Kill(b.ctx(), &tasks.KillRequest{ContainerID: id, Signal: uint32(syscall.SIGKILL)}); err != nil {
				t.Fatal(err)
			}
			if _, err := task.Wait(b.ctx(), &tasks.WaitRequest{ContainerID: id}); err != nil {
				t.Fatal(err)
			}
		}, planner.StateExited, planner.StateExited},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := twoContainers(b.workload(t, "lines"))
			start(t, d, w)
			if in := find(t, d, w.ID); in == nil || in.State != planner.StateRunning {
				t.Fatalf("listed as %+v", in)
			}
			c.damage(t, containerID(w.ID, 0))
			if in := find(t, d, w.ID); in == nil || in.State != c.state || in.Slot != w.Slot {
				t.Errorf("listed as %+v; want %s", in, c.state)
			}
			if in := find(t, b.driver(t), w.ID); in == nil || in.State != c.unaware {
				t.Errorf("another driver lists it as %+v; want %s", in, c.unaware)
			}
			if err := b.driver(t).Start(t.Context(), w); err != nil {
				t.Fatalf("start again: %v", err)
			}
			if in := find(t, d, w.ID); in == nil || in.State != planner.StateRunning || len(in.Containers) != 2 {
				t.Errorf("started again it is listed as %+v", in)
			}
		})
	}
}

func twoContainers(w runtime.Workload) runtime.Workload {
	second := w.Containers[0]
	second.Name, second.LogPath = "second", ""
	w.Containers = append(w.Containers, second)
	return w
}

// The only record of an instance is deleted: its process is still listed, with
// its slot, until it is removed.
func TestOrphan(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	for _, aware := range []bool{true, false} {
		d := b.driver(t)
		w := b.workload(t, "lines")
		start(t, d, w)
		if in := find(t, d, w.ID); in == nil || in.State != planner.StateRunning {
			t.Fatalf("listed as %+v", in)
		}
		if err := b.client.ContainerService().Delete(b.ctx(), containerID(w.ID, 0)); err != nil {
			t.Fatal(err)
		}
		if !aware {
			d = b.driver(t)
		}
		in := find(t, d, w.ID)
		if in == nil || in.State != planner.StatePartial || aware && in.Slot != w.Slot {
			t.Fatalf("listed as %+v; want partial", in)
		}
		if err := d.Stop(t.Context(), w.ID, time.Second); err != nil {
			t.Fatal(err)
		}
		if err := d.Remove(t.Context(), w.ID); err != nil {
			t.Fatal(err)
		}
		if in := find(t, d, w.ID); in != nil {
			t.Errorf("removed, but listed as %+v", *in)
		}
	}
}

// A shim dies with its container, containerd clears up after it: the driver
// that saw the instance run knows that it ended, not how.
func TestShimKilled(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	before := b.server.Shims()
	w := b.workload(t, "lines")
	start(t, d, w)
	for _, pid := range b.server.Shims() {
		if !slices.Contains(before, pid) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the instance has exited", func() bool {
		in := find(t, d, w.ID)
		return in != nil && in.State == planner.StateExited && in.Exit != nil
	})
	if err := d.Remove(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
}

// Wait ends with an error, not an exit, when containerd dies; calls work again
// when it is back, and the instance has lived through it.
func TestContainerdRestart(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	w := b.workload(t, "lines")
	start(t, d, w)
	pid := find(t, d, w.ID).Containers[0].PID
	waited := make(chan error, 1)
	go func() {
		_, err := d.Wait(t.Context(), w.ID)
		waited <- err
	}()
	hints, err := d.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil {
		t.Error("Wait tells an exit when only containerd died")
	}
	for range hints { // ends, since the channel is closed
		continue
	}
	if _, err := d.List(t.Context()); !isUnavailable(err) {
		t.Errorf("List without containerd: %v; want ErrUnavailable", err)
	}
	if err := b.server.Restart(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, "List works again", func() bool { _, err := d.List(t.Context()); return err == nil })
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("List works only %s after containerd", took)
	}
	in := find(t, d, w.ID)
	if in == nil || in.State != planner.StateRunning || in.Containers[0].PID != pid {
		t.Errorf("after the restart it is listed as %+v; want running with pid %d", in, pid)
	}
}
