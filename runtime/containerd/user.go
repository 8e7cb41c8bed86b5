//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/continuity/fs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.Owners = (*Driver)(nil)

// Owner implements runtime.Owners.
func (d *Driver) Owner(ctx context.Context, w runtime.Workload) (runtime.Owner, error) {
	if err := checkWorkload(w); err != nil {
		return runtime.Owner{}, err
	}
	ctx, c := d.context(ctx), w.Containers[0]
	img, err := d.imageOf(ctx, c)
	if err != nil {
		return runtime.Owner{}, err
	}
	ids, err := d.userOf(ctx, img, c.Security)
	return runtime.Owner{UID: int(ids.UID), GID: int(ids.GID)}, err
}

// userKey is a user as an image may name it: "1000", "app", "app:staff".
type userKey struct{ image, user string }

// userIDs is what the files of the image make of it.
type userIDs = specs.User

// userOf finds the ids to run as: the manifest's user and group before the
// image's USER, names and further groups by the image's own /etc/passwd and
// /etc/group, and last the manifest's own groups. It looks into an image once
// per user and process.
func (d *Driver) userOf(ctx context.Context, img image, sec planner.Security) (specs.User, error) {
	ids, err := d.accountOf(ctx, img, userKey{img.name, wantedUser(img.config.User, sec)})
	if err != nil {
		return specs.User{}, err
	}
	ids.AdditionalGids = slices.Clone(ids.AdditionalGids) // the cache's own stay as they are
	for _, group := range sec.SupplementalGroups {
		if gid := uint32(group); !slices.Contains(ids.AdditionalGids, gid) {
			ids.AdditionalGids = append(ids.AdditionalGids, gid)
		}
	}
	return ids, nil
}

func (d *Driver) accountOf(ctx context.Context, img image, key userKey) (userIDs, error) {
	d.images.mu.Lock()
	ids, ok := d.images.users[key]
	d.images.mu.Unlock()
	if ok {
		return ids, nil
	}
	ids, err := d.lookUpUser(ctx, img, key.user)
	if err != nil {
		return userIDs{}, err
	}
	d.images.mu.Lock()
	defer d.images.mu.Unlock()
	if d.images.users == nil || len(d.images.users) >= maxCached {
		d.images.users = map[userKey]userIDs{}
	}
	d.images.users[key] = ids
	return ids, nil
}

// wantedUser is USER as the manifest changes it; "" is root.
func wantedUser(imageUser string, sec planner.Security) string {
	user := imageUser
	if sec.RunAsUserName != "" {
		user = sec.RunAsUserName
	}
	if sec.RunAsUser != nil {
		user = strconv.FormatInt(*sec.RunAsUser, 10)
	}
	if sec.RunAsGroup != nil {
		name, _, _ := strings.Cut(user, ":")
		if name == "" {
			name = "0"
		}
		user = name + ":" + strconv.FormatInt(*sec.RunAsGroup, 10)
	}
	return user
}

// views numbers the looks into images, so that two never share a name.
var views atomic.Uint64

// lookUpUser reads the image's user files through a read-only view of its
// layers, which is taken away again (by Sweep, if we are cut off).
func (d *Driver) lookUpUser(ctx context.Context, img image, user string) (ids specs.User, err error) {
	snapshotter := d.client.SnapshotService(d.cfg.Snapshotter)
	key := fmt.Sprintf("orpheus-view-%s-%d", img.digest.Encoded()[:16], views.Add(1))
	mounts, err := snapshotter.View(ctx, key, img.chain, snapshots.WithLabels(map[string]string{
		labelView:               "true",
		"containerd.io/gc.root": "true", // no container refers to it
	}))
	if isThere(err) {
		err = snapshotter.Remove(ctx, key) // left by a predecessor
		if err == nil {
			return d.lookUpUser(ctx, img, user)
		}
	}
	if isGone(err) {
		d.images.forget(img.name)
		return ids, fmt.Errorf("image %s is not unpacked: %w", img.name, runtime.ErrNotFound)
	}
	if err != nil {
		return ids, d.fail("look into image "+img.name, err)
	}
	defer func() {
		undo, cancel := d.rollback(ctx)
		defer cancel()
		if err := snapshotter.Remove(undo, key); err != nil && !isGone(err) {
			d.cfg.Log.Warn("view of an image left for the next sweep", "snapshot", key, "err", err)
		}
	}()

	s := &oci.Spec{Process: &specs.Process{}, Root: &specs.Root{}, Linux: &specs.Linux{}}
	err = d.withMounted(mounts, func(root string) error {
		s.Root.Path = root
		return readUser(ctx, s, user)
	})
	if err != nil {
		return ids, d.unknownUser(img, user, err)
	}
	return s.Process.User, nil
}

// readUser reads the user files below s.Root.Path.
func readUser(ctx context.Context, s *oci.Spec, user string) error {
	for _, name := range []string{"/etc/passwd", "/etc/group"} {
		if err := checkPlain(s.Root.Path, name); err != nil {
			return err
		}
	}
	none := &containers.Container{} // the files are looked for below Root.Path
	account := "root"
	if user != "" {
		if err := oci.WithUser(user)(ctx, nil, none, s); err != nil {
			return err
		}
		account = strconv.FormatUint(uint64(s.Process.User.UID), 10)
	}
	return oci.WithAdditionalGIDs(account)(ctx, nil, none, s)
}

// checkPlain refuses what would hold us up when it is opened: a pipe of the
// image is waited on for ever.
func checkPlain(root, name string) error {
	real, err := fs.RootPath(root, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	info, err := os.Lstat(real)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	return nil
}

// withMounted calls f with the root of a file system that is mounted for as
// long as that takes, and longer (until Sweep) only if we are killed.
func (d *Driver) withMounted(mounts []mount.Mount, f func(root string) error) (err error) {
	root := filepath.Join(d.cfg.viewDir(), ownPrefix()+strconv.FormatUint(views.Add(1), 10))
	if err := unmountView(root); err != nil { // of a predecessor with our number
		return err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("make a place to mount: %w", err)
	}
	defer func() { err = errors.Join(err, unmountView(root)) }()
	if err := mount.All(mounts, root); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	return f(root)
}

// unmountView takes a view away, if it is there.
func unmountView(root string) error {
	if err := mount.UnmountAll(root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", root, err)
	}
	return ignoreMissing(os.Remove(root)) // never what is in it
}

// unknownUser tells a server that is away from an image without the user.
func (d *Driver) unknownUser(img image, user string, err error) error {
	if err := d.fail("look into image "+img.name, err); isUnavailable(err) {
		return err
	}
	return fmt.Errorf("user %q in image %s: %w: %w", user, img.name, runtime.ErrInvalid, err)
}
