//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// driver is what the agent calls, through the plugin's socket.
type driver struct {
	dir  string   // a folder per instance
	show []string // paths of the host
}

// Beside the calls of every driver it has two optional abilities.
var (
	_ runtime.Driver  = (*driver)(nil)
	_ runtime.Watcher = (*driver)(nil)
	_ runtime.Sweeper = (*driver)(nil)
)

// maxDir leaves room for an id and the name of a socket in what the kernel
// takes as a socket's path.
const maxDir = 107 - 1 - 63 - 1 - len(controlSocket)

func newDriver(dir string, show []string) (*driver, error) {
	if !filepath.IsAbs(dir) || len(dir) > maxDir {
		return nil, fmt.Errorf("--state %s is not an absolute path of at most %d bytes", dir, maxDir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &driver{dir, show}, os.WriteFile(filepath.Join(dir, hintFile), nil, 0o600)
}

// Info implements runtime.Driver. An agent refuses a workload that needs a
// capability which is not declared here.
func (d *driver) Info(context.Context) (runtime.Info, error) {
	if os.Geteuid() != 0 {
		return runtime.Info{}, fmt.Errorf("sandboxes need root: run the agent as root: %w", runtime.ErrUnavailable)
	}
	return runtime.Info{
		Name: "sandbox", Version: "1",
		Capabilities: runtime.Capabilities{NetNS: true, Mounts: true, Users: true},
	}, nil
}

// Prepare implements runtime.Driver: there are no images. It is asked for a
// revision, before there is an instance with an id.
func (d *driver) Prepare(_ context.Context, w runtime.Workload, _ func(runtime.Progress)) (map[string]string, error) {
	for _, c := range w.AllContainers() {
		if c.Image != "" {
			return nil, errImage(c)
		}
	}
	return nil, nil
}

// Start implements runtime.Driver.
func (d *driver) Start(ctx context.Context, w runtime.Workload) error {
	if err := checkWorkload(w); err != nil {
		return err
	}
	if i, err := d.load(w.ID); err == nil && i.listed().State == planner.StateRunning {
		return nil // already so is success
	}
	if err := d.Remove(ctx, w.ID); err != nil {
		return fmt.Errorf("start %s: take away what is left of it: %w", w.ID, err)
	}
	err := d.launch(ctx, w)
	if err == nil {
		return nil
	}
	// A failed start leaves nothing behind, also when the caller is gone.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if undone := d.Remove(undo, w.ID); undone != nil {
		return fmt.Errorf("start %s: %w; roll back: %w: %w", w.ID, err, undone, runtime.ErrUnavailable)
	}
	return fmt.Errorf("start %s: %w", w.ID, err)
}

// List implements runtime.Driver. A folder without a record is one whose start
// was cut off before it began: Sweep removes it.
func (d *driver) List(ctx context.Context) ([]planner.Instance, error) {
	ids, err := d.ids()
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var all []planner.Instance
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list sandboxes: %w", err)
		}
		i, err := d.load(id)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list sandboxes: %w", err) // all or an error
		}
		all = append(all, i.listed())
	}
	return all, nil
}

// Wait implements runtime.Driver.
func (d *driver) Wait(ctx context.Context, id string) (planner.Exit, error) {
	for {
		i, err := d.load(id)
		if err == nil && i.alive {
			err = d.awaitEnd(ctx, id, 0)
		}
		if err != nil {
			return planner.Exit{}, fmt.Errorf("wait for %s: %w", id, err)
		}
		if i.alive {
			continue // now the files tell how it ended
		}
		if e := i.listed().Exit; e != nil {
			return *e, nil
		}
		return planner.Exit{}, fmt.Errorf("wait for %s: its start was never completed", id) // an error means unknown
	}
}

// Stop implements runtime.Driver: the stop signal, then the kill.
func (d *driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	i, err := d.load(id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", id, err)
	}
	if grace > 0 && i.Running != nil {
		err := d.awaitEnd(ctx, id, unix.Signal(i.StopSignal), grace)
		if !errors.Is(err, errStillRuns) {
			return wrap("stop "+id, err)
		}
	}
	return wrap("stop "+id, d.awaitEnd(ctx, id, unix.SIGKILL))
}

// Remove implements runtime.Driver.
func (d *driver) Remove(ctx context.Context, id string) error {
	if !validID(id) {
		return nil
	}
	if err := d.awaitEnd(ctx, id, unix.SIGKILL); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return os.RemoveAll(d.folder(id))
}

// Sweep implements runtime.Sweeper.
func (d *driver) Sweep(ctx context.Context, live map[string]bool) error {
	ids, err := d.ids()
	errs := []error{err}
	for _, id := range ids {
		if !live[id] {
			errs = append(errs, d.Remove(ctx, id))
		}
	}
	return wrap("sweep", errors.Join(errs...))
}

// Watch implements runtime.Watcher: shims touch the hint file when they end.
func (d *driver) Watch(ctx context.Context) (<-chan struct{}, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := watcher.Add(filepath.Join(d.dir, hintFile)); err != nil {
		watcher.Close()
		return nil, err
	}
	hints := make(chan struct{}, 1)
	go func() {
		defer close(hints)
		defer watcher.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case <-watcher.Errors: // events were lost: a hint is due
			case <-watcher.Events:
			}
			select {
			case hints <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return hints, nil
}

// checkWorkload refuses what the driver does not do: never leave it out
// silently. Such errors are ErrInvalid: trying again cannot help.
func checkWorkload(w runtime.Workload) error {
	if err := fault(w); err != nil {
		return fmt.Errorf("sandbox %s: %w: %w", w.ID, err, runtime.ErrInvalid)
	}
	return nil
}

func fault(w runtime.Workload) error {
	if !validID(w.ID) {
		return errors.New("the id is not of [a-z0-9.-]")
	}
	if len(w.Init) > 0 || len(w.Containers) != 1 {
		return errors.New("a sandbox runs one program, without init containers")
	}
	c := w.Containers[0]
	s, limits := c.Security, c.Resources.Limits
	switch {
	case c.Image != "":
		return errImage(c)
	case len(c.Command)+len(c.Args) == 0:
		return errors.New("a sandbox needs a command")
	case s.Privileged || s.ReadOnlyRootFilesystem || len(s.AddCapabilities)+len(s.DropCapabilities)+len(c.Devices) > 0:
		return errors.New("a sandbox has no privileged, readOnlyRootFilesystem, capabilities or devices")
	case c.Reaper:
		return errors.New("a sandbox has no init")
	case limits != planner.ResourceList{}:
		return errors.New("a sandbox has no limits")
	case c.StopSignal != "" && unix.SignalNum(c.StopSignal) == 0:
		return fmt.Errorf("stop signal %q is not known: write it as SIGINT", c.StopSignal)
	}
	for name, id := range map[string]*int64{"runAsUser": s.RunAsUser, "runAsGroup": s.RunAsGroup} {
		if id != nil && (*id < 0 || *id >= math.MaxUint32) {
			return fmt.Errorf("%s %d is out of range", name, *id)
		}
	}
	for _, e := range c.Env { // values may be secret: only names in errors
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") || strings.Contains(e.Value, "\x00") {
			return fmt.Errorf("environment variable %q cannot be set", e.Name)
		}
	}
	return nil
}

func errImage(c runtime.Container) error {
	return fmt.Errorf("image %s: a sandbox runs programs of the host, name one as command: %w", c.Image, runtime.ErrInvalid)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
