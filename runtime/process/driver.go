//go:build linux

package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Config is what New needs.
type Config struct {
	// StateDir holds a folder per instance; it is made (0700) if it is missing.
	StateDir string
	// Executable is re-executed as shim; "" = this program. Its main must call
	// MaybeShim before anything else.
	Executable string
	// CgroupParent is the path of our cgroups below the root of each
	// hierarchy; "" = "orpheus". Drivers with different state folders may
	// share it.
	CgroupParent string
	// NoCgroups leaves cgroups alone even where they are writable.
	NoCgroups bool
	// Log gets what no caller can be told; nil = nothing.
	Log *slog.Logger
}

// Driver runs host processes. See the package for how.
type Driver struct {
	dir        string
	executable string
	log        *slog.Logger
	boot       string
	space      string // tells this StateDir from others on the machine
	cgroups    cgroups
	root       bool
	ours       ours
	recovering sync.Mutex // held by recoverLost
}

var (
	_ runtime.Driver  = (*Driver)(nil)
	_ runtime.Watcher = (*Driver)(nil)
	_ runtime.Sweeper = (*Driver)(nil)
	_ runtime.Stats   = (*Driver)(nil)
)

// New opens the state folder and looks at what this machine can do.
func New(c Config) (*Driver, error) {
	dir, err := filepath.Abs(c.StateDir)
	if err != nil || c.StateDir == "" {
		return nil, fmt.Errorf("state folder %q of the process driver: not a path: %w", c.StateDir, runtime.ErrInvalid)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder of the process driver: %w", err)
	}
	// Two paths of one folder are one folder.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("open state folder of the process driver: %w", err)
	}
	if err := touch(filepath.Join(dir, hintFile)); err != nil {
		return nil, fmt.Errorf("write to state folder of the process driver: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(dir))
	d := &Driver{
		dir: dir, executable: c.Executable, log: c.Log, boot: boot,
		space: hex.EncodeToString(sum[:4]), root: os.Geteuid() == 0,
	}
	if d.log == nil {
		d.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if d.executable == "" {
		d.executable = "/proc/self/exe"
	}
	if err := d.takeOver(); err != nil {
		return nil, err
	}
	if c.NoCgroups {
		d.cgroups.notes = []string{"cgroups are turned off: no limits are enforced"}
		return d, nil
	}
	parent := c.CgroupParent
	if parent == "" {
		parent = "orpheus"
	}
	if !filepath.IsLocal(parent) {
		return nil, fmt.Errorf("cgroup parent %q: not a path below the root of a hierarchy: %w", parent, runtime.ErrInvalid)
	}
	if d.cgroups, err = findCgroups(filepath.Join(parent, d.space)); err != nil {
		return nil, err
	}
	return d, nil
}

// takeOver begins with what a driver before this one has left.
func (d *Driver) takeOver() error {
	if _, err := d.recoverLost(); err != nil {
		return err
	}
	ids, err := d.folders()
	for _, id := range ids {
		d.ours.add(id)
	}
	return err
}

// leaveTime is how long the last processes may take to be gone.
const leaveTime = 5 * time.Second

// RemoveCgroups removes the driver's cgroups, for good, once nothing runs: its own,
// and those around them as far as nothing else is in them. No driver on the same
// state folder may be used after it, only a new one.
func (d *Driver) RemoveCgroups(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	for {
		d.cgroups.removeEmpty()
		left := d.cgroups.own()
		if len(left) == 0 {
			return nil
		}
		// A process that has just died keeps its cgroup busy for a moment.
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove cgroups: something is still in %s", strings.Join(left, ", "))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Info implements runtime.Driver.
func (d *Driver) Info(ctx context.Context) (runtime.Info, error) {
	c := runtime.Capabilities{
		Users:        d.root,
		UserNames:    d.root,
		Ulimits:      true,
		LimitsCPU:    d.cgroups.has(cpu),
		LimitsMemory: d.cgroups.has(memory),
		LimitsPIDs:   d.cgroups.has(pids),
		OOM:          d.cgroups.has(memory),
		Terminal:     true,
	}
	notes := d.cgroups.notes
	if !d.root {
		notes = append(notes[:len(notes):len(notes)], "the agent is not root: processes run as its own user")
	}
	return runtime.Info{Name: planner.DriverProcess, Version: "1", Capabilities: c, Notes: notes}, ctx.Err()
}

// Prepare implements runtime.Driver: there is nothing to prepare.
func (d *Driver) Prepare(ctx context.Context, w runtime.Workload, _ func(runtime.Progress)) (map[string]string, error) {
	for _, c := range w.AllContainers() {
		if c.Image != "" {
			return nil, errImage(c)
		}
	}
	return map[string]string{}, ctx.Err()
}

// Start implements runtime.Driver.
func (d *Driver) Start(ctx context.Context, w runtime.Workload) error {
	j, err := d.job(w)
	if err != nil {
		return fmt.Errorf("start %s: %w", w.ID, runtime.NotBegun(err))
	}
	i, err := d.find(w.ID)
	switch {
	case err == nil && i.listed().State == planner.StateRunning:
		return nil
	case !errors.Is(err, runtime.ErrNotFound):
		if err := d.Remove(ctx, w.ID); err != nil {
			return fmt.Errorf("start %s: take away what is left of it: %w", w.ID, err)
		}
	}
	if err := d.launch(ctx, j, w); err != nil {
		back := errors.Join(err, d.rollBack(ctx, w.ID))
		if errors.Is(err, runtime.ErrNotBegun) {
			back = runtime.NotBegun(back)
		}
		return fmt.Errorf("start %s: %w", w.ID, back)
	}
	d.ours.add(w.ID)
	return nil
}

// rollBack removes what a failed start made, also when its context has ended.
// Where it fails, something may run: ErrUnavailable.
func (d *Driver) rollBack(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollBackTime)
	defer cancel()
	if err := d.Remove(ctx, id); err != nil {
		return fmt.Errorf("roll back: %w: %w", runtime.ErrUnavailable, err)
	}
	return nil
}

func (d *Driver) folder(id string) string { return filepath.Join(d.dir, id) }

// marker is the value of markerVariable for an instance.
func (d *Driver) marker(id string) string { return d.space + "/" + id }

func touch(path string) error {
	return os.WriteFile(path, []byte{'\n'}, 0o600)
}
