//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fsnotify/fsnotify"

	"github.com/orpheus-cd/orpheus/planner"
)

// Wait implements runtime.Driver.
func (d *Driver) Wait(ctx context.Context, id string) (planner.Exit, error) {
	e, err := d.wait(ctx, id)
	if err != nil {
		return planner.Exit{}, fmt.Errorf("wait for %s: %w", id, err)
	}
	return e, nil
}

func (d *Driver) wait(ctx context.Context, id string) (planner.Exit, error) {
	i, err := d.load(id)
	if err != nil {
		return planner.Exit{}, err
	}
	if i.state.Workload.PID == 0 {
		return planner.Exit{}, errors.New("its start was never completed")
	}
	if i.living {
		if err := i.state.Workload.await(ctx); err != nil {
			return planner.Exit{}, err
		}
	}
	// The shim is about to write down what it saw.
	if pollErr := poll(ctx, func() bool {
		i, err = d.load(id)
		return err != nil || i.ended()
	}); pollErr != nil {
		return planner.Exit{}, pollErr
	}
	if err != nil {
		return planner.Exit{}, err
	}
	return i.result(), nil
}

// Watch implements runtime.Watcher. Shims write to the hint file; a shim that
// was killed gives no hint.
func (d *Driver) Watch(ctx context.Context) (<-chan struct{}, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch processes: %w", err)
	}
	if err := watcher.Add(d.dir); err != nil {
		return nil, errors.Join(fmt.Errorf("watch processes: %w", err), watcher.Close())
	}
	hints := make(chan struct{}, 1)
	go func() {
		defer close(hints)
		defer watcher.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case e, open := <-watcher.Events:
				if !open {
					return
				}
				if e.Name == d.dir && e.Has(fsnotify.Remove) {
					return // and with it the watch: List makes it anew
				}
				if e.Op == fsnotify.Chmod || filepath.Dir(e.Name) != d.dir {
					continue
				}
			case _, open := <-watcher.Errors: // events were lost: a hint is due
				if !open {
					return
				}
			}
			select {
			case hints <- struct{}{}:
			default:
			}
		}
	}()
	return hints, nil
}
