//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
)

// Sweep removes what belongs to no instance in live: containers, processes
// without a record, root filesystems, cgroups, commands and their pipes,
// mounted images, and the leases and partial downloads of pulls that were cut off. Images stay.
func (d *Driver) Sweep(ctx context.Context, live map[string]bool) error {
	ctx = d.context(ctx)
	prefixes := make(map[string]bool, len(live))
	for id := range live {
		prefixes[containerPrefix(id)] = true
	}
	if err := errors.Join(
		d.sweepContainers(ctx, live, prefixes),
		d.sweepShims(ctx, prefixes),
		d.sweepSnapshots(ctx, live),
		d.sweepPulls(ctx),
		d.sweepCgroups(prefixes),
		d.sweepCommands(ctx),
		d.sweepPipes(),
		d.sweepViews(),
	); err != nil {
		return fmt.Errorf("sweep containerd: %w", err)
	}
	return nil
}

func (d *Driver) sweepContainers(ctx context.Context, live, prefixes map[string]bool) error {
	records, err := d.records(ctx, allFilter)
	if err != nil {
		return err
	}
	processes, err := d.processes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	dead := map[string]bool{}
	for _, rec := range records {
		delete(processes, rec.ID)
		if id := rec.Instance.ID; !live[id] && !dead[id] {
			dead[id] = true
			errs = append(errs, d.remove(ctx, id))
		}
	}
	for id := range processes {
		if prefix, ours := prefixOf(id); ours && !prefixes[prefix] {
			errs = append(errs, d.removeContainer(ctx, id))
		}
	}
	return errors.Join(errs...)
}

// sweepSnapshots removes the root filesystems of dead instances that have lost
// their record, and the views of images that nobody looks into any more: those
// of an earlier process, since ours are short and take no instance's start.
func (d *Driver) sweepSnapshots(ctx context.Context, live map[string]bool) error {
	snapshotter := d.client.SnapshotService(d.cfg.Snapshotter)
	var dead []string
	err := snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if id, ours := info.Labels[labelInstance]; ours && !live[id] || info.Labels[labelView] != "" && info.Created.Before(d.began) {
			dead = append(dead, info.Name)
		}
		return nil
	})
	if err != nil {
		return d.fail("list root filesystems", err)
	}
	var errs []error
	for _, key := range dead {
		if err := snapshotter.Remove(ctx, key); err != nil && !isGone(err) {
			errs = append(errs, d.fail("remove root filesystem "+key, err))
		}
	}
	return errors.Join(errs...)
}

// sweepPulls removes what pulls that were cut off have left. While one of ours
// runs it does nothing: what is whose cannot be told.
func (d *Driver) sweepPulls(ctx context.Context) error {
	if !d.pulling.TryLock() {
		return nil
	}
	defer d.pulling.Unlock()
	service := d.client.LeasesService()
	held, err := service.List(ctx, `labels."`+labelPull+`"`)
	if err != nil {
		return d.fail("list leases", err)
	}
	var errs []error
	for _, l := range held {
		if err := service.Delete(ctx, leases.Lease{ID: l.ID}); err != nil && !isGone(err) {
			errs = append(errs, d.fail("delete lease "+l.ID, err))
		}
	}
	store := d.client.ContentStore()
	partial, err := store.ListStatuses(ctx)
	if err != nil {
		return errors.Join(append(errs, d.fail("list partial downloads", err))...)
	}
	for _, s := range partial {
		errs = append(errs, d.abort(ctx, store, s.Ref))
	}
	return errors.Join(errs...)
}

// abort removes a partial download. The server may still be writing the last
// of what a dead client sent, and then cannot.
func (d *Driver) abort(ctx context.Context, store content.Store, ref string) error {
	for tries := 1; ; tries++ {
		err := store.Abort(ctx, ref)
		if err == nil || isGone(err) {
			return nil
		}
		if tries == 5 || ctx.Err() != nil {
			return d.fail("abort partial download "+ref, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// sweepCgroups removes the cgroups of dead instances. Processes in one are
// beyond containerd's knowledge by now, their shim being dead, and are killed.
func (d *Driver) sweepCgroups(prefixes map[string]bool) error {
	groups := detectCgroups()
	for name := range groups.children(d.cfg.cgroup()) {
		if prefixes[name+"."] {
			continue
		}
		group := filepath.Join(d.cfg.cgroup(), name)
		if groups.remove(group) == nil {
			continue
		}
		d.cfg.Log.Warn("killing processes of a dead instance that nobody looks after", "cgroup", group)
		groups.kill(group)
		if err := groups.remove(group); err != nil {
			d.cfg.Log.Debug("cgroup is left for the next sweep", "cgroup", group, "err", err)
		}
	}
	return nil
}

// leaveTime is how long the last processes may take to be gone.
const leaveTime = 5 * time.Second

// RemoveCgroups removes the driver's cgroups, for good, once nothing runs: its own,
// and those around it as far as nothing else is in them.
func (d *Driver) RemoveCgroups(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	groups := detectCgroups()
	for {
		err := groups.remove(d.cfg.cgroup())
		if err == nil {
			break
		}
		// A process that has just died keeps its cgroup busy for a moment.
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove cgroups: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	for around := d.cfg.Cgroup; around != "/"; around = path.Dir(around) {
		for _, root := range groups.mounts {
			_ = os.Remove(filepath.Join(root, around)) // it stays where it holds anything
		}
	}
	return nil
}

// sweepPipes removes the pipes of commands whose caller is gone. Those of this
// process carry its number.
func (d *Driver) sweepPipes() error {
	entries, err := os.ReadDir(d.cfg.execDir())
	if err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ownPrefix()) {
			errs = append(errs, os.RemoveAll(filepath.Join(d.cfg.execDir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// sweepViews unmounts the images that a killed process looked into.
func (d *Driver) sweepViews() error {
	entries, err := os.ReadDir(d.cfg.viewDir())
	if err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ownPrefix()) {
			errs = append(errs, unmountView(filepath.Join(d.cfg.viewDir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}
