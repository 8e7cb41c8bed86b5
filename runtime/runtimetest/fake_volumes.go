package runtimetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// FakeVolumes is a runtime.Volumes in memory: paths that do not exist.
type FakeVolumes struct {
	Calls // Mount, Release, Local, Sweep

	mu      sync.Mutex
	mounted map[string]map[string]string // by instance and volume
	local   map[string]runtime.LocalVolume
	files   map[string][]byte // by SHA-256
}

var _ runtime.Volumes = (*FakeVolumes)(nil)

// NewFakeVolumes returns volumes that hold nothing.
func NewFakeVolumes() *FakeVolumes {
	return &FakeVolumes{
		mounted: map[string]map[string]string{}, local: map[string]runtime.LocalVolume{}, files: map[string][]byte{},
	}
}

// enter begins a call. After a nil error the lock is held.
func (v *FakeVolumes) enter(ctx context.Context, c Call) (func(error) error, error) {
	end, err := v.begin(ctx, c)
	if err == nil {
		v.mu.Lock()
	}
	return end, err
}

// Mount implements runtime.Volumes. files must not call the fake.
func (v *FakeVolumes) Mount(ctx context.Context, id string, slot planner.SlotID, volumes []planner.Volume, _ runtime.Owner, files func(sha256 string) ([]byte, error)) (map[string]string, error) {
	end, err := v.enter(ctx, Call{Verb: "Mount", ID: id})
	if err != nil {
		return nil, end(err)
	}
	defer v.mu.Unlock()
	paths := map[string]string{}
	for _, volume := range volumes {
		if paths[volume.Name], err = v.mount(id, slot, volume, files); err != nil {
			return nil, end(fmt.Errorf("mount volume %s: %w", volume.Name, err))
		}
	}
	v.mounted[id] = paths
	return maps.Clone(paths), end(nil)
}

func (v *FakeVolumes) mount(id string, slot planner.SlotID, volume planner.Volume, files func(string) ([]byte, error)) (string, error) {
	switch {
	case volume.Local != nil:
		path := fmt.Sprintf("/volumes/local/%s/%s/%s/%s", slot.Service.Namespace, slot.Service.Name, slot.Name, volume.Name)
		v.local[path] = runtime.LocalVolume{Slot: slot, Name: volume.Name, Path: path}
		return path, nil
	case volume.HostPath != nil:
		return volume.HostPath.Path, nil
	case volume.File != nil:
		sum := volume.File.SHA256
		if _, have := v.files[sum]; !have {
			data, err := files(sum)
			if err != nil {
				return "", err
			}
			v.files[sum] = data
		}
		return "/volumes/files/" + sum, nil
	case volume.EmptyDir != nil:
		return "/volumes/instances/" + id + "/" + volume.Name, nil
	}
	return "", fmt.Errorf("it has no source: %w", runtime.ErrInvalid)
}

// Release implements runtime.Volumes.
func (v *FakeVolumes) Release(ctx context.Context, id string) error {
	end, err := v.enter(ctx, Call{Verb: "Release", ID: id})
	if err != nil {
		return end(err)
	}
	defer v.mu.Unlock()
	delete(v.mounted, id)
	return end(nil)
}

// Local implements runtime.Volumes; it is ordered by slot and name.
func (v *FakeVolumes) Local(ctx context.Context) ([]runtime.LocalVolume, error) {
	end, err := v.enter(ctx, Call{Verb: "Local"})
	if err != nil {
		return nil, end(err)
	}
	defer v.mu.Unlock()
	return slices.SortedFunc(maps.Values(v.local), func(a, b runtime.LocalVolume) int {
		return cmp.Or(a.Slot.Compare(b.Slot), strings.Compare(a.Name, b.Name))
	}), end(nil)
}

// Sweep implements runtime.Sweeper. Local volumes stay.
func (v *FakeVolumes) Sweep(ctx context.Context, live map[string]bool) error {
	end, err := v.enter(ctx, Call{Verb: "Sweep"})
	if err != nil {
		return end(err)
	}
	defer v.mu.Unlock()
	maps.DeleteFunc(v.mounted, func(id string, _ map[string]string) bool { return !live[id] })
	return end(nil)
}

// Mounted returns what is mounted, by instance and volume: for assertions.
func (v *FakeVolumes) Mounted() map[string]map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	mounted := map[string]map[string]string{}
	for id, paths := range v.mounted {
		mounted[id] = maps.Clone(paths)
	}
	return mounted
}

// ForgetFiles deletes the file volumes from the disk.
func (v *FakeVolumes) ForgetFiles() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.files)
}
