//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// shimPatience is how long a shim may take to kill its tree before the agent
// takes over.
const shimPatience = 10 * time.Second

// Stop implements runtime.Driver.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := d.stop(ctx, id, grace); err != nil {
		return fmt.Errorf("stop %s: %w", id, err)
	}
	return nil
}

func (d *Driver) stop(ctx context.Context, id string, grace time.Duration) error {
	i, err := d.settled(ctx, id)
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		return nil
	case errors.Is(err, errGarbage):
		return d.stopUnknown(ctx, id)
	case err != nil:
		return err
	}
	if i.living && grace > 0 {
		if err := i.state.Workload.signal(unix.Signal(i.state.StopSignal)); err != nil {
			return err
		}
		if err := awaitFor(ctx, i.state.Workload, grace); err != nil {
			return err
		}
	}
	return d.killTree(ctx, i)
}

// stopUnknown kills an instance whose state cannot be read, by what its id
// tells. Its shim ends when it has no children left.
func (d *Driver) stopUnknown(ctx context.Context, id string) error {
	if err := d.killTree(ctx, instance{state: state{ID: id, Group: d.cgroups.group(id)}}); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, shimPatience)
	defer cancel()
	if err := poll(bounded, func() bool { return !locked(d.folder(id)) }); err != nil {
		return fmt.Errorf("its state cannot be read and %s is still locked: %w", d.folder(id), err)
	}
	return nil
}

// settled loads an instance, and waits for one that is just being started by
// a shim whose agent died, until it is known what to kill: a shim killed
// between fork and exec would leave a process that nothing tells as ours.
func (d *Driver) settled(ctx context.Context, id string) (instance, error) {
	var i instance
	var err error
	bounded, cancel := context.WithTimeout(ctx, shimPatience)
	defer cancel()
	poll(bounded, func() bool {
		i, err = d.find(id)
		return err != nil || i.state.Workload.PID > 0 || !locked(d.folder(id))
	})
	if ended := ctx.Err(); ended != nil {
		return instance{}, ended
	}
	return i, err
}

// awaitFor waits until the process has ended, for at most the time.
func awaitFor(ctx context.Context, p process, most time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := p.await(bounded)
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// killTree kills everything of an instance and returns when nothing of it
// runs any more, the shim included.
func (d *Driver) killTree(ctx context.Context, i instance) error {
	s := i.state
	if i.shim && s.Workload.PID == 0 { // it hangs before it has begun
		if err := s.Shim.signal(unix.SIGKILL); err != nil {
			return err
		}
	}
	s.Group.kill()
	if i.living {
		if err := s.Workload.signal(unix.SIGKILL); err != nil {
			return err
		}
	}
	if i.shim {
		// It records the exit, and kills what is left as subreaper.
		if err := awaitFor(ctx, s.Shim, shimPatience); err != nil {
			return err
		}
		if err := s.Shim.signal(unix.SIGKILL); err != nil {
			return err
		}
		if err := s.Shim.await(ctx); err != nil {
			return err
		}
	}
	return killAll(ctx, func(visit func(int)) error { return d.remains(s, visit) })
}

// remains finds what runs of an instance without its shim: what is in its
// cgroups, or descends from its program, or has its marker. It may find a
// process twice.
func (d *Driver) remains(s state, visit func(pid int)) error {
	if err := s.Group.members(visit); err != nil || d.contained(s) {
		return err
	}
	if s.Boot == d.boot && s.Workload.alive() {
		visit(s.Workload.PID)
		if err := descendants(s.Workload.PID, visit); err != nil {
			return err
		}
	}
	marker := d.marker(s.ID)
	return marked(func(value string) bool { return value == marker }, visit)
}

// contained reports whether everything of the instance is in a cgroup that
// this process can read.
func (d *Driver) contained(s state) bool {
	return s.Group.Unified != "" && d.cgroups.unified != ""
}

// Remove implements runtime.Driver.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if !validID(id) {
		return nil
	}
	if err := d.Stop(ctx, id, 0); err != nil {
		return err
	}
	return d.delete(id)
}

// delete removes cgroups and folder of an instance that does not run.
func (d *Driver) delete(id string) error {
	g := d.cgroups.group(id)
	i, err := d.load(id)
	if err == nil {
		g = i.state.Group
	}
	d.ours.drop(id)
	if err := g.remove(); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	if err := os.RemoveAll(d.folder(id)); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}
