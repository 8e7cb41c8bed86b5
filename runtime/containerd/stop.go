//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"golang.org/x/sync/errgroup"
)

// killCheck is how often a process that was killed is looked at again, in case
// the kill or the news of its end was lost.
const killCheck = 2 * time.Second

// busyTimeout is how long a removed instance's cgroup may stay busy.
const busyTimeout = 10 * time.Second

// Stop signals all containers of the instance at once, kills what is left
// after grace, and returns when nothing runs. Called again, it keeps to the
// time given the first time.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	ctx = d.context(ctx)
	containers, err := d.containersOf(ctx, id)
	if err != nil {
		return fmt.Errorf("stop %s: %w", id, err)
	}
	deadline := d.killTime(id, grace)
	var g errgroup.Group
	for _, c := range containers {
		g.Go(func() error { return d.stopContainer(ctx, c, deadline) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("stop %s: %w", id, err)
	}
	d.forgetKillTime(id)
	return nil
}

// killTime is when an instance is killed: the earliest that was asked for.
func (d *Driver) killTime(id string, grace time.Duration) time.Time {
	deadline := time.Now().Add(grace)
	d.mu.Lock()
	defer d.mu.Unlock()
	if earlier, ok := d.stopping[id]; ok && earlier.Before(deadline) {
		return earlier
	}
	d.stopping[id] = deadline
	return deadline
}

func (d *Driver) forgetKillTime(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.stopping, id)
}

// containersOf lists what there is of an instance, including processes whose
// record was deleted.
func (d *Driver) containersOf(ctx context.Context, id string) ([]container, error) {
	records, err := d.records(ctx, instanceFilter(id))
	if err != nil {
		return nil, err
	}
	processes, err := d.processes(ctx)
	if err != nil {
		return nil, err
	}
	var out []container
	for _, rec := range records {
		out = append(out, container{record: rec, process: processes[rec.ID]})
		delete(processes, rec.ID)
	}
	for cid, p := range processes {
		if prefix, ours := prefixOf(cid); ours && prefix == containerPrefix(id) {
			out = append(out, container{record: record{ID: cid}, process: p})
		}
	}
	return out, nil
}

// stopContainer ends one container: by its signal if it runs, at once if it
// was never started, since nobody in there would listen.
func (d *Driver) stopContainer(ctx context.Context, c container, deadline time.Time) error {
	p, err := d.process(ctx, c.ID)
	if err != nil || p == nil || p.Status == task.Status_STOPPED {
		return err
	}
	patient, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if p.Status != task.Status_CREATED && time.Now().Before(deadline) {
		if err := d.signal(ctx, c.ID, parseSignal(c.StopSignal), false); err != nil {
			return err
		}
		if err := d.waitEnd(patient, c.ID); err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return d.kill(ctx, c.ID)
}

// kill ends everything in a container and returns when it has ended.
func (d *Driver) kill(ctx context.Context, id string) error {
	for {
		if err := d.signal(ctx, id, syscall.SIGKILL, true); err != nil {
			return err
		}
		look, cancel := context.WithTimeout(ctx, killCheck)
		err := d.waitEnd(look, id)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if p, err := d.process(ctx, id); err != nil || p == nil || p.Status == task.Status_STOPPED {
			return err
		}
	}
}

// signal sends a signal to the first process of a container or to all. It is
// success if there is none any more.
func (d *Driver) signal(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	err := d.withRecord(ctx, id, func() error {
		_, err := d.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: all})
		return err
	})
	if isGone(err) {
		return nil
	}
	return d.fail(fmt.Sprintf("send %s to %s", sig, id), err)
}

// waitEnd blocks until a process has ended or is gone.
func (d *Driver) waitEnd(ctx context.Context, id string) error {
	_, err := d.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
	if isGone(err) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return d.fail("wait for the end of "+id, err)
}

// Remove deletes everything of an instance, killing what runs.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := d.remove(d.context(ctx), id); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}

// remove deletes what there is of an instance, again and again until its
// cgroup is free. A busy one means that something is still under way: the
// creation of a process that a killed agent asked for, or processes whose shim
// is dead, which are killed here when nobody else has done it for a while.
func (d *Driver) remove(ctx context.Context, id string) error {
	began := time.Now()
	for {
		containers, err := d.containersOf(ctx, id)
		if err != nil {
			return err
		}
		for _, c := range containers {
			if c.process == nil {
				err = d.settle(ctx, c.ID)
			}
			if err == nil {
				err = d.removeContainer(ctx, c.ID)
			}
			if err != nil {
				return err
			}
		}
		groups, group := detectCgroups(), d.cgroupOfInstance(id)
		busy := groups.remove(group)
		if busy == nil {
			d.seen.forget(id)
			d.forgetKillTime(id)
			return nil
		}
		switch waited := time.Since(began); {
		case waited > busyTimeout:
			return fmt.Errorf("remove cgroup: %w", busy)
		case waited > busyTimeout/2:
			groups.kill(group)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// removeContainer takes away process, root filesystem and record, in this
// order: the record goes last, so that what a crash leaves is found by it.
func (d *Driver) removeContainer(ctx context.Context, id string) error {
	if err := d.removeTask(ctx, id); err != nil {
		return err
	}
	if err := d.client.SnapshotService(d.cfg.Snapshotter).Remove(ctx, id); err != nil && !isGone(err) {
		return d.fail("remove root filesystem of "+id, err)
	}
	if err := d.client.ContainerService().Delete(ctx, id); err != nil && !isGone(err) {
		return d.fail("remove record of "+id, err)
	}
	// The runtime removes the cgroup itself; this is for what it left.
	if err := detectCgroups().remove(d.cgroupPath(id)); err != nil {
		d.cfg.Log.Debug("cgroup is still busy", "container", id, "err", err)
	}
	return nil
}

// removeTask deletes a process and its shim, killing it first if need be.
func (d *Driver) removeTask(ctx context.Context, id string) error {
	for tries := 1; ; tries++ {
		err := d.withRecord(ctx, id, func() error {
			_, err := d.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
			return err
		})
		if err == nil || isGone(err) {
			return nil
		}
		p, perr := d.process(ctx, id)
		if perr != nil || p == nil {
			return perr
		}
		if p.Status != task.Status_STOPPED {
			if err := d.kill(ctx, id); err != nil {
				return err
			}
		} else if tries == 3 { // it may have ended just after the first try
			return d.fail("delete process of "+id, err)
		}
	}
}
