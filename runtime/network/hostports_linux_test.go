package network

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
)

func hostPorts(t *testing.T, n *Network, id string, ports ...runtime.ContainerPort) map[runtime.ContainerPort]int {
	t.Helper()
	got, err := n.HostPorts(context.Background(), id, ports)
	must(t, err)
	if len(got) != len(ports) {
		t.Fatalf("host ports of %s: %v, want %d", id, got, len(ports))
	}
	return got
}

func TestHostPorts(t *testing.T) {
	if !isolated(t) {
		return
	}
	http, dns := runtime.ContainerPort{Port: 8080, Protocol: "tcp"}, runtime.ContainerPort{Port: 53, Protocol: "udp"}
	dnsTCP := runtime.ContainerPort{Port: 53, Protocol: "tcp"}
	cfg := testConfig(t.TempDir())
	cfg.HostPorts = [2]int{20000, 20009}
	n := newNetwork(t, cfg)
	// 20003 and 20004 are taken, on whatever address and protocol, the two behind
	// them reserved.
	l, err := net.Listen("tcp", "127.0.0.1:20003")
	must(t, err)
	defer l.Close()
	c, err := net.ListenPacket("udp", "[::]:20004")
	must(t, err)
	defer c.Close()
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_reserved_ports", []byte("20005,20006"), 0))

	if _, err := n.HostPorts(context.Background(), "web-0", []runtime.ContainerPort{http}); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("host port of nobody: %v, want not found", err)
	}
	attach(t, n, "web-0")
	attach(t, n, "web-1")
	first := hostPorts(t, n, "web-0", http)
	both := hostPorts(t, n, "web-0", http, dns, dnsTCP)
	if both[http] != first[http] {
		t.Errorf("host port changed from %d to %d", first[http], both[http])
	}
	other := hostPorts(t, newNetwork(t, cfg), "web-1", http, dns) // another agent's eyes
	all := slices.Sorted(maps.Values(both))
	all = append(all, slices.Sorted(maps.Values(other))...)
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != 5 {
		t.Errorf("ports %v: some are given twice", all)
	}
	for _, p := range all {
		if p < 20000 || p > 20009 || p >= 20003 && p <= 20006 {
			t.Errorf("port %d is not in the range or not free", p)
		}
	}
	// One is left; two are asked for: none is given.
	n = newNetwork(t, cfg)
	attach(t, n, "web-2")
	if _, err := n.HostPorts(context.Background(), "web-2", []runtime.ContainerPort{http, dns}); err == nil || !strings.Contains(err.Error(), "network.hostPorts") {
		t.Errorf("two of one left: %v, want the remedy", err)
	}
	last := hostPorts(t, n, "web-2", http)
	if slices.Contains(all, last[http]) {
		t.Errorf("port %d is given twice", last[http])
	}
	// What one gives back another gets; the first's are gone with it.
	must(t, n.Detach(context.Background(), "web-0"))
	attach(t, n, "web-0")
	if again := hostPorts(t, n, "web-0", http, dns, dnsTCP); len(again) != 3 {
		t.Errorf("given back, then %v", again)
	}
	// They outlive the agent, and a program that begins to listen there.
	same := hostPorts(t, newNetwork(t, cfg), "web-1", dns, http)
	if !maps.Equal(same, other) {
		t.Errorf("after a restart %v, were %v", same, other)
	}
	for _, bad := range []runtime.ContainerPort{{Port: 0, Protocol: "tcp"}, {Port: 80, Protocol: "sctp"}, {Port: 65536, Protocol: "udp"}} {
		if _, err := n.HostPorts(context.Background(), "web-0", []runtime.ContainerPort{bad}); !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("%v: %v, want invalid", bad, err)
		}
	}
}

// Ports that outgoing connections get are given only to who asks for them.
func TestHostPortsBesideOutgoingConnections(t *testing.T) {
	if !isolated(t) {
		return
	}
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("20001 60999"), 0))
	cfg := testConfig(t.TempDir())
	n := newNetwork(t, cfg)
	attach(t, n, "web-0")
	http := runtime.ContainerPort{Port: 8080, Protocol: "tcp"}
	if got := hostPorts(t, n, "web-0", http); got[http] != 20000 {
		t.Errorf("port %d, want 20000, the only one left", got[http])
	}
	info, err := n.Info(context.Background())
	must(t, err)
	if notes := strings.Join(info.Notes, "\n"); !strings.Contains(notes, "ip_local_port_range") || info.HostPorts != "20000-29999" {
		t.Errorf("info %+v: want a note", info)
	}
	// One that the agent is to listen on, though it does not yet: given before,
	// too.
	cfg.HostPorts, cfg.ReservedPorts = [2]int{20000, 20002}, []int{20000, 20001}
	if got := hostPorts(t, newNetwork(t, cfg), "web-0", http); got[http] != 20002 {
		t.Errorf("port %d, want 20002: the others are the agent's", got[http])
	}
	if got := hostPorts(t, newNetwork(t, cfg), "web-0", http); got[http] != 20002 {
		t.Errorf("port %d, want 20002 again", got[http])
	}
	cfg.HostPorts, cfg.ReservedPorts = [2]int{30000, 30000}, nil
	n = newNetwork(t, cfg)
	if got := hostPorts(t, n, "web-0", http, runtime.ContainerPort{Port: 53, Protocol: "udp"}); got[http] != 20002 {
		t.Errorf("ports %v: what was given stays", got)
	}
}

func TestPortRanges(t *testing.T) {
	for text, want := range map[string][][2]int{
		"":                {},
		"32768\t60999":    {{32768, 60999}},
		"8080,9148-9200":  {{8080, 8080}, {9148, 9200}},
		"70000,x,1-70000": {},
	} {
		if got := portRanges(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
