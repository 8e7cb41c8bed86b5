//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
)

// Sweep removes what belongs to no instance in live: containers, processes
// without a record, root filesystems, cgroups, pipes, and the leases and
// partial downloads of pulls that were cut off. Images stay.
func (d *Driver) Sweep(ctx context.Context, live map[string]bool) error {
	ctx = d.context(ctx)
	prefixes := make(map[string]bool, len(live))
	for id := range live {
		prefixes[containerPrefix(id)] = true
	}
	if err := errors.Join(
		d.sweepContainers(ctx, live, prefixes),
		d.sweepSnapshots(ctx, live),
		d.sweepPulls(ctx),
		d.sweepCgroups(prefixes),
		d.sweepPipes(),
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
	for _, rec := range records {
		delete(processes, rec.ID)
		if !live[rec.Instance.ID] {
			errs = append(errs, d.removeContainer(ctx, rec.ID))
			d.seen.forget(rec.Instance.ID)
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
		if err := store.Abort(ctx, s.Ref); err != nil && !isGone(err) {
			errs = append(errs, d.fail("abort partial download "+s.Ref, err))
		}
	}
	return errors.Join(errs...)
}

// sweepCgroups removes the cgroups of dead instances. One that still holds
// processes is left: its container was not ours to remove, and shows in the
// listing.
func (d *Driver) sweepCgroups(prefixes map[string]bool) error {
	groups := detectCgroups()
	for name := range groups.children(d.cfg.Cgroup) {
		if prefixes[name+"."] {
			continue
		}
		if err := groups.remove(filepath.Join(d.cfg.Cgroup, name)); err != nil {
			d.cfg.Log.Warn("cgroup of a dead instance is busy", "cgroup", name, "err", err)
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
		if !strings.HasPrefix(e.Name(), execPrefix()) {
			errs = append(errs, os.RemoveAll(filepath.Join(d.cfg.execDir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}
