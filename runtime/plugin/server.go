package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

// server is the plugin's half: it passes calls on to the driver.
type server struct {
	pluginpb.UnimplementedDriverServer
	driver runtime.Driver
}

var _ pluginpb.DriverServer = (*server)(nil)

// progressGap is how often the progress of one image is told.
const progressGap = 100 * time.Millisecond

func (s *server) Info(ctx context.Context, _ *pluginpb.InfoRequest) (*pluginpb.InfoResponse, error) {
	info, err := s.driver.Info(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	c := info.Capabilities
	return &pluginpb.InfoResponse{
		Name: info.Name, Version: info.Version, Notes: info.Notes,
		Capabilities: &pluginpb.Capabilities{
			Images: c.Images, NetNs: c.NetNS, Mounts: c.Mounts, Init: c.Init, Users: c.Users, Security: c.Security,
			LimitsCpu: c.LimitsCPU, LimitsMemory: c.LimitsMemory, LimitsPids: c.LimitsPIDs, Oom: c.OOM,
			Terminal: c.Terminal, UserNames: c.UserNames, Ulimits: c.Ulimits, Sysctls: c.Sysctls, Reaper: c.Reaper,
		},
	}, nil
}

func (s *server) Prepare(request *pluginpb.PrepareRequest, stream grpc.ServerStreamingServer[pluginpb.PrepareResponse]) error {
	var sending sync.Mutex // one Send at a time
	told := map[string]time.Time{}
	progress := func(p runtime.Progress) {
		sending.Lock()
		defer sending.Unlock()
		now := time.Now()
		if p.Done != p.Total && now.Sub(told[p.Image]) < progressGap {
			return
		}
		told[p.Image] = now
		_ = stream.Send(&pluginpb.PrepareResponse{Event: &pluginpb.PrepareResponse_Progress{
			Progress: &pluginpb.Progress{Image: p.Image, Done: p.Done, Total: p.Total, From: p.From},
		}}) // an agent that is gone has ended the context
	}
	digests, err := s.driver.Prepare(stream.Context(), fromWorkload(request.GetWorkload()), progress)
	if err != nil {
		return toStatus(err)
	}
	sending.Lock()
	defer sending.Unlock()
	return stream.Send(&pluginpb.PrepareResponse{Event: &pluginpb.PrepareResponse_Digests{
		Digests: &pluginpb.Digests{ByImage: digests},
	}})
}

func (s *server) Start(ctx context.Context, request *pluginpb.StartRequest) (*pluginpb.StartResponse, error) {
	return &pluginpb.StartResponse{}, toStatus(s.driver.Start(ctx, fromWorkload(request.GetWorkload())))
}

func (s *server) List(_ *pluginpb.ListRequest, stream grpc.ServerStreamingServer[pluginpb.ListResponse]) error {
	instances, err := s.driver.List(stream.Context())
	if err != nil {
		return toStatus(err)
	}
	for _, i := range instances {
		if err := stream.Send(&pluginpb.ListResponse{Instance: toInstance(i)}); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) Wait(ctx context.Context, request *pluginpb.WaitRequest) (*pluginpb.WaitResponse, error) {
	exit, err := s.driver.Wait(ctx, request.GetId())
	if err != nil {
		return nil, toStatus(err)
	}
	return &pluginpb.WaitResponse{Exit: toExit(&exit)}, nil
}

func (s *server) Stop(ctx context.Context, request *pluginpb.StopRequest) (*pluginpb.StopResponse, error) {
	return &pluginpb.StopResponse{}, toStatus(s.driver.Stop(ctx, request.GetId(), request.GetGrace().AsDuration()))
}

func (s *server) Remove(ctx context.Context, request *pluginpb.RemoveRequest) (*pluginpb.RemoveResponse, error) {
	return &pluginpb.RemoveResponse{}, toStatus(s.driver.Remove(ctx, request.GetId()))
}

func (s *server) Watch(_ *pluginpb.WatchRequest, stream grpc.ServerStreamingServer[pluginpb.WatchResponse]) error {
	w, ok := s.driver.(runtime.Watcher)
	if !ok {
		return lacks("Watch")
	}
	hints, err := w.Watch(stream.Context())
	if err != nil {
		return toStatus(err)
	}
	for open := true; open; _, open = <-hints {
		if err := stream.Send(&pluginpb.WatchResponse{}); err != nil {
			break // the context has ended, and with it the channel does
		}
	}
	return nil
}

func (s *server) Sweep(ctx context.Context, request *pluginpb.SweepRequest) (*pluginpb.SweepResponse, error) {
	w, ok := s.driver.(runtime.Sweeper)
	if !ok {
		return nil, lacks("Sweep")
	}
	live := make(map[string]bool, len(request.GetLive()))
	for _, id := range request.GetLive() {
		live[id] = true
	}
	return &pluginpb.SweepResponse{}, toStatus(w.Sweep(ctx, live))
}

func (s *server) Resolve(ctx context.Context, request *pluginpb.ResolveRequest) (*pluginpb.ResolveResponse, error) {
	r, ok := s.driver.(runtime.Resolver)
	if !ok {
		return nil, lacks("Resolve")
	}
	digest, err := r.Resolve(ctx, request.GetImage())
	return &pluginpb.ResolveResponse{Digest: digest}, toStatus(err)
}

func (s *server) Stats(ctx context.Context, request *pluginpb.StatsRequest) (*pluginpb.StatsResponse, error) {
	r, ok := s.driver.(runtime.Stats)
	if !ok {
		return nil, lacks("Stats")
	}
	u, err := r.Stats(ctx, request.GetId())
	return &pluginpb.StatsResponse{Cpu: durationpb.New(u.CPU), MemoryBytes: u.MemoryBytes, Pids: u.PIDs}, toStatus(err)
}

func (s *server) Stores(ctx context.Context, _ *pluginpb.StoresRequest) (*pluginpb.StoresResponse, error) {
	r, ok := s.driver.(runtime.Storer)
	if !ok {
		return nil, lacks("Stores")
	}
	folders, err := r.Stores(ctx)
	return &pluginpb.StoresResponse{Folders: folders}, toStatus(err)
}

func lacks(ability string) error {
	return toStatus(fmt.Errorf("the driver has no %s: %w", ability, errors.ErrUnsupported))
}
