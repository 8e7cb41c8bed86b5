package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/network"
	"github.com/orpheus-cd/orpheus/runtime/network/resolver"
)

// namesFolder is the name server's folder in the state folder.
const namesFolder = "names"

// nameServer has the names of services answered on the bridge by a process that
// outlives the agent. It is an agent.Names.
type nameServer struct {
	network *network.Network
	helper  *resolver.Helper

	mu      sync.Mutex
	zone    resolver.Zone // as it was written; nothing in Listen = not yet
	asked   time.Time     // when the upstream was looked up
	health  resolver.Health
	failure error
}

// upstreamEvery is how often the host's own name servers are looked up.
const upstreamEvery = 10 * time.Second

func newNameServer(c config, net *network.Network, log *slog.Logger) *nameServer {
	return &nameServer{network: net, helper: c.nameHelper(log)}
}

func (c config) nameHelper(log *slog.Logger) *resolver.Helper {
	return &resolver.Helper{Dir: filepath.Join(c.StateDir, namesFolder), Args: []string{resolverVerb}, Log: log}
}

// Write implements agent.Names.
func (s *nameServer) Write(z resolver.Zone) error {
	info, err := s.network.Info(context.Background())
	if err != nil {
		return fmt.Errorf("where to answer: %w", err)
	}
	z.Listen, z.Allow = listenOn(info)
	z.Reverse = append(z.Reverse, z.Allow...)
	z.Upstream, z.Servers = s.network.Upstream(), s.network.ServersDir()
	if err := os.MkdirAll(s.helper.Dir, 0o700); err != nil {
		return fmt.Errorf("write names of services: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(z); err != nil {
		return err
	}
	s.zone, s.asked = z, time.Now()
	return nil
}

// listenOn are the bridge's addresses, and the networks behind it.
func listenOn(info runtime.NetworkInfo) (listen, allow []string) {
	for _, subnet := range []string{info.Subnet, info.Subnet6} {
		if p, err := netip.ParsePrefix(subnet); err == nil {
			listen = append(listen, netip.AddrPortFrom(p.Masked().Addr().Next(), 53).String())
			allow = append(allow, p.String())
		}
	}
	return listen, allow
}

func (s *nameServer) write(z resolver.Zone) error {
	return resolver.Write(filepath.Join(s.helper.Dir, resolver.ZoneFile), z)
}

// Run implements agent.Names. Nothing answers before there is anything to say:
// this agent or one before has written it.
func (s *nameServer) Run(ctx context.Context, tell func(error)) {
	if !awaitFile(ctx, filepath.Join(s.helper.Dir, resolver.ZoneFile)) {
		return
	}
	told := ""
	s.helper.Watch(ctx, func(h resolver.Health, err error) {
		if err == nil && len(h.Faults) > 0 {
			err = errors.New(strings.Join(h.Faults, "; "))
		}
		s.mu.Lock()
		s.health, s.failure = h, err
		if err == nil || h.PID != 0 {
			err = errors.Join(err, s.followUpstream())
		}
		s.mu.Unlock()
		if text := describeError(err); text != told {
			told = text
			tell(err)
		}
	})
}

// followUpstream writes the host's name servers down when they change.
func (s *nameServer) followUpstream() error {
	if len(s.zone.Listen) == 0 || time.Since(s.asked) < upstreamEvery {
		return nil
	}
	s.asked = time.Now()
	z := s.zone
	if z.Upstream = s.network.Upstream(); reflect.DeepEqual(z.Upstream, s.zone.Upstream) {
		return nil
	}
	if err := s.write(z); err != nil {
		return err
	}
	s.zone = z
	return nil
}

// describeNames is the name server for status; nil = there is none.
func (n *node) describeNames() *api.NameServer {
	s := n.names
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.failure
	if len(s.health.Faults) > 0 {
		err = nil // they are what it says
	}
	return nameServerState(s.health, s.zone.Upstream, err)
}
