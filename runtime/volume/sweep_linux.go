package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Release implements runtime.Volumes: it removes the instance's scratch.
func (v *Volumes) Release(ctx context.Context, id string) error {
	if err := check("instance", id); err != nil {
		return err
	}
	root, err := os.OpenRoot(v.cfg.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release volumes of %s: %w", id, err)
	}
	defer root.Close()
	if err := v.removeScratch(ctx, root, id); err != nil {
		return fmt.Errorf("release volumes of %s: %w", id, err)
	}
	return nil
}

// Sweep implements runtime.Sweeper: scratch of instances that are not live,
// and files that nobody uses. One that cannot be removed hinders no other.
func (v *Volumes) Sweep(ctx context.Context, live map[string]bool) error {
	root, err := os.OpenRoot(v.cfg.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep volumes: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), scratchDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sweep volumes: %w", err)
	}
	var faults []error
	for _, e := range entries {
		if live[e.Name()] || !e.IsDir() {
			continue
		}
		if err := v.removeScratch(ctx, root, e.Name()); err != nil {
			faults = append(faults, fmt.Errorf("sweep volumes of %s: %w", e.Name(), err))
		} else {
			v.cfg.Log.Info("leftover volumes of an instance removed", "instance", e.Name())
		}
	}
	return errors.Join(append(faults, v.sweepFiles(root))...)
}

func (v *Volumes) removeScratch(ctx context.Context, root *os.Root, id string) error {
	st, err := root.Lstat(scratchDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || !st.IsDir() {
		return fmt.Errorf("%s is no folder: move it away: %w", v.path(scratchDir), errors.Join(err, fs.ErrInvalid))
	}
	scratch, err := root.Open(scratchDir)
	if err != nil {
		return err
	}
	defer scratch.Close()
	if err := unmountBelow(filepath.Join(v.path(scratchDir), id)); err != nil {
		return err
	}
	return removeTree(ctx, scratch, id)
}
