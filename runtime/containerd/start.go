//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sync/errgroup"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// errLeftovers says that something of the instance is there already.
var errLeftovers = errors.New("leftovers")

// Start makes the instance run. It takes for granted that nothing of the
// instance is there, which costs no question, and looks only when containerd
// says otherwise.
func (d *Driver) Start(ctx context.Context, w runtime.Workload) error {
	if err := checkWorkload(w); err != nil {
		return fmt.Errorf("start %s: %w", w.ID, runtime.NotBegun(err))
	}
	ctx = d.context(ctx)
	err := d.startFresh(ctx, w)
	if errors.Is(err, errLeftovers) || errors.Is(err, runtime.ErrNotFound) {
		err = d.startOver(ctx, w, err)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", w.ID, err)
	}
	return nil
}

// startOver goes on where a fresh start could not: a complete instance that
// runs is left alone, even if its image is gone by now; leftovers are replaced.
func (d *Driver) startOver(ctx context.Context, w runtime.Workload, why error) error {
	running, err := d.isRunning(ctx, w.ID)
	if err != nil || running {
		return err
	}
	if !errors.Is(why, errLeftovers) {
		return why
	}
	if err := d.remove(ctx, w.ID); err != nil {
		return err
	}
	return d.startFresh(ctx, w)
}

// checkWorkload refuses what has no meaning or would leave the driver's bounds.
func checkWorkload(w runtime.Workload) error {
	if !instancePattern.MatchString(w.ID) {
		return fmt.Errorf("id %q: want 1 to 63 of a-z 0-9 . -: %w", w.ID, runtime.ErrInvalid)
	}
	if len(w.Containers) == 0 {
		return fmt.Errorf("no containers: %w", runtime.ErrInvalid)
	}
	for _, c := range w.AllContainers() {
		if c.LogPath != "" && !filepath.IsAbs(c.LogPath) {
			return fmt.Errorf("container %s: log path %q: must be absolute: %w", c.Name, c.LogPath, runtime.ErrInvalid)
		}
	}
	return nil
}

// startFresh starts an instance of which nothing is there. If something is, it
// fails with errLeftovers; whenever it fails it takes away what it made, and
// only that.
func (d *Driver) startFresh(ctx context.Context, w runtime.Workload) (err error) {
	begun := false // a program may have been executed
	defer func() {
		if !begun {
			err = runtime.NotBegun(err)
		}
	}()
	containers := w.AllContainers()
	images := make([]image, len(containers))
	for i, c := range containers {
		if images[i], err = d.imageOf(ctx, c); err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	if len(w.Init) > 0 {
		// An init container may not run again beside a complete instance.
		there, err := d.records(ctx, instanceFilter(w.ID))
		if err != nil {
			return err
		}
		if len(there) > 0 {
			return errLeftovers
		}
	}
	var made []string // container ids
	defer func() {
		if err != nil {
			err = errors.Join(err, d.takeBack(ctx, w.ID, made))
		}
	}()
	for i, c := range containers {
		rec := d.newRecord(w, i, images[i])
		if err := d.createRecord(ctx, w, c, rec, images[i]); err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
		made = append(made, rec.ID)
		if err := d.create(ctx, w, c, rec, images[i]); err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
		if rec.Init {
			begun = true
			if err := d.runInit(ctx, rec); err != nil {
				return fmt.Errorf("container %s: %w", c.Name, err)
			}
			made = made[:0]
		}
	}
	begun = true
	if err := d.startAll(ctx, w); err != nil {
		return err
	}
	d.seen.running(w.ID)
	return nil
}

// takeBack removes what a failed start made. It goes on when the start's
// context has ended. Where it fails, some of the instance may run, and its
// network and volumes must stay: only the next listing tells.
func (d *Driver) takeBack(ctx context.Context, id string, made []string) error {
	if len(made) == 0 {
		return nil
	}
	ctx, cancel := d.rollback(ctx)
	defer cancel()
	var errs []error
	for _, container := range made {
		err := d.settle(ctx, container)
		if err == nil {
			err = d.removeContainer(ctx, container)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("take back %s: %w: %w", container, runtime.ErrUnavailable, err))
		}
	}
	if err := detectCgroups().remove(d.cgroupOfInstance(id)); err != nil {
		d.cfg.Log.Debug("cgroup is left for the next sweep", "instance", id, "err", err)
	}
	return errors.Join(errs...)
}

// startAll starts the created processes of the main containers at once.
func (d *Driver) startAll(ctx context.Context, w runtime.Workload) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, c := range w.Containers {
		g.Go(func() error {
			_, err := d.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: containerID(w.ID, len(w.Init)+i)})
			if err != nil {
				return fmt.Errorf("container %s: %w", c.Name, d.startError(err))
			}
			return nil
		})
	}
	return g.Wait()
}

// runInit runs a created init container to its end and takes it away.
func (d *Driver) runInit(ctx context.Context, rec record) error {
	if _, err := d.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: rec.ID}); err != nil {
		return d.startError(err)
	}
	ended, err := d.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: rec.ID})
	if err != nil {
		return d.fail("wait for its end", err)
	}
	if exit := d.exitOf(rec, ended.ExitStatus, ended.ExitedAt.AsTime()); exit.Code != 0 {
		return &InitError{Exit: exit}
	}
	return d.removeContainer(ctx, rec.ID)
}

// create makes root filesystem and process of a container whose record is
// made. The record comes first because it holds the other two, for the garbage
// collector of containerd and for ours.
func (d *Driver) create(ctx context.Context, w runtime.Workload, c runtime.Container, rec record, img image) error {
	rootfs, err := d.createRootfs(ctx, rec, img)
	if err != nil {
		return err
	}
	if err := makeLog(c.LogPath); err != nil {
		return err
	}
	stdout, stderr := logFiles(c.LogPath)
	pid, err := d.createTask(ctx, &tasks.CreateTaskRequest{ContainerID: rec.ID, Rootfs: rootfs, Stdout: stdout, Stderr: stderr})
	if err != nil || !c.Reaper {
		return err
	}
	args, err := argsOf(c, img)
	if err != nil {
		return err
	}
	return findProgram(pid, args, envOf(w, c, img), cwdOf(c, img))
}

// createTask makes the process, up to but without running the program. What an
// earlier record of the same id has left behind is taken away first.
func (d *Driver) createTask(ctx context.Context, request *tasks.CreateTaskRequest) (pid uint32, err error) {
	for began := time.Now(); ; {
		made, err := d.client.TaskService().Create(ctx, request)
		switch {
		case err == nil:
			return made.Pid, nil
		case isThere(err): // the process of a record that was deleted behind our back
			if err := d.removeTask(ctx, request.ContainerID); err != nil {
				return 0, err
			}
		case isBundleThere(err) && ctx.Err() == nil: // containerd is about to undo what a killed agent asked for
			time.Sleep(20 * time.Millisecond)
		default:
			return 0, d.startError(err)
		}
		if time.Since(began) > busyTimeout {
			return 0, d.startError(err)
		}
	}
}

// isBundleThere reports that the folder of a process exists, which containerd
// knows no process for (yet, or any more).
func isBundleThere(err error) bool {
	return strings.Contains(err.Error(), "mkdir ") && strings.Contains(err.Error(), ": file exists")
}

func (d *Driver) createRecord(ctx context.Context, w runtime.Workload, c runtime.Container, rec record, img image) error {
	labels := rec.labels()
	if err := checkLabels(labels); err != nil {
		return err
	}
	user, err := d.userOf(ctx, img, c.Security)
	if err != nil {
		return err
	}
	spec, err := d.buildSpec(ctx, w, c, rec.ID, img, user)
	if err != nil {
		return err
	}
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return fmt.Errorf("encode the specification: %w", err)
	}
	_, err = d.client.ContainerService().Create(ctx, containers.Container{
		ID: rec.ID, Labels: labels, Image: img.name, Spec: encoded,
		Snapshotter: d.cfg.Snapshotter, SnapshotKey: rec.ID,
		Runtime: containers.RuntimeInfo{Name: d.cfg.Runtime},
	})
	if isThere(err) {
		return errLeftovers
	}
	return d.fail("create record", err)
}

// createRootfs makes the container's root filesystem, over one that was left
// without its record.
func (d *Driver) createRootfs(ctx context.Context, rec record, img image) ([]*types.Mount, error) {
	snapshotter := d.client.SnapshotService(d.cfg.Snapshotter)
	prepare := func() ([]mount.Mount, error) {
		return snapshotter.Prepare(ctx, rec.ID, img.chain, snapshots.WithLabels(map[string]string{labelInstance: rec.Instance.ID}))
	}
	mounts, err := prepare()
	if isThere(err) {
		if err = snapshotter.Remove(ctx, rec.ID); err == nil {
			mounts, err = prepare()
		}
	}
	if isGone(err) {
		d.images.forget(img.name)
		return nil, fmt.Errorf("image %s is not unpacked: %w", img.name, runtime.ErrNotFound)
	}
	if err != nil {
		return nil, d.fail("create root filesystem", err)
	}
	out := make([]*types.Mount, len(mounts))
	for i, m := range mounts {
		out[i] = &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options}
	}
	return out, nil
}

// startError wraps an error of the runtime, whose own words say the most. Some
// of them mean that the container can never start as it is.
func (d *Driver) startError(err error) error {
	text := err.Error()
	for _, hopeless := range []struct{ words, remedy string }{
		{"exec: ", ""},            // the program is not there or cannot be executed
		{"exec format error", ""}, // it is for another machine
		{"chdir to cwd", ""},      // no such working folder
		{"error setting rlimit", "; containerd on this node has less itself and may not raise limits: lower ulimits, or raise those of its service"},
		{" /proc/sys/", "; the kernel of this node has no such sysctl, or takes no such value"},
	} {
		if strings.Contains(text, "OCI runtime create failed") && strings.Contains(text, hopeless.words) {
			return fmt.Errorf("run it: %w: %w%s", runtime.ErrInvalid, native(err), hopeless.remedy)
		}
	}
	return d.fail("run it", err)
}

// makeLog creates the file a shim appends to, so that it is ours alone and no
// link leads elsewhere.
func makeLog(name string) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("make log file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("make log file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("make log file: %w", &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")})
	}
	return nil
}

// logFiles tells the shim to write the file itself: no process of ours is in
// between, so none can block or break the workload by dying. It is named in
// two ways, because of one name the shim makes one open file, and closes it
// for both streams when the first of them ends (copyPipes in containerd's
// cmd/containerd-shim-runc-v2/process/io.go): the last words of a program that
// dies would be lost. For the same reason the names are no file:// URIs.
func logFiles(name string) (stdout, stderr string) {
	if name == "" {
		return "", ""
	}
	dir, base := filepath.Split(filepath.Clean(name))
	return dir + base, dir + "./" + base
}

// isRunning reports whether a complete instance runs.
func (d *Driver) isRunning(ctx context.Context, id string) (bool, error) {
	instances, err := d.list(ctx, instanceFilter(id))
	if err != nil {
		return false, err
	}
	for _, in := range instances {
		if in.ID == id {
			return in.State == planner.StateRunning, nil
		}
	}
	return false, nil
}
