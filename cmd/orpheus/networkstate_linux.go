package main

import (
	"context"
	"slices"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime/network/resolver"
)

// networkState looks at the node's network for /v1/network; where it has none,
// at the relay; nil = neither is there. names is what was last told of the name
// server; a nil function, or answer: the node has none.
func (n *node) networkState(names func() *api.NameServer) func(context.Context) (*api.NetworkState, error) {
	if n.network == nil && n.relay == nil {
		return nil
	}
	if n.network == nil {
		return func(ctx context.Context) (*api.NetworkState, error) {
			return &api.NetworkState{Relay: n.relay.state(ctx)}, nil
		}
	}
	return func(ctx context.Context) (*api.NetworkState, error) {
		info, err := n.network.Info(ctx)
		st := &api.NetworkState{
			Bridge: info.Bridge, Subnet: info.Subnet, Subnet6: info.Subnet6, MTU: info.MTU, HostPorts: info.HostPorts,
			Notes: info.Notes, ForeignRules: info.ForeignRules,
		}
		if names != nil {
			st.Names = names()
		}
		if err != nil {
			st.Error = err.Error()
			return st, nil
		}
		attached, err := n.network.Attachments(ctx)
		if err != nil {
			return nil, err
		}
		st.Attached = len(attached)
		return st, nil
	}
}

// nameServerState is what a name server told of itself; err is what keeps it
// from serving as it should.
func nameServerState(h resolver.Health, upstream []string, err error) *api.NameServer {
	st := &api.NameServer{
		PID: h.PID, Version: h.Version, Since: h.Started, Listen: h.Listening, Upstream: upstream, Services: h.Services,
		Local: h.Counts.Local, Forwarded: h.Counts.Forwarded, Failed: h.Counts.Failed, Faults: slices.Clone(h.Faults),
	}
	if err != nil {
		st.Faults = append([]string{err.Error()}, st.Faults...)
	}
	return st
}
