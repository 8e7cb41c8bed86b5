package main

import (
	"reflect"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
)

// TestEndpointsOnLoopback: where the relay balances, addresses are told as it
// serves them, and what the agent says is not changed.
func TestEndpointsOnLoopback(t *testing.T) {
	said := &api.Endpoints{Range: "10.232.0.0/16", Range6: "fd00::/112", Services: []api.ServiceEndpoints{{
		Name: "web", Address: "10.232.0.17", Address6: "fd00::11", Ports: []api.EndpointPort{{Container: 8080, Port: 9000}, {Container: 80, Port: 80, Protocol: "tcp"}},
		NotOpened: []api.NotOpened{{Kind: "service", Port: 80, Protocol: "tcp", Meant: true}, {Kind: "service", Address: "10.232.0.17", Port: 9000}, {Kind: "published", Address: "192.0.2.1"}},
		Endpoints: []api.Endpoint{{Slot: "0", SlotAddress: "10.232.0.18", Targets: []string{"127.0.0.1:8080"}}},
	}}}
	n := new(node)
	told := n.endpoints(func() *api.Endpoints { return said })
	want := &api.Endpoints{Range: "127.232.0.0/16", Services: []api.ServiceEndpoints{{
		Name: "web", Address: "127.232.0.17", Ports: []api.EndpointPort{{Container: 8080, Port: 9000}, {Container: 80, Port: 80, Protocol: "tcp"}},
		NotOpened: []api.NotOpened{{Kind: "service", Port: 80, Protocol: "tcp", Meant: true}, {Kind: "service", Address: "127.232.0.17", Port: 9000}, {Kind: "published", Address: "192.0.2.1"}},
		Endpoints: []api.Endpoint{{Slot: "0", SlotAddress: "127.232.0.18", Targets: []string{"127.0.0.1:8080"}}},
	}}}
	if got := told(); !reflect.DeepEqual(got, want) || told() != got || said.Services[0].Address != "10.232.0.17" || said.Services[0].NotOpened[1].Address != "10.232.0.17" {
		t.Errorf("told %+v, want %+v", got, want)
	}
	if n.endpoints(func() *api.Endpoints { return nil })() != nil {
		t.Error("what is not known yet is told")
	}
}

// TestNamesListenOnTheBridge: the first address of each of the node's subnets.
func TestNamesListenOnTheBridge(t *testing.T) {
	listen, allow := listenOn(runtime.NetworkInfo{Subnet: "10.231.0.0/20", Subnet6: "fd00:1::/64"})
	if !reflect.DeepEqual(listen, []string{"10.231.0.1:53", "[fd00:1::1]:53"}) || !reflect.DeepEqual(allow, []string{"10.231.0.0/20", "fd00:1::/64"}) {
		t.Errorf("listens on %q for %q", listen, allow)
	}
	if listen, _ := listenOn(runtime.NetworkInfo{Subnet: "10.231.0.0/20"}); len(listen) != 1 {
		t.Errorf("without IPv6 it listens on %q", listen)
	}
}
