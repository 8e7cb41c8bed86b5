package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Info implements runtime.Driver.
func (f *Fake) Info(ctx context.Context) (runtime.Info, error) {
	end, err := f.enter(ctx, Call{Verb: "Info"})
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		info := f.info
		info.Version = ""
		return info, end(err)
	}
	defer f.mu.Unlock()
	info := f.info
	info.Notes = slices.Clone(info.Notes)
	return info, end(nil)
}

// Start implements runtime.Driver.
func (f *Fake) Start(ctx context.Context, w runtime.Workload) error {
	end, err := f.enter(ctx, Call{Verb: "Start", ID: w.ID})
	if err != nil {
		return end(err)
	}
	defer f.mu.Unlock()
	return end(f.start(ctx, w))
}

func (f *Fake) start(ctx context.Context, w runtime.Workload) error {
	if old := f.instances[w.ID]; old != nil {
		if old.listed.State == planner.StateRunning {
			return nil
		}
		f.drop(old)
	}
	i := newFakeInstance(f.name, w)
	f.instances[w.ID] = i
	f.record(i, false)
	err := f.startContainers(ctx, i)
	if err == nil {
		return nil
	}
	if f.instances[w.ID] == i && (ctx.Err() == nil || !f.leavePartly) {
		f.drop(i)
		if !i.begun {
			err = runtime.NotBegun(err)
		}
	}
	return fmt.Errorf("start %s: %w", w.ID, err)
}

func (f *Fake) startContainers(ctx context.Context, i *fakeInstance) error {
	w := i.workload
	if len(w.Containers) == 0 {
		return fmt.Errorf("it has no container: %w", runtime.ErrInvalid)
	}
	for k, c := range w.AllContainers() {
		digest, err := f.images.local(f.info.Capabilities.Images, c)
		if err != nil {
			return err
		}
		var b Behaviour
		if f.behave != nil {
			b = f.behave(w, c)
		}
		if err := f.pauseUntil(ctx, time.Now().Add(b.StartDelay)); err != nil {
			return err
		}
		if b.StartError != nil {
			return fmt.Errorf("container %s: %w", c.Name, b.StartError)
		}
		if k < len(w.Init) {
			i.begun = true
			if err := f.runInit(ctx, c, b); err != nil {
				return err
			}
			continue
		}
		f.pid++
		i.behave[c.Name] = b
		i.listed.Containers = append(i.listed.Containers, planner.ContainerState{
			Name: c.Name, Image: c.Image, Digest: digest, PID: f.pid, Exposed: f.images.exposed[c.Image], State: planner.StateRunning,
		})
	}
	if f.instances[w.ID] != i {
		return fmt.Errorf("it was removed meanwhile: %w", runtime.ErrNotFound)
	}
	i.listed.State, i.listed.StartedAt = planner.StateRunning, time.Now()
	f.record(i, false)
	for _, c := range w.Containers {
		b := i.behave[c.Name]
		if b.Exit == nil {
			continue
		}
		exit := *b.Exit
		exit.Container = c.Name
		if b.RunFor <= 0 {
			f.end(i, exit)
			continue
		}
		f.endLater(i, b.RunFor, exit)
	}
	return nil
}

func (f *Fake) runInit(ctx context.Context, c runtime.Container, b Behaviour) error {
	if err := f.pauseUntil(ctx, time.Now().Add(b.RunFor)); err != nil {
		return err
	}
	if b.Exit != nil && b.Exit.Code != 0 {
		return fmt.Errorf("init container %s ended with code %d", c.Name, b.Exit.Code)
	}
	return nil
}

// List implements runtime.Driver; it is ordered by id.
func (f *Fake) List(ctx context.Context) ([]planner.Instance, error) {
	end, err := f.enter(ctx, Call{Verb: "List"})
	if err != nil {
		return nil, end(err)
	}
	defer f.mu.Unlock()
	return f.listing(), end(nil)
}

// Listing is List without a call: for assertions.
func (f *Fake) Listing() []planner.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listing()
}

func (f *Fake) listing() []planner.Instance {
	have := make([]planner.Instance, 0, len(f.instances))
	for _, id := range slices.Sorted(maps.Keys(f.instances)) {
		have = append(have, copyInstance(f.instances[id].listed))
	}
	return have
}

// Wait implements runtime.Driver.
func (f *Fake) Wait(ctx context.Context, id string) (planner.Exit, error) {
	end, err := f.enter(ctx, Call{Verb: "Wait", ID: id})
	if err != nil {
		return planner.Exit{}, end(err)
	}
	defer f.mu.Unlock()
	for {
		if err := f.available(); err != nil {
			return planner.Exit{}, end(err)
		}
		i := f.instances[id]
		if i == nil {
			return planner.Exit{}, end(fmt.Errorf("wait for %s: %w", id, runtime.ErrNotFound))
		}
		if i.listed.Exit != nil {
			return *i.listed.Exit, end(nil)
		}
		if err := f.pause(ctx, time.Time{}); err != nil {
			return planner.Exit{}, end(fmt.Errorf("wait for %s: %w", id, err))
		}
	}
}

// Stop implements runtime.Driver.
func (f *Fake) Stop(ctx context.Context, id string, grace time.Duration) error {
	end, err := f.enter(ctx, Call{Verb: "Stop", ID: id})
	if err != nil {
		return end(err)
	}
	defer f.mu.Unlock()
	return end(f.stop(ctx, id, grace))
}

func (f *Fake) stop(ctx context.Context, id string, grace time.Duration) error {
	i := f.instances[id]
	if i == nil {
		return nil
	}
	kill := time.Now().Add(grace)
	for _, c := range slices.Clone(i.listed.Containers) {
		f.signal(i, c, grace)
	}
	for f.instances[id] == i && i.running() && time.Now().Before(kill) {
		if err := f.available(); err != nil {
			return err
		}
		if err := f.pause(ctx, kill); err != nil {
			return fmt.Errorf("stop %s: %w", id, err)
		}
	}
	if f.instances[id] != i {
		return nil
	}
	for _, c := range slices.Clone(i.listed.Containers) {
		f.end(i, planner.Exit{Container: c.Name, Code: 128 + 9, Signal: 9})
	}
	if i.listed.State == planner.StatePartial {
		f.drop(i)
	}
	return nil
}

// signal is the stop signal: it takes effect at once, later or never.
func (f *Fake) signal(i *fakeInstance, c planner.ContainerState, grace time.Duration) {
	b := i.behave[c.Name]
	if b.Deaf || c.State != planner.StateRunning || grace <= 0 {
		return
	}
	exit := planner.Exit{Code: 128 + 15, Signal: 15}
	if b.OnSignal != nil {
		exit = *b.OnSignal
	}
	exit.Container = c.Name
	if b.StopDelay <= 0 {
		f.end(i, exit)
		return
	}
	f.endLater(i, b.StopDelay, exit)
}

// Remove implements runtime.Driver.
func (f *Fake) Remove(ctx context.Context, id string) error {
	end, err := f.enter(ctx, Call{Verb: "Remove", ID: id})
	if err != nil {
		return end(err)
	}
	defer f.mu.Unlock()
	if err := f.stop(ctx, id, 0); err != nil {
		return end(err)
	}
	if i := f.instances[id]; i != nil {
		f.drop(i)
	}
	return end(nil)
}

// Sweep implements runtime.Sweeper.
func (f *Fake) Sweep(ctx context.Context, live map[string]bool) error {
	end, err := f.enter(ctx, Call{Verb: "Sweep"})
	if err != nil {
		return end(err)
	}
	defer f.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(f.instances)) {
		if !live[id] {
			f.drop(f.instances[id])
		}
	}
	return end(nil)
}

// Stats implements runtime.Stats: numbers that depend on the age alone.
func (f *Fake) Stats(ctx context.Context, id string) (runtime.Usage, error) {
	end, err := f.enter(ctx, Call{Verb: "Stats", ID: id})
	if err != nil {
		return runtime.Usage{}, end(err)
	}
	defer f.mu.Unlock()
	i := f.instances[id]
	if i == nil {
		return runtime.Usage{}, end(fmt.Errorf("stats of %s: %w", id, runtime.ErrNotFound))
	}
	n := int64(len(i.listed.Containers))
	return runtime.Usage{CPU: time.Since(i.listed.StartedAt) / 100, MemoryBytes: n << 20, PIDs: n}, end(nil)
}

// Watch implements runtime.Watcher: one hint for any number of changes.
func (f *Fake) Watch(ctx context.Context) (<-chan struct{}, error) {
	end, err := f.enter(ctx, Call{Verb: "Watch"})
	if err != nil {
		return nil, end(err)
	}
	defer f.mu.Unlock()
	hints := make(chan struct{}, 1)
	changed := f.changed
	go func() {
		defer close(hints)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			f.mu.Lock()
			down := f.unavailable
			changed = f.changed
			f.mu.Unlock()
			if down {
				return
			}
			select {
			case hints <- struct{}{}:
			default:
			}
		}
	}()
	return hints, end(nil)
}
