package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
)

// testEndpoints has a service of each kind: balanced over three nodes,
// headless, published only, one of a family, and one without instances.
func testEndpoints() *api.Endpoints {
	return &api.Endpoints{
		Node: "node-1", Range: "10.232.0.0/16", Range6: "fd6f:7270:6865:7573::/112",
		Balanced: api.Balanced{Addresses: 14, Published: 3, HostPorts: 4, Targets: 31},
		Services: []api.ServiceEndpoints{
			{
				Namespace: "default", Name: "web", Address: "10.232.0.17", Address6: "fd6f:7270:6865:7573::11",
				Ports: []api.EndpointPort{
					{Name: "http", Protocol: "tcp", Container: 8080, Port: 80, Published: 8080, Mode: "fleet"},
					{Name: "https", Protocol: "tcp", Container: 8443, Published: 443, Mode: "node", Bind: "2001:db8::1"},
				},
				Endpoints: []api.Endpoint{
					{Slot: "0", Node: "node-1", State: api.EndpointReady, Revision: testRevision("2"), Targets: []string{"10.231.0.5:8080", "10.231.0.5:8443"}, SlotAddress: "10.232.0.18"},
					{Slot: "1", Node: "node-2", State: api.EndpointEjected, Reason: "connections to 192.0.2.2:20001 are not answered", Since: ago(40 * time.Second), Revision: testRevision("2"), Targets: []string{"192.0.2.2:20001", "192.0.2.2:20002"}, SlotAddress: "10.232.0.19"},
					{Slot: "2", Node: "node-3", State: api.EndpointDraining, Reason: "commit 4f2a4f2a changed its revision", Revision: testRevision("1"), Targets: []string{"192.0.2.3:20007", ""}, SlotAddress: "10.232.0.20"},
				},
			},
			{
				Namespace: "infra", Name: "dns", Headless: true,
				Ports:     []api.EndpointPort{{Name: "dns", Protocol: "udp", Container: 53, Port: 53}, {Protocol: "tcp", Container: 9153}},
				Endpoints: []api.Endpoint{{Slot: "node-1", Node: "node-1", State: api.EndpointReady, Revision: testRevision("3"), Targets: []string{"10.231.0.7:53", "10.231.0.7:9153"}, SlotAddress: "10.232.0.33"}},
			},
			{Namespace: "shop", Name: "idle", Address: "10.232.4.1", Ports: []api.EndpointPort{{Protocol: "tcp", Container: 80, Port: 80}}},
			{Namespace: "shop", Name: "new", Ports: []api.EndpointPort{{Protocol: "tcp", Container: 80, Port: 80}}},
			{Namespace: "shop", Name: "open", Ports: []api.EndpointPort{{Protocol: "tcp", Container: 80, Published: 8081, Mode: "fleet"}}},
		},
	}
}

// testNotOpened is a port of service web that cannot be opened.
var testNotOpened = api.NotOpened{
	Namespace: "default", Name: "web", Kind: "published", Port: 8080, Protocol: "tcp",
	Reason: "a program of this machine listens there; end it, or publish another port",
}

// endpointScreens are the states that people meet.
func endpointScreens() map[string]func(*screen) {
	all := testEndpoints()
	stale := testEndpoints()
	stale.Balanced.Error, stale.Balanced.ErrorSince = "write the rules: the kernel has no memory left", ago(3*time.Minute)
	closed := testEndpoints()
	closed.Services[0].NotOpened = []api.NotOpened{testNotOpened}
	hostile := testEndpoints()
	hostile.Services[0].Name, hostile.Services[0].Endpoints[1].Reason = "web\x1b[2J", "evil\x1b[2J \u202e"
	hostile.Services[0].Ports[0].Name, hostile.Services[0].Endpoints[0].Targets = "h\x1b[2J", []string{"\x1b[2J:1", "x"}
	silent := networkReport{
		Network: &api.NetworkState{
			Bridge: "orpheus0", Subnet: "10.231.0.0/20", MTU: 1500,
			Names: &api.NameServer{Faults: []string{"start the name server: no space left on device"}},
		},
		Endpoints: &api.Endpoints{Node: "node-1", Balanced: api.Balanced{Error: "another program listens on port 80", ErrorSince: ago(90 * time.Minute)}},
	}
	down := networkReport{Network: &api.NetworkState{Error: "nftables is missing in this kernel"}, EndpointsError: "the agent does not know its endpoints yet"}
	return map[string]func(*screen){
		"all":          func(s *screen) { drawAllEndpoints(s, all, testNow) },
		"stale":        func(s *screen) { drawAllEndpoints(s, stale, testNow) },
		"closed":       func(s *screen) { drawAllEndpoints(s, closed, testNow) },
		"closed web":   func(s *screen) { drawEndpoints(s, closed, closed.Services[0], testNow) },
		"hostile":      func(s *screen) { drawAllEndpoints(s, hostile, testNow) },
		"none":         func(s *screen) { drawAllEndpoints(s, &api.Endpoints{Node: "node-1"}, testNow) },
		"web":          func(s *screen) { drawEndpoints(s, all, all.Services[0], testNow) },
		"dns":          func(s *screen) { drawEndpoints(s, all, all.Services[1], testNow) },
		"network":      func(s *screen) { drawNetwork(s, testNetworkReport(), testNow) },
		"names silent": func(s *screen) { drawNetwork(s, silent, testNow) },
		"no network":   func(s *screen) { drawNetwork(s, down, testNow) },
	}
}

func testNetworkReport() networkReport {
	return networkReport{
		Network: &api.NetworkState{
			Bridge: "orpheus0", Subnet: "10.231.0.0/20", Subnet6: "fd6f:7214:ae7::/64", MTU: 1450, HostPorts: "20000-29999", Attached: 7,
			Notes:        []string{"net.ipv4.ip_forward was off and was switched on for instances; it stays on"},
			ForeignRules: []string{"ip filter DOCKER-USER: meta mark & 0x1000 == 0x1000 accept"},
			Names: &api.NameServer{
				PID: 4711, Version: "3f8a5d21c07be9446d1102b9", Since: ago(26 * time.Hour), Listen: []string{"10.231.0.1:53", "[fd6f:7214:ae7::1]:53"},
				Upstream: []string{"192.0.2.53:53"}, Services: 3, Local: 90210, Forwarded: 1234, Failed: 2,
			},
		},
		Endpoints: testEndpoints(),
	}
}

func TestEndpointScreens(t *testing.T) {
	for name, draw := range endpointScreens() {
		for _, width := range []int{80, 200} {
			s := &screen{width: width}
			draw(s)
			text := strings.Join(s.lines, "\n") + "\n"
			golden(t, fmt.Sprintf("endpoints/%s.%d", name, width), text)
			for _, line := range s.lines {
				if terminal.Columns(line) > width {
					t.Errorf("%s at %d columns: line of %d: %s", name, width, terminal.Columns(line), line)
				}
			}
			for _, r := range text {
				if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') {
					t.Errorf("%s: %q reaches the terminal", name, r)
				}
			}
		}
	}
}

// serveNetwork is an agent that tells of its network.
func serveNetwork(t *testing.T, endpoints func() *api.Endpoints, network func(context.Context) (*api.NetworkState, error)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "orph")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := api.Options{Socket: filepath.Join(dir, "run", "s"), Endpoints: endpoints, Network: network, Status: func() *api.Status { return testStatus() }}
	server, err := api.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return o.Socket
}

func TestEndpointsVerb(t *testing.T) {
	socket := serveNetwork(t, testEndpoints, func(context.Context) (*api.NetworkState, error) { return testNetworkReport().Network, nil })
	none := serveNetwork(t, nil, nil)
	young := serveNetwork(t, func() *api.Endpoints { return nil }, func(context.Context) (*api.NetworkState, error) { return &api.NetworkState{Bridge: "orpheus0"}, nil })
	broken := serveNetwork(t, nil, func(context.Context) (*api.NetworkState, error) { return nil, errors.New("netlink is away") })
	for _, c := range []struct {
		args   string
		socket string
		code   int
		want   string
	}{
		{"endpoints", socket, 0, "web-0"},
		{"endpoints web", socket, 0, "10.232.0.17"},
		{"endpoints default/web", socket, 0, "10.232.0.17"},
		{"endpoints infra/dns", socket, 0, "headless"},
		// Another namespace's is not meant.
		{"endpoints dns", socket, exitFailed, "these have one: web, infra/dns, shop/idle, shop/new, shop/open"},
		{"endpoints web dns", socket, exitUsage, "orpheus endpoints [SERVICE]"},
		{"endpoints -o yaml", socket, exitUsage, "text or json"},
		{"endpoints", none, exitFailed, "its node has no network of its own"},
		{"endpoints", young, exitFailed, "ask again"},
		{"endpoints", filepath.Join(t.TempDir(), "s"), exitFailed, "there is no socket"},
		{"status --network", socket, 0, "10.231.0.1:53"},
		{"status --network", none, exitFailed, "has no network of its own"},
		{"status --network", young, 0, "ask again"},
		{"status --network", broken, exitFailed, "netlink is away"},
		{"status web --network", socket, exitUsage, "orpheus endpoints SERVICE"},
		{"status --watch --network", socket, exitUsage, "[watch exit-code network]"},
	} {
		code, stdout, stderr := orpheus(t, ".", append(strings.Fields(c.args), "--socket", c.socket)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%s: exit code %d, want %d with %q\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
	}
	_, stdout, _ := orpheus(t, ".", "endpoints", "infra/dns", "-o", "json", "--socket", socket)
	var one api.Endpoints
	if err := json.Unmarshal([]byte(stdout), &one); err != nil || len(one.Services) != 1 || one.Services[0].Name != "dns" || one.Node != "node-1" {
		t.Errorf("%v\n%s", err, stdout)
	}
	_, stdout, _ = orpheus(t, ".", "status", "--network", "-o", "json", "--socket", socket)
	var report networkReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Network.MTU != 1450 || len(report.Endpoints.Services) != 5 {
		t.Errorf("%v\n%s", err, stdout)
	}
	_, stdout, _ = orpheus(t, ".", "__complete", "--socket", socket, "endpoints", "")
	if !strings.Contains(stdout, "web\ninfra/dns\nshop/idle\nshop/new\nshop/open\n") {
		t.Errorf("completion: %s", stdout)
	}
}
