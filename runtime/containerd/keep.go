//go:build linux

package containerd

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

var (
	_ runtime.Storer      = (*Driver)(nil)
	_ runtime.ImageKeeper = (*Driver)(nil)
)

// prepareGrace is how long an image that was prepared, or fetched, counts as in
// use: until then a container that is to be made from it has its record, or
// the agent knows who needs it.
const prepareGrace = 10 * time.Second

// uses keeps images that somebody is about to use from being removed, and the
// other way round.
type uses struct {
	mu       sync.Mutex
	grace    time.Duration            // 0 = prepareGrace
	prepared map[string]time.Time     // by name of the image
	held     map[string]int           // by name: how many Prepares want it beside others
	removing map[string]chan struct{} // closed when it is over
}

// touch notes that an image is about to be used. While it is being removed it
// waits: what it then finds is true.
func (u *uses) touch(ctx context.Context, name string) error {
	for {
		u.mu.Lock()
		over := u.removing[name]
		if over == nil {
			if u.prepared == nil {
				u.prepared = map[string]time.Time{}
			}
			for other, at := range u.prepared {
				if !u.justNow(at) {
					delete(u.prepared, other)
				}
			}
			u.prepared[name] = time.Now()
		}
		u.mu.Unlock()
		if over == nil {
			return nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hold keeps an image that was touched a moment ago for as long as those it is
// prepared with take. release must be called once: the moment begins anew.
func (u *uses) hold(name string) (release func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.held == nil {
		u.held = map[string]int{}
	}
	if u.prepared == nil {
		u.prepared = map[string]time.Time{}
	}
	u.held[name]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.held[name]--; u.held[name] == 0 {
			delete(u.held, name)
		}
		u.prepared[name] = time.Now()
	}
}

// inUse reports whether an image is held or was prepared a moment ago.
func (u *uses) inUse(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.wanted(name)
}

// wanted is inUse for those who hold the lock.
func (u *uses) wanted(name string) bool {
	at, ok := u.prepared[name]
	return u.held[name] > 0 || ok && u.justNow(at)
}

// justNow reports whether something happened a moment ago. A stamp of the
// future, of a clock that was set back, is none.
func (u *uses) justNow(at time.Time) bool {
	since := time.Since(at)
	return since >= 0 && since <= cmp.Or(u.grace, prepareGrace)
}

// remove begins the removal of an image unless it is about to be used, or is
// being removed already. over must be called once.
func (u *uses) remove(name string) (over func(), ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.wanted(name) || u.removing[name] != nil {
		return nil, false
	}
	if u.removing == nil {
		u.removing = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	u.removing[name] = done
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.removing, name)
		close(done)
	}, true
}

// Stores lists where the snapshotter and the content store are, as containerd
// tells: its root folder, but for what lies on a disk of its own.
func (d *Driver) Stores(ctx context.Context) ([]string, error) {
	plugins, err := d.client.IntrospectionService().Plugins(d.context(ctx))
	if err != nil {
		return nil, d.fail("ask containerd for its folders", err)
	}
	var roots []string
	for _, p := range plugins.Plugins {
		ours := p.ID == d.cfg.Snapshotter && p.Type == "io.containerd.snapshotter.v1" || p.Type == "io.containerd.content.v1"
		if root := p.Exports["root"]; ours && filepath.IsAbs(root) {
			if home := filepath.Dir(root); sameDevice(home, root) {
				root = home
			}
			roots = append(roots, root)
		}
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("containerd at %s does not say where snapshotter %s keeps its data", d.cfg.Address, d.cfg.Snapshotter)
	}
	slices.Sort(roots)
	return slices.Compact(roots), nil
}

func sameDevice(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev
}

// Images lists what pulls of this driver, or of an earlier one, have brought.
func (d *Driver) Images(ctx context.Context) ([]runtime.Image, error) {
	ctx = d.context(ctx)
	stored, err := d.client.ImageService().List(ctx, `labels."`+labelPulled+`"`)
	if err != nil {
		return nil, d.fail("list images", err)
	}
	used, err := d.usedImages(ctx, "")
	if err != nil {
		return nil, err
	}
	out := make([]runtime.Image, len(stored))
	for k, img := range stored {
		out[k] = runtime.Image{
			Name: img.Name, Digest: img.Target.Digest.String(), Fetched: img.UpdatedAt,
			InUse: used[img.Name] || d.images.uses.inUse(img.Name) || d.images.uses.justNow(img.UpdatedAt),
		}
	}
	return out, nil
}

// usedImages names the images that containers were made from, whoever made
// them; name narrows it down to one image.
func (d *Driver) usedImages(ctx context.Context, name string) (map[string]bool, error) {
	var filters []string
	if name != "" {
		filters = []string{"image==" + strconv.Quote(name)}
	}
	containers, err := d.client.ContainerService().List(ctx, filters...)
	if err != nil {
		return nil, d.fail("list containers", err)
	}
	used := make(map[string]bool, len(containers))
	for _, c := range containers {
		used[c.Image] = true
	}
	return used, nil
}

// RemoveImage removes the record of an image; containerd's garbage collector
// then takes what only that held.
func (d *Driver) RemoveImage(ctx context.Context, name string) error {
	ctx = d.context(ctx)
	over, ok := d.images.uses.remove(name)
	if !ok {
		return fmt.Errorf("remove image %s: it is being prepared, or was a moment ago: %w", name, runtime.ErrInUse)
	}
	defer over()
	// From here on no Prepare finds it, and what was prepared before has its
	// record by now.
	used, err := d.usedImages(ctx, name)
	if err != nil {
		return fmt.Errorf("remove image %s: %w", name, err)
	}
	if used[name] {
		return fmt.Errorf("remove image %s: a container was made from it: %w", name, runtime.ErrInUse)
	}
	if err := d.client.ImageService().Delete(ctx, name, images.SynchronousDelete()); err != nil && !isGone(err) {
		return d.fail("remove image "+name, err)
	}
	d.images.forget(name)
	return nil
}

// ImageBytes adds up layers as they were fetched and as they were unpacked.
func (d *Driver) ImageBytes(ctx context.Context) (int64, error) {
	ctx = d.context(ctx)
	var sum int64
	err := d.client.ContentStore().Walk(ctx, func(info content.Info) error {
		sum += info.Size
		return nil
	})
	if err != nil {
		return 0, d.fail("list layers", err)
	}
	snapshotter := d.client.SnapshotService(d.cfg.Snapshotter)
	var layers []string
	err = snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindCommitted {
			layers = append(layers, info.Name)
		}
		return nil
	})
	if err != nil {
		return 0, d.fail("list unpacked layers", err)
	}
	for _, layer := range layers {
		usage, err := snapshotter.Usage(ctx, layer)
		if err != nil && !isGone(err) {
			return 0, d.fail("read the size of layer "+layer, err)
		}
		sum += usage.Size
	}
	return sum, nil
}
