package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// local makes the slot's volume, or returns the one there is.
func (v *Volumes) local(root *os.Root, slot planner.SlotID, name string, owner runtime.Owner) (string, error) {
	for what, e := range map[string]string{"namespace": slot.Service.Namespace, "service": slot.Service.Name, "slot": slot.Name} {
		if err := check(what, e); err != nil {
			return "", err
		}
	}
	dir, err := makeFolder(root, slotMode, volumesDir, slot.Service.Namespace, slot.Service.Name, slot.Name)
	if err != nil {
		return "", err
	}
	if err := give(root, dir, owner); err != nil {
		return "", err
	}
	_, err = root.Lstat(filepath.Join(dir, name))
	fresh := errors.Is(err, os.ErrNotExist)
	rel, err := makeFolder(root, localMode, volumesDir, slot.Service.Namespace, slot.Service.Name, slot.Name, name)
	if err == nil && fresh {
		err = give(root, rel, owner)
	}
	if err != nil {
		return "", err
	}
	return v.path(rel), nil
}

// give makes the owner of a folder the workload's, where that is known and the
// agent may.
func give(root *os.Root, rel string, owner runtime.Owner) error {
	if owner == (runtime.Owner{}) || os.Geteuid() != 0 {
		return nil
	}
	if err := root.Lchown(rel, owner.UID, owner.GID); err != nil {
		return fmt.Errorf("give folder to user %d: %w", owner.UID, err)
	}
	return nil
}

// Local implements runtime.Volumes, ordered by slot and name.
func (v *Volumes) Local(ctx context.Context) ([]runtime.LocalVolume, error) {
	root, err := os.OpenRoot(v.cfg.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list local volumes: %w", err)
	}
	defer root.Close()
	rels := []string{volumesDir}
	for range 4 { // namespace, service, slot, name
		var next []string
		for _, rel := range rels {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			names, err := folders(root, rel)
			if err != nil {
				return nil, fmt.Errorf("list local volumes: %w", err)
			}
			for _, name := range names {
				next = append(next, filepath.Join(rel, name))
			}
		}
		rels = next
	}
	all := make([]runtime.LocalVolume, 0, len(rels))
	for _, rel := range rels {
		p := strings.Split(rel, string(filepath.Separator))
		all = append(all, runtime.LocalVolume{
			Slot: planner.SlotID{Service: planner.ServiceID{Namespace: p[1], Name: p[2]}, Name: p[3]},
			Name: p[4],
			Path: v.path(rel),
		})
	}
	slices.SortFunc(all, func(a, b runtime.LocalVolume) int {
		if c := a.Slot.Compare(b.Slot); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

// folders are the names of the folders in rel, links left out. A folder that
// is missing has none.
func folders(root *os.Root, rel string) ([]string, error) {
	entries, err := fs.ReadDir(root.FS(), rel)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && element.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
