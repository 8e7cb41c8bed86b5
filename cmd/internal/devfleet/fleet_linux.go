package devfleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// Options of a fleet.
type Options struct {
	Orpheus string // the binary whose agent runs
	Driver  string // planner.DriverContainerd or planner.DriverProcess
	// LocalPath has the agent follow the repository by its path instead of http.
	LocalPath bool
	// Payload is a payload that was built before; "" = build one.
	Payload string
	// Git says how the Git server listens and whom it lets in; its root is the
	// fleet's.
	Git gitsynctest.Options
	// Registry says what the image registry demands. What its credentials and
	// certificate ask of the agent is for Config to say.
	Registry imagetest.RegistryOptions
	// RunInMemory keeps short-lived files on a tmpfs, as /run is on a real
	// machine. It needs root and, lest the mounts be seen, Isolate.
	RunInMemory bool
	// Config is YAML laid over the agent's configuration, field by field.
	Config string
}

// Fleet is one node, which coordinates with nobody, and what it needs.
type Fleet struct {
	*Hub
	*Node
	Dir string // holds everything
}

// New makes a fleet. Close takes all of it away again. The agent is started
// by StartAgent.
func New(ctx context.Context, opts Options) (_ *Fleet, err error) {
	dir, err := os.MkdirTemp("", "orpheus-")
	if err != nil {
		return nil, err
	}
	f := &Fleet{Dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	hub := hubOptions{localPath: opts.LocalPath, git: opts.Git, payload: opts.Payload}
	if opts.Driver != planner.DriverProcess {
		hub.registry = &opts.Registry
	}
	if f.Hub, err = openHub(dir, hub); err != nil {
		return nil, err
	}
	if opts.Payload == "" {
		if err := os.MkdirAll(f.bin(), 0o755); err != nil {
			return nil, err
		}
		if f.Payload, err = imagetest.BuildPayload(ctx, f.bin()); err != nil {
			return nil, err
		}
	}
	orpheus, err := filepath.Abs(opts.Orpheus)
	if err != nil {
		return nil, err
	}
	f.Node = &Node{
		Name: "node-1", Dir: dir, hub: f.Hub, cgroup: "/" + filepath.Base(dir),
		opts: nodeOptions{orpheus: orpheus, driver: opts.Driver, coordination: CoordinationNone, config: opts.Config},
	}
	if opts.RunInMemory {
		if err := f.runInMemory(); err != nil {
			return nil, err
		}
	}
	if f.containers() {
		err = f.startContainerd()
	}
	return f, err
}

// Close stops and removes everything, also what a half-made fleet has.
func (f *Fleet) Close() error {
	var errs []error
	if f.Node != nil {
		errs = append(errs, f.EndAgent(syscall.SIGTERM))
		if f.Containerd != nil {
			errs = append(errs, f.Containerd.Close())
		}
	}
	if f.Hub != nil {
		f.Hub.close()
	}
	if f.Node != nil {
		errs = append(errs, f.KillProcesses(), f.Unmount(), removeCgroups(f.cgroup))
	}
	return errors.Join(append(errs, os.RemoveAll(f.Dir))...)
}

// KillProcesses ends what the process driver left running: everything that
// runs the payload, and the shims above, which work in the fleet's folder.
func (f *Fleet) KillProcesses() error {
	return processes{dir: f.Dir, payload: f.Payload}.kill()
}

// Unmount takes away what is mounted below the folder: namespaces and
// memory volumes of instances that were not removed.
func (f *Fleet) Unmount() error { return unmountBelow(f.Dir) }
