package main

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/network/resolver"
)

// toldNetwork is a network of which only what it tells is asked.
type toldNetwork struct {
	runtime.Network
	info     runtime.NetworkInfo
	err      error
	attached map[string]runtime.Attachment
}

func (n *toldNetwork) Info(context.Context) (runtime.NetworkInfo, error) { return n.info, n.err }

func (n *toldNetwork) Attachments(context.Context) (map[string]runtime.Attachment, error) {
	return n.attached, nil
}

func TestNetworkState(t *testing.T) {
	if new(node).networkState(nil) != nil {
		t.Error("a node without a network tells of one")
	}
	told := &toldNetwork{
		info:     runtime.NetworkInfo{Bridge: "orpheus0", Subnet: "10.231.0.0/20", Subnet6: "fd00::/64", MTU: 1450, HostPorts: "20000-29999", Notes: []string{"a"}, ForeignRules: []string{"b"}},
		attached: map[string]runtime.Attachment{"web-0": {}, "web-1": {}},
	}
	names := &api.NameServer{PID: 7}
	n := &node{network: told}
	got, err := n.networkState(func() *api.NameServer { return names })(t.Context())
	want := &api.NetworkState{
		Bridge: "orpheus0", Subnet: "10.231.0.0/20", Subnet6: "fd00::/64", MTU: 1450, HostPorts: "20000-29999", Notes: []string{"a"}, ForeignRules: []string{"b"},
		Attached: 2, Names: names,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	// A network that cannot work is told, not an error of the question.
	told.err = errors.New("nftables is missing")
	if got, err := n.networkState(nil)(t.Context()); err != nil || got.Error != "nftables is missing" || got.Bridge != "orpheus0" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNameServerState(t *testing.T) {
	h := resolver.Health{PID: 7, Version: "abc", Listening: []string{"10.231.0.1:53"}, Services: 3, Faults: []string{"zone"}, Counts: resolver.Counts{Local: 1, Forwarded: 2, Failed: 3}}
	got := nameServerState(h, []string{"192.0.2.53:53"}, errors.New("start it: no"))
	want := &api.NameServer{
		PID: 7, Version: "abc", Listen: h.Listening, Upstream: []string{"192.0.2.53:53"}, Services: 3, Local: 1, Forwarded: 2, Failed: 3,
		Faults: []string{"start it: no", "zone"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}
