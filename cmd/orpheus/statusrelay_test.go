package main

import (
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// testMeant is a port that is not opened on purpose.
var testMeant = api.NotOpened{
	Namespace: "default", Name: "web", Kind: "service", Port: 8602, Protocol: "tcp", Meant: true,
	Reason: `port 8602 of this node is the program's own; choose another "port" in the manifest, or connect to where its instances are`,
}

// TestRelayIsShown: a node without a network of its own says who leads
// connections there, since when, and what is not opened; a port that is closed
// on purpose is told at its service, not as something wrong.
func TestRelayIsShown(t *testing.T) {
	relay := &api.Relay{PID: 4711, Version: "3f8a5d21c07be944", Since: ago(26 * time.Hour), Open: 3, Connections: 1}
	led := &api.Endpoints{Node: "node-1", Range: "127.232.0.0/16", Services: []api.ServiceEndpoints{{
		Namespace: "default", Name: "web", NotOpened: []api.NotOpened{testMeant}, Ports: []api.EndpointPort{{Protocol: "tcp", Container: 8602, Port: 8602}},
		Endpoints: []api.Endpoint{{Slot: "0", Node: "node-1", State: api.EndpointReady, Targets: []string{"127.0.0.1:8602"}}},
	}}}
	for name, tc := range map[string]struct {
		draw func(*screen)
		want []string
	}{
		"network": {
			func(s *screen) {
				drawNetwork(s, networkReport{Network: &api.NetworkState{Relay: relay}, Endpoints: led}, testNow)
			},
			[]string{"NETWORK   none of its own", "process 4711, program 3f8a5d21", "for 26h: 3 ports open", "CLOSED    port 8602/tcp of web is not opened: port 8602 of this node is the program's own"},
		},
		"network of an agent that just began": {
			func(s *screen) {
				drawNetwork(s, networkReport{Network: &api.NetworkState{Relay: &api.Relay{}}, EndpointsError: "not known yet"}, testNow)
			},
			[]string{"RELAY     leads connections to services on loopback, once there are any to lead", "BALANCED  not known yet"},
		},
		"network with a fault": {
			func(s *screen) {
				drawNetwork(s, networkReport{Network: &api.NetworkState{Relay: &api.Relay{Faults: []string{"no space left"}}}}, testNow)
			},
			[]string{"RELAY     no space left", "connections to services are not led"},
		},
		"all endpoints": {func(s *screen) { drawAllEndpoints(s, led, testNow) }, []string{"none on this node", "port 8602/tcp of web is not opened"}},
		"endpoints":     {func(s *screen) { drawEndpoints(s, led, led.Services[0], testNow) }, []string{"ADDRESS   none on this node", "CLOSED    port 8602/tcp of web"}},
	} {
		s := &screen{width: 300}
		tc.draw(s)
		for _, want := range tc.want {
			if text := strings.Join(s.lines, "\n"); !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
	}
	st := testStatus()
	st.Services = []api.Service{{Namespace: "default", Name: "web"}}
	before := asAsked(st)
	st.NotOpened = []api.NotOpened{testMeant}
	for _, text := range advice(st, st.Services[0], "") {
		if strings.Contains(text, "8602") {
			t.Errorf("something is to be done about a port that is closed on purpose: %s", text)
		}
	}
	if asAsked(st) != before {
		t.Error("a port that is closed on purpose is something amiss")
	}
}
