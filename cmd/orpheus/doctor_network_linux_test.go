package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// TestNetworkFindings: what is wrong is told with what to do about it, and what
// is right is not complained of.
func TestNetworkFindings(t *testing.T) {
	p := netip.MustParsePrefix
	ours := []addressRange{
		{"instances", "network in the agent's configuration", p("10.231.0.0/20")},
		{"services", "spec.network in fleet.yaml", p("10.232.0.0/16")},
		{"services", "spec.network in fleet.yaml", p("fd6f:7270:6865:7573::/112")},
	}
	refused := fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	timeout := errors.New("i/o timeout")
	type result struct {
		level        level
		text, remedy string
	}
	found := func(l level, text, remedy string) result { return result{l, text, remedy} }
	for _, c := range []struct {
		name         string
		got          result
		want         level
		text, remedy string
	}{
		{"nobody else has our ranges", found(judgeRanges(ours, []route{{p("192.0.2.0/24"), "eth0"}, {p("172.17.0.0/16"), "docker0"}})), levelOK, "instances 10.231.0.0/20", ""},
		{"a VPN has all of 10", found(judgeRanges(ours, []route{{p("10.0.0.0/8"), "wg0"}})), levelFail, "10.0.0.0/8 by wg0", "network in the agent's configuration"},
		{"a cloud has a part of the services'", found(judgeRanges(ours, []route{{p("10.232.7.0/24"), "eth1"}})), levelFail, "addresses of services", "spec.network in fleet.yaml"},
		{"instances among services", found(judgeRanges([]addressRange{ours[1], {"instances", "network", p("10.232.16.0/20")}}, nil)), levelFail, "overlap those of services", "network"},

		{"the bridge is as large as the way out", found(judgeMTU("orpheus0", 1500, "eth0", 1500)), levelOK, "1500", ""},
		{"it is smaller", found(judgeMTU("orpheus0", 1280, "eth0", 1500)), levelOK, "1280", ""},
		{"a tunnel to the other nodes is smaller", found(judgeMTU("orpheus0", 1500, "wg0", 1420)), levelWarn, "wg0 1420", "network.mtu to 1420"},

		{"few connections", found(judgeConntrack(100, 65536)), levelOK, "100 of at most 65536", ""},
		{"many", found(judgeConntrack(50_000, 65536)), levelWarn, "50000", "nf_conntrack_max to 262144"},
		{"all", found(judgeConntrack(65_000, 65536)), levelFail, "new ones are lost", "nf_conntrack_max"},
		{"no bound", found(judgeConntrack(5, 0)), levelOK, "", ""},

		{"one way out, strict", found(judgeReversePath(map[string]int{"eth0": 1})), levelOK, "", ""},
		{"two, loose", found(judgeReversePath(map[string]int{"eth0": 2, "eth1": 0})), levelOK, "", ""},
		{"two, strict", found(judgeReversePath(map[string]int{"eth1": 1, "eth0": 1})), levelWarn, "2 ways out, and what comes in by eth0, eth1", "net.ipv4.conf.eth0.rp_filter to 2"},

		{"no other firewall", found(judgeFirewall(nil, nil)), levelOK, "no other firewall", ""},
		{"Docker, with our rule", found(judgeFirewall(nil, []string{"iptables, chain DOCKER-USER: a"})), levelOK, "by rules of ours: iptables, chain DOCKER-USER", ""},
		{"one that has no place for others", found(judgeFirewall([]string{"nftables, chain ip own forward drops: nft insert rule ip own forward"}, []string{"b"})), levelFail, "nft insert rule", "survives a reboot"},

		{"no other node", found(judgePeers(nil, "20000-29999")), levelOK, "no other live node", ""},
		{"all answer", found(judgePeers([]peerPort{{node: "b", address: "192.0.2.2:7718"}, {node: "b", address: "192.0.2.2:20001", host: true}}, "20000-29999")), levelOK, "1 other node answered, on 2 ports", ""},
		{"an instance has just ended", found(judgePeers([]peerPort{{node: "b", address: "192.0.2.2:7718"}, {node: "b", address: "192.0.2.2:20001", host: true, err: refused}}, "20000-29999")), levelOK, "answered", ""},
		{"host ports are closed", found(judgePeers([]peerPort{{node: "b", address: "192.0.2.2:7718"}, {node: "b", address: "192.0.2.2:20001", host: true, err: timeout}}, "21000-21999")), levelWarn, "b does not answer on host port 192.0.2.2:20001", "21000-21999 (TCP and UDP)"},
		{"a peer port is closed", found(judgePeers([]peerPort{{node: "b", address: "192.0.2.2:7718", err: refused}}, "20000-29999")), levelWarn, "b does not answer on its peer port", "TCP, 7718"},
	} {
		if c.got.level != c.want || !strings.Contains(c.got.text, c.text) || !strings.Contains(c.got.remedy, c.remedy) {
			t.Errorf("%s: %+v; want %s with %q and %q", c.name, c.got, c.want, c.text, c.remedy)
		}
		if c.got.text == "" || c.got.level != levelOK && c.got.remedy == "" {
			t.Errorf("%s: %+v says too little", c.name, c.got)
		}
	}
}

// TestPeerPorts: each live node is asked on its peer port and on one host port,
// others are left alone.
func TestPeerPorts(t *testing.T) {
	st := testStatus()
	st.Fleet = &api.Fleet{Nodes: []api.FleetNode{
		{Name: "node-1", State: "live", Address: "192.0.2.1:7718"}, // this one
		{Name: "node-2", State: "live", Address: "192.0.2.2:7718"},
		{Name: "node-3", State: "fenced", Address: "192.0.2.3:7718"},
		{Name: "node-4", State: "live"}, // nobody reaches it
		{Name: "node-5", State: "live", Address: "192.0.2.5:7718"},
	}}
	x := &netExam{status: st, led: testEndpoints()}
	var got []string
	for _, p := range x.peerPorts() {
		got = append(got, fmt.Sprintf("%s=%s", p.node, p.address))
	}
	if want := "node-2=192.0.2.2:7718 node-5=192.0.2.5:7718 node-2=192.0.2.2:20001"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestAskNames: only an answer to the question that was asked counts.
func TestAskNames(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*dnsmessage.Message) []byte
		want   string // "" = it is well
	}{
		"no such name":     {func(m *dnsmessage.Message) []byte { m.RCode = dnsmessage.RCodeNameError; return pack(m) }, ""},
		"such a name":      {pack, ""},
		"refuses":          {func(m *dnsmessage.Message) []byte { m.RCode = dnsmessage.RCodeRefused; return pack(m) }, "RCodeRefused"},
		"another question": {func(m *dnsmessage.Message) []byte { m.ID++; return pack(m) }, "it answers"},
		"no DNS":           {func(*dnsmessage.Message) []byte { return []byte("hello") }, "something else than DNS"},
		"silent":           {func(*dnsmessage.Message) []byte { return nil }, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() {
				buffer := make([]byte, 1500)
				n, from, err := conn.ReadFrom(buffer)
				var m dnsmessage.Message
				if err != nil || m.Unpack(buffer[:n]) != nil {
					return
				}
				m.Response = true
				if text := c.answer(&m); text != nil {
					_, _ = conn.WriteTo(text, from)
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = askNames(ctx, conn.LocalAddr().String())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func pack(m *dnsmessage.Message) []byte {
	text, err := m.Pack()
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

func TestBridgePort(t *testing.T) {
	for _, c := range []struct {
		port int
		want string
	}{
		{0, ""},
		{7717, ""}, // that of api.address, which is another address
		{65536, "no port"},
		{-1, "no port"},
		{53, "name server"},
		{7718, "the port of peer.listen"},
		{7719, "the port of webhook.listen"},
	} {
		conf := config{API: apiConfig{BridgePort: c.port}, Peer: peerConfig{Listen: ":7718"}, Webhook: webhookConfig{Listen: "10.0.0.5:7719"}}
		var faults []string
		conf.bridgeFaults(func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) })
		text := strings.Join(faults, "\n")
		if (text == "") != (c.want == "") || !strings.Contains(text, c.want) {
			t.Errorf("%d: %q, want %q", c.port, text, c.want)
		}
		if c.port > 0 && !strings.Contains(fmt.Sprint(conf.policy().ReservedPorts), fmt.Sprint(c.port)) {
			t.Errorf("port %d may be published", c.port)
		}
	}
}
