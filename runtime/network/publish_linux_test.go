package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

func TestPublishedPortReachable(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	web, other := attach(t, n, "web-0"), attach(t, n, "other-0")
	serve(t, web.NetNS, "web", ":8080")
	publish(t, n, port("tcp", 80, target(web)))

	for _, c := range []struct{ from, address, client string }{
		// Loopback: the bridge stands in, 127.0.0.1 means another host there.
		{"", "127.0.0.1:80", "10.231.0.1"},
		// Any address of loopback.
		{"", "127.1.2.3:80", "10.231.0.1"},
		// The node's own address, from the node.
		{"", nodeAddress + ":80", nodeAddress},
		// Another host: its address is kept.
		{far, nodeAddress + ":80", outsideAddress},
		// Another instance, by the node's address and by the bridge's.
		{other.NetNS, nodeAddress + ":80", "10.231.0.1"},
		{other.NetNS, "10.231.0.1:80", "10.231.0.1"},
		// The instance itself.
		{web.NetNS, nodeAddress + ":80", "10.231.0.1"},
		// Instances reach each other without publishing.
		{other.NetNS, web.Address + ":8080", other.Address},
	} {
		name, client := ask(t, c.from, c.address)
		if name != "web" || client != c.client {
			t.Errorf("%s from %q: %s saw %s, want web to see %s", c.address, c.from, name, client, c.client)
		}
	}
	// Not published: closed, and untouched by us.
	refused(t, "", "127.0.0.1:81")
	refused(t, far, nodeAddress+":81")
	refused(t, far, nodeAddress+":8080")

	publish(t, n)
	refused(t, "", "127.0.0.1:80")
	refused(t, far, nodeAddress+":80")
}

func TestOutboundIsMasqueraded(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	web := attach(t, n, "web-0")
	serve(t, far, "far", ":9000")
	if name, client := ask(t, web.NetNS, outsideAddress+":9000"); name != "far" || client != nodeAddress {
		t.Errorf("%s saw %s, want far to see the node %s", name, client, nodeAddress)
	}
}

// What is not published cannot be reached by a neighbour who routes to the
// subnet by way of the node, nor is anything of loopback.
func TestNothingElseReachable(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	web := attach(t, n, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	serve(t, web.NetNS, "secret", ":8081")
	serve(t, "/proc/self/ns/net", "loopback only", "127.0.0.1:9100")
	publish(t, n, port("tcp", 80, target(web)))
	route := func(dst, gw string) {
		p := netip.MustParsePrefix(dst)
		must(t, netlink.RouteAdd(&netlink.Route{Dst: ipNet(p), Gw: net.ParseIP(gw)}))
	}
	within(t, far, func() { route("10.231.0.0/20", nodeAddress) })
	unreachable(t, far, web.Address+":8080")
	unreachable(t, far, web.Address+":8081")
	if name, _ := ask(t, far, nodeAddress+":80"); name != "web" {
		t.Errorf("published port answered by %s", name)
	}

	// CVE-2020-8558: a neighbour, or an instance, sends to 127.0.0.1 by way of
	// the node. route_localnet lets such packets in where it is set.
	for _, ns := range []string{far, web.NetNS} {
		gw := nodeAddress
		if ns == web.NetNS {
			gw = web.Gateway
		}
		within(t, ns, func() {
			lo := link(t, "lo")
			must(t, netlink.LinkSetDown(lo))
			must(t, setSysctl("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1"))
			must(t, setSysctl("/proc/sys/net/ipv4/conf/all/route_localnet", "1"))
			route("127.0.0.0/8", gw)
		})
		unreachable(t, ns, "127.0.0.1:9100")
		unreachable(t, ns, "127.0.0.1:80")
	}
}

func TestConnectionsSpreadEvenly(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	var targets []runtime.Target
	for i := range 3 {
		a := attach(t, n, fmt.Sprintf("web-%d", i))
		serve(t, a.NetNS, fmt.Sprint(i), ":8080")
		targets = append(targets, target(a))
	}
	publish(t, n, port("tcp", 80, targets...))
	const connections = 360
	seen := map[string]int{}
	for range connections {
		name, _ := ask(t, far, nodeAddress+":80")
		seen[name]++
	}
	// Chi-square with 2 degrees of freedom: above 27.6 once in a million.
	chi, want := 0.0, float64(connections)/3
	for i := range 3 {
		d := float64(seen[fmt.Sprint(i)]) - want
		chi += d * d / want
	}
	if len(seen) != 3 || chi > 27.6 {
		t.Errorf("%d connections spread as %v: chi-square %.1f", connections, seen, chi)
	}
}

func TestPortWithoutTargetsRefuses(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	web := attach(t, n, "web-0")
	publish(t, n, port("tcp", 80), port("udp", 53))
	// Even where a process of the host listens since: the port is the service's.
	serve(t, "/proc/self/ns/net", "host", ":80")
	publish(t, n, port("tcp", 80), port("udp", 53))
	refused(t, "", "127.0.0.1:80")
	refused(t, far, nodeAddress+":80")
	refused(t, web.NetNS, nodeAddress+":80")

	c, err := dial(t, far, "udp4", nodeAddress+":53")
	must(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte("?"))
	if _, err := c.Read(make([]byte, 8)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("udp port without targets: %v, want connection refused", err)
	}
	publish(t, n)
	if name, _ := ask(t, far, nodeAddress+":80"); name != "host" {
		t.Errorf("port that is published no more: answered by %s, want the host", name)
	}
}

func TestOpenConnectionStaysWhenTargetsChange(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	old, young := attach(t, n, "web-old"), attach(t, n, "web-young")
	serve(t, old.NetNS, "old", ":8080")
	serve(t, young.NetNS, "young", ":8080")
	publish(t, n, port("tcp", 80, target(old)))

	var open []net.Conn
	for _, from := range []string{far, "", young.NetNS} {
		c, err := dial(t, from, "tcp4", nodeAddress+":80")
		must(t, err)
		defer c.Close()
		open = append(open, c)
		expect(t, c, "", "old")
	}
	for _, step := range [][]runtime.Front{
		{port("tcp", 80, target(young))},
		{port("tcp", 80)}, // no target
		{},                // not published
		{port("tcp", 80, target(young), target(old))},
		{port("tcp", 80, target(young))},
	} {
		publish(t, n, step...)
		for _, c := range open {
			expect(t, c, "still there?\n", "still there?")
		}
	}
	for range 5 {
		if name, _ := ask(t, far, nodeAddress+":80"); name != "young" {
			t.Errorf("new connection answered by %s, want young", name)
		}
	}
}

func expect(t testing.TB, c net.Conn, send, want string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err := c.Write([]byte(send))
	must(t, err)
	buf := make([]byte, 256)
	k, err := c.Read(buf)
	must(t, err)
	if !strings.HasPrefix(string(buf[:k]), want) {
		t.Errorf("got %q, want %q", buf[:k], want)
	}
}

func TestUDPFlowMovesWithItsTargets(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	a, b := attach(t, n, "dns-a"), attach(t, n, "dns-b")
	serveUDP(t, a.NetNS, "a", ":8080")
	serveUDP(t, b.NetNS, "b", ":8080")

	c, err := dial(t, far, "udp4", nodeAddress+":53")
	must(t, err)
	defer c.Close()
	lo, err := dial(t, "", "udp4", "127.0.0.1:53")
	must(t, err)
	defer lo.Close()
	for _, step := range []struct {
		ports []runtime.Front
		want  string
	}{
		{nil, "host"}, // the flow is there before the port is published
		{[]runtime.Front{port("udp", 53, target(a))}, "a"},
		{[]runtime.Front{port("udp", 53, target(b))}, "b"},
		{nil, "host"},
		{[]runtime.Front{{Address: nodeAddress, Port: 53, Protocol: "udp", Targets: []runtime.Target{target(a)}}}, "a"},
	} {
		publish(t, n, step.ports...)
		stop, own := func() error { return nil }, step.want
		switch {
		case step.ports == nil: // the port is the host's while it is not published
			stop = serveUDP(t, "/proc/self/ns/net", "host", "0.0.0.0:53")
		case step.ports[0].Address != "":
			own, stop = "host", serveUDP(t, "/proc/self/ns/net", "host", "127.0.0.1:53")
		}
		expect(t, c, "?", step.want)
		expect(t, lo, "?", own)
		must(t, stop())
	}
}

func TestAddressLimitedPort(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	inner, outer := attach(t, n, "inner"), attach(t, n, "outer")
	serve(t, inner.NetNS, "inner", ":8080")
	serve(t, outer.NetNS, "outer", ":8080")
	limited := func(addr string, targets ...runtime.Target) runtime.Front {
		return runtime.Front{Address: addr, Port: 80, Protocol: "tcp", Targets: targets}
	}
	publish(t, n, limited("127.0.0.1", target(inner)))
	if name, _ := ask(t, "", "127.0.0.1:80"); name != "inner" {
		t.Errorf("loopback answered by %s", name)
	}
	refused(t, far, nodeAddress+":80")

	// The more exact one wins, also when it has nobody.
	publish(t, n, limited("127.0.0.1", target(inner)), limited("", target(outer)))
	if name, _ := ask(t, "", "127.0.0.1:80"); name != "inner" {
		t.Errorf("loopback answered by %s, want inner", name)
	}
	if name, _ := ask(t, far, nodeAddress+":80"); name != "outer" {
		t.Errorf("node answered by %s, want outer", name)
	}
	publish(t, n, limited("127.0.0.1"), limited("", target(outer)))
	refused(t, "", "127.0.0.1:80")
	if name, _ := ask(t, far, nodeAddress+":80"); name != "outer" {
		t.Errorf("node answered by %s, want outer", name)
	}
}

// A target may be a process on the node itself, at the bridge's address.
func TestTargetOnTheNode(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	publish(t, n, port("tcp", 80, runtime.Target{Address: n.cfg.gateway().String(), Port: 8080}), port("tcp", 8080))
	serve(t, "/proc/self/ns/net", "host", ":8080")
	for _, from := range []string{far, ""} {
		if name, _ := ask(t, from, nodeAddress+":80"); name != "host" {
			t.Errorf("answered by %s, want host", name)
		}
	}
}

func TestPublishSameSetWritesNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	ports := manyPorts(50, 3)
	publish(t, n, ports...)
	same := func(n *Network, what string) {
		t.Helper()
		before, err := n.rules.generation()
		must(t, err)
		publish(t, n, ports...)
		if after, _ := n.rules.generation(); after != before {
			t.Errorf("%s: %d transactions, want none", what, after-before)
		}
	}
	same(n, "again")
	// Another program changes its own rules.
	run(t, "nft", "add table ip other")
	same(n, "after a foreign change")
	// A new agent that finds the table as it should be.
	same(newNetwork(t, n.cfg), "after a restart")
	// A new process: what it compares must not depend on its memory.
	before := run(t, "nft", "list ruleset")
	cmd, out := startVictim(t, n, "alias")
	for out.Scan() {
	}
	died(t, cmd)
	if after := run(t, "nft", "list ruleset"); after != before {
		t.Errorf("a new process wrote other rules:\n%s\nbefore\n%s", after, before)
	}
}

// A new process must not close ports before it is told what to publish.
func TestAttachAfterRestartKeepsPorts(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	web := attach(t, n, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	publish(t, n, port("tcp", 80, target(web)), port("tcp", 81))

	// The table of another version: its rules are replaced, its ports stay.
	run(t, "nft", "flush chain ip orpheus forward")
	again := newNetwork(t, n.cfg)
	attach(t, again, "other-0")
	if name, _ := ask(t, "", "127.0.0.1:80"); name != "web" {
		t.Errorf("answered by %s, want web", name)
	}
	if out := run(t, "nft", "list chain ip orpheus forward"); !strings.Contains(out, "not published") {
		t.Errorf("chain forward was not restored:\n%s", out)
	}
}

func TestTableRestored(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	web := attach(t, n, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	ports := []runtime.Front{port("tcp", 80, target(web)), port("tcp", 81)}
	publish(t, n, ports...)
	want := run(t, "nft", "list ruleset")
	for _, damage := range []string{
		"flush ruleset",
		"flush table ip orpheus",
		"delete element ip orpheus refused { 0.0.0.0 . tcp . 81 }",
		"delete element ip orpheus targets { 0.0.0.0 . tcp . 80 . 0x0 }",
		"flush map ip orpheus dispatch",
		"insert rule ip orpheus fronts drop",
		"flush chain ip orpheus any-1",
	} {
		run(t, "nft", damage)
		publish(t, n, ports...)
		if got := run(t, "nft", "list ruleset"); got != want {
			t.Errorf("after %q:\n%s\nwant\n%s", damage, got, want)
		}
		if name, _ := ask(t, "", "127.0.0.1:80"); name != "web" {
			t.Errorf("after %q: answered by %s", damage, name)
		}
	}
	run(t, "nft", "flush ruleset")
	attach(t, n, "other-0") // restores it as well
	if got := run(t, "nft", "list ruleset"); got != want {
		t.Errorf("after attach:\n%s\nwant\n%s", got, want)
	}
}

// Between the moment a packet's target is picked and the moment it is looked up
// the targets may become fewer: no connection is refused for that. No test meets
// that moment, so targets are taken away behind the back of the rules.
func TestTargetGoesWhileItIsPicked(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	one, other := attach(t, n, "web-0"), attach(t, n, "web-1")
	for _, a := range []runtime.Attachment{one, other} {
		serve(t, a.NetNS, "web", ":8080")
	}
	byClient := port("tcp", 81, target(one), target(other))
	byClient.Affinity = true
	publish(t, n, port("tcp", 80, target(one), target(other)), byClient)
	gone := []string{"0.0.0.0 . tcp . 80 . 0x1"}
	for bucket := 1; bucket < buckets; bucket++ {
		gone = append(gone, fmt.Sprintf("0.0.0.0 . tcp . 81 . %#x", bucket))
	}
	run(t, "nft", "delete element ip orpheus targets { "+strings.Join(gone, ", ")+" }")
	for range 30 { // one in a billion never picks what is gone
		ask(t, "", "127.0.0.1:80")
	}
	for last := range 8 { // clients of several buckets
		d := net.Dialer{Timeout: time.Minute, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(last+1))}}
		c, err := d.Dial("tcp4", "127.0.0.1:81")
		must(t, err)
		c.Close()
	}
	run(t, "nft", "flush map ip orpheus targets")
	for _, address := range []string{"127.0.0.1:80", "127.0.0.1:81"} {
		if c, err := dialWithin(t, 300*time.Millisecond, "", "tcp4", address); err == nil {
			c.Close()
			t.Errorf("%s: connected without a target", address)
		} else if errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: refused, want another try", address)
		}
	}
}

// Foreign tables stay as they are through all we do.
func TestForeignTablesUntouched(t *testing.T) {
	if !isolated(t) {
		return
	}
	run(t, "nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; add rule ip filter FORWARD counter")
	before := run(t, "nft", "list ruleset")
	n := testNetwork(t)
	info, err := n.Info(context.Background())
	must(t, err)
	if notes := strings.Join(info.Notes, "\n"); !strings.Contains(notes, "chain FORWARD") {
		t.Errorf("notes name no dropping firewall:\n%s", notes)
	}
	web := attach(t, n, "web-0")
	publish(t, n, port("tcp", 80, target(web)))
	must(t, n.Detach(context.Background(), "web-0"))
	must(t, n.Teardown(context.Background()))
	if after := run(t, "nft", "list ruleset"); after != before {
		t.Errorf("rules after teardown:\n%s\nbefore\n%s", after, before)
	}
	if _, err := netlink.LinkByName(DefaultBridge); !isNotFound(err) {
		t.Errorf("bridge after teardown: %v", err)
	}
}

func manyPorts(ports, targets int) []runtime.Front {
	var all []runtime.Front
	for p := range ports {
		var to []runtime.Target
		for i := range 1 + p%targets {
			to = append(to, runtime.Target{Address: fmt.Sprintf("10.231.%d.%d", i, 2+p%250), Port: 8080})
		}
		all = append(all, port([]string{"tcp", "udp"}[p%2], 1000+p, to...))
	}
	return all
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s to look at the kernel's rules", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPortOfTheHostIsNotTaken(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	web := attach(t, n, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	serve(t, "/proc/self/ns/net", "sshd", ":22")
	target := runtime.Target{Address: web.Address, Port: 8080}
	ports := []runtime.Front{port("tcp", 22, target), port("tcp", 80, target)}
	for range 2 { // also when the rest stands already
		err := n.Balance(t.Context(), runtime.Balancing{Fronts: ports})
		if !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), "port 22/tcp") || strings.Contains(err.Error(), "port 80/tcp") {
			t.Fatalf("publish: %v, want port 22 reported and nothing else", err)
		}
		for address, want := range map[string]string{":22": "sshd", ":80": "web"} {
			if name, err := ask(t, far, nodeAddress+address); name != want {
				t.Errorf("%s is answered by %q (%v), want %q", address, name, err, want)
			}
		}
	}
}
