package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime/network/relay"
	"github.com/orpheus-cd/orpheus/runtime/network/resolver"
)

// relayed leads connections in user space, on a node without a network for
// containers. It keeps the process alive that does so: as an agent.Names, though
// no name is answered where there is no bridge.
type relayed struct {
	relay.Client
	helper *resolver.Helper

	mu      sync.Mutex
	health  resolver.Health // of the process; the zero value = none answers
	failure error
}

func newRelayed(c config, log *slog.Logger) *relayed {
	helper := c.nameHelper(log)
	return &relayed{Client: relay.Client{Dir: helper.Dir}, helper: helper}
}

// Write implements agent.Names: there is nobody to tell names to.
func (*relayed) Write(resolver.Zone) error { return nil }

// Run implements agent.Names. Nothing runs before there is anything to lead. A
// zone without names tells the process that none is missing, and to listen no
// more where an agent with a network of its own was here before.
func (r *relayed) Run(ctx context.Context, tell func(error)) {
	if !awaitFile(ctx, filepath.Join(r.Dir, relay.File)) {
		return
	}
	noNames := resolver.Write(filepath.Join(r.Dir, resolver.ZoneFile), resolver.Zone{})
	told := ""
	r.helper.Watch(ctx, func(h resolver.Health, err error) {
		if err == nil && len(h.Faults) > 0 {
			err = errors.New(strings.Join(h.Faults, "; "))
		}
		err = errors.Join(noNames, err)
		r.mu.Lock()
		r.health, r.failure = h, err
		r.mu.Unlock()
		if text := describeError(err); text != told {
			told = text
			tell(err)
		}
	})
}

// state is how the relay is, for /v1/network.
func (r *relayed) state(ctx context.Context) *api.Relay {
	r.mu.Lock()
	st := &api.Relay{PID: r.health.PID, Version: r.health.Version}
	if r.failure != nil {
		st.Faults = append(st.Faults, r.failure.Error())
	}
	r.mu.Unlock()
	if st.PID == 0 {
		return st
	}
	now, err := r.State(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is about to begin
		st.Faults = append(st.Faults, err.Error())
	}
	st.Since, st.Open, st.Connections = now.Since, now.Open, now.Connections
	return st
}

// awaitFile waits until a file is there, and reports whether ctx still stands.
func awaitFile(ctx context.Context, path string) bool {
	for {
		if _, err := os.Stat(path); err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func describeError(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// endpoints is how connections are led, with addresses as they are served here.
func (n *node) endpoints(led func() *api.Endpoints) func() *api.Endpoints {
	if n.network != nil {
		return led
	}
	var mu sync.Mutex
	var from, to *api.Endpoints
	return func() *api.Endpoints {
		mu.Lock()
		defer mu.Unlock()
		if now := led(); now != from {
			from, to = now, onLoopback(now)
		}
		return to
	}
}

// onLoopback are endpoints as the relay serves them; nil of nil.
func onLoopback(e *api.Endpoints) *api.Endpoints {
	if e == nil {
		return nil
	}
	out := *e
	out.Range, out.Range6 = rangeOnLoopback(e.Range), ""
	out.Services = slices.Clone(e.Services)
	for k := range out.Services {
		s := &out.Services[k]
		s.Address, s.Address6 = relay.Address(s.Address), ""
		s.Ports, s.Endpoints, s.NotOpened = slices.Clone(s.Ports), slices.Clone(s.Endpoints), slices.Clone(s.NotOpened)
		for i, p := range s.Ports {
			meant := slices.ContainsFunc(s.NotOpened, func(n api.NotOpened) bool {
				return n.Meant && n.Kind == "service" && n.Port == p.Port && n.Protocol == p.Protocol
			})
			if p.Port != 0 && !meant { // one that is not opened on purpose is told as the manifest has it
				s.Ports[i].Port = relay.Port(p.Port)
			}
		}
		for i := range s.NotOpened {
			s.NotOpened[i].Address = loopbackOf(s.NotOpened[i])
		}
		for i := range s.Endpoints {
			s.Endpoints[i].SlotAddress = relay.Address(s.Endpoints[i].SlotAddress)
		}
	}
	return &out
}

// loopbackOf is where the relay would have opened a port.
func loopbackOf(n api.NotOpened) string {
	if n.Kind == "service" {
		return relay.Address(n.Address)
	}
	return n.Address
}

func rangeOnLoopback(cidr string) string {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return ""
	}
	if first, err := netip.ParseAddr(relay.Address(p.Addr().String())); err == nil {
		return netip.PrefixFrom(first, p.Bits()).String()
	}
	return ""
}
