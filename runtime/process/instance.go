//go:build linux

package process

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

// instance is what one folder says, held against what runs.
type instance struct {
	state state
	exit  *exit // nil = no exit was recorded
	// living and shim say whether the processes run.
	living, shim bool
}

// errGarbage: the folder is there but does not say whose it is.
var errGarbage = errors.New("not readable")

// load reads an instance: ErrNotFound without its folder, errGarbage if its
// state cannot be read.
func (d *Driver) load(id string) (instance, error) {
	if !validID(id) {
		return instance{}, fmt.Errorf("instance %q: %w", id, runtime.ErrNotFound)
	}
	folder := d.folder(id)
	if info, err := os.Lstat(folder); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return instance{}, fmt.Errorf("instance %s: %w", id, runtime.ErrNotFound)
	} else if err != nil {
		return instance{}, err
	}
	data, err := readSmall(filepath.Join(folder, stateFile))
	if err != nil {
		return instance{}, fmt.Errorf("%w: %w", errGarbage, err)
	}
	i := instance{}
	if i.state, err = decodeState(data, id); errors.Is(err, errLater) && locked(folder) {
		return instance{}, fmt.Errorf("instance %s: %w: %w", id, runtime.ErrUnavailable, err)
	} else if err != nil {
		return instance{}, fmt.Errorf("%w: %s: %w", errGarbage, filepath.Join(folder, stateFile), err)
	}
	// Processes first: a program that ends in between has written its exit.
	if i.state.Boot == d.boot {
		i.living, i.shim = i.state.Workload.alive(), i.state.Shim.alive()
	}
	if data, err := readSmall(filepath.Join(folder, exitFile)); err == nil {
		if e, err := decodeExit(data); err == nil {
			i.exit = &e
		}
	}
	return i, nil
}

// ended reports whether the program was started and has ended. While its shim
// lives, the exit counts from when it is written down.
func (i instance) ended() bool {
	return i.state.Workload.PID > 0 && (i.exit != nil || !i.living && !i.shim)
}

// result is the exit of an instance that has ended.
func (i instance) result() planner.Exit {
	if i.exit == nil {
		return planner.Exit{Container: i.state.Container, Code: 255, Unknown: true}
	}
	return planner.Exit{
		Container: i.state.Container, Code: i.exit.Code, Signal: i.exit.Signal, OOM: i.exit.OOM, At: i.exit.At,
	}
}

// listed is the instance as the contract knows it.
func (i instance) listed() planner.Instance {
	s := i.state
	p := planner.Instance{
		ID: s.ID, Driver: planner.DriverProcess, Slot: s.Slot, Node: s.Node, Epoch: s.Epoch, Token: s.Token,
		Revision: s.Revision, State: planner.StatePartial, StartedAt: s.StartedAt, GracePeriod: s.Grace,
	}
	c := planner.ContainerState{Name: s.Container}
	switch {
	case i.ended():
		e := i.result()
		p.State, p.Exit, c.Exit = planner.StateExited, &e, &e
	case s.Workload.PID > 0:
		p.State, c.PID = planner.StateRunning, s.Workload.PID
	}
	c.State = p.State
	p.Containers = []planner.ContainerState{c}
	return p
}

// List implements runtime.Driver. Folders that do not say whose they are are
// left out, and left alone. What somebody deleted the folder of while it runs
// is listed like the others.
func (d *Driver) List(ctx context.Context) ([]planner.Instance, error) {
	ours := d.ours.list() // before the folders: what we remove meanwhile is in neither
	ids, err := d.folders()
	if err != nil {
		return nil, err
	}
	ids = append(ids, ours...)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	have := make([]planner.Instance, 0, len(ids))
	var lost []string
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		i, err := d.load(id)
		switch {
		case err == nil:
			d.ours.add(id)
			have = append(have, i.listed())
		case missing(err) && d.ours.has(id):
			lost = append(lost, id)
		case errors.Is(err, runtime.ErrNotFound): // removed meanwhile
		case errors.Is(err, errGarbage):
			d.log.Debug("instance folder ignored", "instance", id, "err", err)
		default:
			return nil, fmt.Errorf("list processes: %w", err)
		}
	}
	if len(lost) == 0 {
		return have, nil
	}
	return d.listLost(have, lost)
}

// listLost adds to a listing those of the lost that run.
func (d *Driver) listLost(have []planner.Instance, lost []string) ([]planner.Instance, error) {
	found, err := d.recoverLost(lost...)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, id := range lost {
		if i, runs := found[id]; runs {
			have = append(have, i.listed())
		} else {
			d.ours.drop(id)
		}
	}
	slices.SortFunc(have, func(a, b planner.Instance) int { return strings.Compare(a.ID, b.ID) })
	return have, nil
}

// folders lists the ids that have a folder, sorted. A state folder that was
// deleted is made anew.
func (d *Driver) folders() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(d.dir, 0o700); err == nil {
			_, lost := d.recoverLost()
			err = errors.Join(touch(filepath.Join(d.dir, hintFile)), lost)
		}
		if err == nil {
			entries, err = os.ReadDir(d.dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && validID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
