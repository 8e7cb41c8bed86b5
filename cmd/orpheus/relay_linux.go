package main

import (
	"context"
	"errors"
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
}

func newRelayed(c config, log *slog.Logger) relayed {
	helper := c.nameHelper(log)
	return relayed{relay.Client{Dir: helper.Dir}, helper}
}

// Write implements agent.Names.
func (relayed) Write(resolver.Zone) error { return nil }

// Run implements agent.Names. Nothing runs before there is anything to lead.
func (r relayed) Run(ctx context.Context, tell func(error)) {
	if !awaitFile(ctx, filepath.Join(r.Dir, relay.File)) {
		return
	}
	told := ""
	r.helper.Watch(ctx, func(h resolver.Health, err error) {
		if err == nil && len(h.Faults) > 0 {
			err = errors.New(strings.Join(h.Faults, "; "))
		}
		if text := describeError(err); text != told {
			told = text
			tell(err)
		}
	})
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
		s.Ports, s.Endpoints = slices.Clone(s.Ports), slices.Clone(s.Endpoints)
		for i := range s.Ports {
			if s.Ports[i].Port != 0 {
				s.Ports[i].Port = relay.Port(s.Ports[i].Port)
			}
		}
		for i := range s.Endpoints {
			s.Endpoints[i].SlotAddress = relay.Address(s.Endpoints[i].SlotAddress)
		}
	}
	return &out
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
