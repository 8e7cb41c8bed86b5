//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sweep implements runtime.Sweeper: folders, cgroups and stray processes of
// ids that are not live. One that cannot be swept does not hold up the others.
func (d *Driver) Sweep(ctx context.Context, live map[string]bool) error {
	ids, err := d.known()
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if live[id] {
			continue
		}
		if err := d.sweep(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("sweep: %w", err))
		}
	}
	return errors.Join(errs...)
}

// known lists every id that left a trace.
func (d *Driver) known() ([]string, error) {
	ids, err := d.folders()
	if err != nil {
		return nil, err
	}
	groups, err := d.cgroups.ids()
	if err != nil {
		return nil, err
	}
	ids = append(ids, groups...)
	err = marked(func(value string) bool {
		id, ours := strings.CutPrefix(value, d.space+"/")
		if ours && validID(id) {
			ids = append(ids, id)
		}
		return false
	}, nil)
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// sweep removes one instance. A folder that cannot be read stays as long as
// something of it may run.
func (d *Driver) sweep(ctx context.Context, id string) error {
	_, err := d.load(id)
	if errors.Is(err, errGarbage) {
		running := 0
		if err := d.remains(state{ID: id, Group: d.cgroups.group(id)}, func(int) { running++ }); err != nil {
			return err
		}
		if running > 0 || locked(d.folder(id)) {
			d.log.Warn("instance folder cannot be read and something of it runs: left alone", "instance", id, "err", err)
			return nil
		}
		return d.delete(id)
	}
	i := instance{state: state{ID: id, Group: d.cgroups.group(id)}}
	if err := d.Stop(ctx, id, 0); err != nil {
		return err
	}
	if err := d.killTree(ctx, i); err != nil { // also without a folder
		return err
	}
	return d.delete(id)
}
