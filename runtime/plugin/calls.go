//go:build linux

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

const (
	maxNotes     = 16
	maxNote      = 500 // bytes
	maxProgress  = 100_000
	maxFrom      = 300 // of a registry's name
	resumePause  = 200 * time.Millisecond
	hintGap      = 20 * time.Millisecond
	maxDigestLen = 128
	maxStores    = 16   // folders
	maxStoreLen  = 4096 // of a path, as of the kernel
)

// call makes one call; what says what it is for, in errors.
func (d *Driver) call(ctx context.Context, what string, do func(pluginpb.DriverClient) error) error {
	s, err := d.session(ctx)
	if err == nil {
		err = fromStatus(ctx, do(s.rpc))
	}
	return d.named(what, err)
}

// named says whose error it is. What the driver itself said already says what
// it did.
func (d *Driver) named(what string, err error) error {
	if err == nil {
		return nil
	}
	if answer := new(driverError); errors.As(err, &answer) {
		return fmt.Errorf("driver %s: %w", d.config.Name, err)
	}
	return fmt.Errorf("driver %s: %s: %w", d.config.Name, what, err)
}

// broken: the plugin answered what no driver may.
func broken(format string, args ...any) error {
	return fmt.Errorf("the plugin is broken: %w: %w", fmt.Errorf(format, args...), runtime.ErrUnavailable)
}

// Info implements runtime.Driver. The name is the configured one.
func (d *Driver) Info(ctx context.Context) (runtime.Info, error) {
	d.trim()
	s, err := d.session(ctx)
	if err != nil {
		return runtime.Info{Name: d.config.Name}, d.named("info", err)
	}
	r, err := s.rpc.Info(ctx, &pluginpb.InfoRequest{})
	err = fromStatus(ctx, err)
	d.heard(s, err)
	if err != nil {
		return runtime.Info{Name: d.config.Name}, d.named("info", err)
	}
	c := r.GetCapabilities()
	info := runtime.Info{
		Name: d.config.Name, Version: cut(r.GetVersion(), maxNote),
		Capabilities: runtime.Capabilities{
			Images: c.GetImages(), NetNS: c.GetNetNs(), Mounts: c.GetMounts(), Init: c.GetInit(), Users: c.GetUsers(),
			Security: c.GetSecurity(), LimitsCPU: c.GetLimitsCpu(), LimitsMemory: c.GetLimitsMemory(), LimitsPIDs: c.GetLimitsPids(), OOM: c.GetOom(),
			Terminal: c.GetTerminal(), UserNames: c.GetUserNames(), Ulimits: c.GetUlimits(), Sysctls: c.GetSysctls(), Reaper: c.GetReaper(),
		},
		Notes: []string{fmt.Sprintf("plugin %s, process %d", cut(r.GetName(), maxNote), s.record.Process.PID)},
	}
	for _, note := range r.GetNotes()[:min(len(r.GetNotes()), maxNotes)] {
		info.Notes = append(info.Notes, cut(note, maxNote))
	}
	return info, nil
}

// Prepare implements runtime.Driver.
func (d *Driver) Prepare(ctx context.Context, w runtime.Workload, progress func(runtime.Progress)) (map[string]string, error) {
	request := &pluginpb.PrepareRequest{Workload: toWorkload(w)}
	if err := checkSize(request); err != nil {
		return nil, d.named("prepare "+w.ID, err)
	}
	ctx, cancel := context.WithCancel(ctx) // ends the stream in any case
	defer cancel()
	asked := map[string]bool{}
	for _, c := range w.AllContainers() {
		asked[c.Image] = true
	}
	var digests map[string]string
	err := d.call(ctx, "prepare "+w.ID, func(rpc pluginpb.DriverClient) error {
		stream, err := rpc.Prepare(ctx, request)
		if err != nil {
			return err
		}
		for range maxProgress {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return broken("it prepared without a result")
			}
			if err != nil {
				return err
			}
			if r.GetDigests() != nil {
				digests, err = checkDigests(r.GetDigests().GetByImage(), asked)
				return err
			}
			if p := r.GetProgress(); p != nil && progress != nil && asked[p.GetImage()] {
				progress(runtime.Progress{
					Image: p.GetImage(), Done: max(p.GetDone(), 0), Total: max(p.GetTotal(), 0), From: planner.OneLine(p.GetFrom(), maxFrom),
				})
			}
		}
		return broken("it told progress %d times", maxProgress)
	})
	return digests, err
}

func checkDigests(have map[string]string, asked map[string]bool) (map[string]string, error) {
	digests := map[string]string{}
	for image, digest := range have {
		if !asked[image] || len(digest) > maxDigestLen {
			return nil, broken("it prepared an image that it was not asked for, or gave it a digest of %d bytes", len(digest))
		}
		digests[image] = digest
	}
	return digests, nil
}

// checkSize refuses what the plugin would not take.
func checkSize(request proto.Message) error {
	if n := proto.Size(request); n > maxRequest {
		return fmt.Errorf("the workload has %d bytes, %d are possible: make its environment or arguments smaller: %w", n, maxRequest, runtime.ErrInvalid)
	}
	return nil
}

// Start implements runtime.Driver. A plugin that ends during the call makes it
// runtime.ErrUnavailable: the instance may run.
func (d *Driver) Start(ctx context.Context, w runtime.Workload) error {
	request := &pluginpb.StartRequest{Workload: toWorkload(w)}
	if err := checkSize(request); err != nil {
		return d.named("start "+w.ID, err)
	}
	return d.call(ctx, "start "+w.ID, func(rpc pluginpb.DriverClient) error {
		_, err := rpc.Start(ctx, request)
		return err
	})
}

// List implements runtime.Driver. A listing with anything in it that cannot be
// is none at all.
func (d *Driver) List(ctx context.Context) ([]planner.Instance, error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, d.named("list", err)
	}
	have, err := list(ctx, s.rpc, d.config.Name)
	err = fromStatus(ctx, err)
	d.heard(s, err)
	return have, d.named("list", err)
}

func list(ctx context.Context, rpc pluginpb.DriverClient, driver string) ([]planner.Instance, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream in any case
	defer cancel()
	stream, err := rpc.List(ctx, &pluginpb.ListRequest{})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	have := []planner.Instance{}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return have, nil
		}
		if err != nil {
			return nil, err
		}
		if len(have) == maxInstances {
			return nil, broken("it lists more than %d instances", maxInstances)
		}
		i, err := fromInstance(driver, r.GetInstance())
		if err != nil {
			return nil, broken("it lists what cannot be: %w", err)
		}
		if seen[i.ID] {
			return nil, broken("it lists %s twice", i.ID)
		}
		seen[i.ID] = true
		have = append(have, i)
	}
}

// Wait implements runtime.Driver. When the plugin ends it goes on with the
// next process, for as long as the context stands.
func (d *Driver) Wait(ctx context.Context, id string) (planner.Exit, error) {
	for {
		var exit planner.Exit
		err := d.call(ctx, "wait for "+id, func(rpc pluginpb.DriverClient) error {
			r, err := rpc.Wait(ctx, &pluginpb.WaitRequest{Id: id})
			if err != nil {
				return err
			}
			if r.GetExit() == nil {
				return broken("it waited without a result")
			}
			if exit, err = fromExit(r.GetExit()); err != nil {
				return broken("it tells what cannot be: %w", err)
			}
			return nil
		})
		if !lost(err) {
			return exit, err
		}
		if !pause(ctx, resumePause) {
			return planner.Exit{}, d.named("wait for "+id, ctx.Err())
		}
	}
}

// lost reports whether a call went down with the plugin's process, or found
// none.
func lost(err error) bool {
	if away := new(notRunning); errors.As(err, &away) {
		return true
	}
	cut := new(transportError)
	return errors.As(err, &cut) && (cut.code == codes.Unavailable || cut.code == codes.Canceled)
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stop implements runtime.Driver.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	return d.call(ctx, "stop "+id, func(rpc pluginpb.DriverClient) error {
		_, err := rpc.Stop(ctx, &pluginpb.StopRequest{Id: id, Grace: durationpb.New(grace)})
		return err
	})
}

// Remove implements runtime.Driver.
func (d *Driver) Remove(ctx context.Context, id string) error {
	return d.call(ctx, "remove "+id, func(rpc pluginpb.DriverClient) error {
		_, err := rpc.Remove(ctx, &pluginpb.RemoveRequest{Id: id})
		return err
	})
}

// Watch implements runtime.Watcher.
func (d *Driver) Watch(ctx context.Context) (<-chan struct{}, error) {
	var stream interface {
		Recv() (*pluginpb.WatchResponse, error)
	}
	streamCtx, cancel := context.WithCancel(ctx)
	err := d.call(streamCtx, "watch", func(rpc pluginpb.DriverClient) error {
		s, err := rpc.Watch(streamCtx, &pluginpb.WatchRequest{})
		if err != nil {
			return err
		}
		stream = s
		_, err = s.Recv() // the first says that it has begun
		if errors.Is(err, io.EOF) {
			return broken("it stopped to watch before it had begun")
		}
		return err
	})
	hints := make(chan struct{}, 1)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		context.AfterFunc(ctx, func() { cancel(); close(hints) })
		return hints, nil
	case err != nil:
		cancel()
		return nil, err
	}
	go func() {
		defer close(hints)
		defer cancel()
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
			select {
			case hints <- struct{}{}:
			default:
			}
			if !pause(ctx, hintGap) { // a flood of hints is as good as one
				return
			}
		}
	}()
	return hints, nil
}

// Sweep implements runtime.Sweeper.
func (d *Driver) Sweep(ctx context.Context, live map[string]bool) error {
	request := &pluginpb.SweepRequest{}
	for id, stands := range live {
		if stands {
			request.Live = append(request.Live, id)
		}
	}
	err := d.call(ctx, "sweep", func(rpc pluginpb.DriverClient) error {
		_, err := rpc.Sweep(ctx, request)
		return err
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// Resolve implements runtime.Resolver.
func (d *Driver) Resolve(ctx context.Context, image string) (string, error) {
	var digest string
	err := d.call(ctx, "resolve "+image, func(rpc pluginpb.DriverClient) error {
		r, err := rpc.Resolve(ctx, &pluginpb.ResolveRequest{Image: image})
		if digest = r.GetDigest(); err == nil && len(digest) > maxDigestLen {
			return broken("it gave a digest of %d bytes", len(digest))
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return digest, nil
}

// Stats implements runtime.Stats.
func (d *Driver) Stats(ctx context.Context, id string) (runtime.Usage, error) {
	var use runtime.Usage
	err := d.call(ctx, "stats of "+id, func(rpc pluginpb.DriverClient) error {
		r, err := rpc.Stats(ctx, &pluginpb.StatsRequest{Id: id})
		use = runtime.Usage{CPU: max(r.GetCpu().AsDuration(), 0), MemoryBytes: max(r.GetMemoryBytes(), 0), PIDs: max(r.GetPids(), 0)}
		return err
	})
	return use, err
}

// Stores implements runtime.Storer.
func (d *Driver) Stores(ctx context.Context) ([]string, error) {
	var folders []string
	err := d.call(ctx, "ask for the folders of its data", func(rpc pluginpb.DriverClient) error {
		r, err := rpc.Stores(ctx, &pluginpb.StoresRequest{})
		if folders = r.GetFolders(); len(folders) > maxStores {
			return broken("it told of %d folders", len(folders))
		}
		for _, folder := range folders {
			if len(folder) > maxStoreLen || !filepath.IsAbs(folder) {
				return broken("it told of a folder %.100q: want an absolute path", folder)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return folders, nil
}
