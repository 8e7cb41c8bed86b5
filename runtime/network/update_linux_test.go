package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Of a draining instance connections stay, wherever they come from, and no new
// ones come: here, and by the host port of the node it is on.
func TestDrainingKeepsStreams(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, there, far := l.node(""), l.node(newHost(t, "there")), l.join(newHost(t, "far"))
	client, young := here.attach(t, "client"), here.attach(t, "web-young")
	local, remote := here.attach(t, "web-local"), there.attach(t, "web-remote")
	echo(t, young.NetNS, "young", 8080)
	echo(t, local.NetNS, "local", 8080)
	echo(t, remote.NetNS, "remote", 8080)
	versions(t, func(t *testing.T, v int) {
		lead := func(targets ...runtime.Target) {
			here.balance(t, inServices(service(80, targets...), frontsOf(runtime.FrontPublished, 81, targets...)))
		}
		hostPort := func(target runtime.Target) {
			there.balance(t, runtime.Balancing{Fleet: here.addr[:], Fronts: frontsOf(runtime.FrontHost, 20001, target)})
		}
		hostPort(to(address(remote, v), 8080))
		var open []net.Conn
		for _, old := range []struct {
			name   string
			target runtime.Target
		}{{"local", to(address(local, v), 8080)}, {"remote", to(there.addr[v], 20001)}} {
			lead(old.target)
			for _, from := range []struct{ ns, address string }{
				{client.NetNS, at(web[v], 80)}, {"", at(web[v], 80)}, {far.ns, at(here.addr[v], 81)}, {"", at(here.addr[v], 81)},
			} {
				c, err := dialWithin(t, patience, from.ns, "tcp", from.address)
				must(t, err)
				defer c.Close()
				name, _, err := askOver(c, "tcp")
				must(t, err)
				if name != old.name {
					t.Errorf("answered by %s, want %s", name, old.name)
				}
				open = append(open, c)
			}
		}
		stand := func(when string) {
			t.Helper()
			for i, c := range open {
				if _, err := fmt.Fprintln(c, when); err != nil {
					t.Errorf("%s: connection %d: %v", when, i, err)
				}
				expect(t, c, "", when)
			}
		}
		// The other node's host port leads on, to this node's instance: who has
		// not heard yet is served all the same.
		hostPort(to(here.addr[v], 20009))
		must(t, here.network.Balance(context.Background(), runtime.Balancing{Services: serviceRanges, Fleet: there.addr[:], Fronts: append(
			service(80, to(there.addr[v], 20001)), frontsOf(runtime.FrontHost, 20009, to(address(young, v), 8080))...)}))
		stand("leading on")
		for range 3 {
			reaches(t, client.NetNS, "tcp", at(web[v], 80), "young", there.addr[v])
		}
		lead(to(address(young, v), 8080))
		stand("drained")
		for range 5 {
			reaches(t, client.NetNS, "tcp", at(web[v], 80), "young", "")
			reaches(t, far.ns, "tcp", at(here.addr[v], 81), "young", far.addr[v])
		}
		here.balance(t, runtime.Balancing{})
		there.balance(t, runtime.Balancing{})
		stand("nothing balanced")
	})
}

// UDP flows go elsewhere with the next packet, through every kind of front.
func TestUDPFlowsMove(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, there := l.node(""), l.join(newHost(t, "there"))
	client, a, b := here.attach(t, "client"), here.attach(t, "a"), here.attach(t, "b")
	echo(t, a.NetNS, "a", 8080)
	echo(t, b.NetNS, "b", 8080)
	echo(t, there.ns, "there", 20001)
	versions(t, func(t *testing.T, v int) {
		balance := func(fleet bool, targets ...runtime.Target) {
			all := inServices(service(53, targets...), frontsOf(runtime.FrontPublished, 54, targets...), frontsOf(runtime.FrontHost, 20053, targets...))
			if fleet {
				all.Fleet = there.addr[:]
			}
			here.balance(t, all)
		}
		toA, toB, away := to(address(a, v), 8080), to(address(b, v), 8080), to(there.addr[v], 20001)
		balance(true, toA)
		flows := map[string]net.Conn{}
		for name, from := range map[string]struct{ ns, address string }{
			"instance to service":   {client.NetNS, at(web[v], 53)},
			"node to service":       {"", at(web[v], 53)},
			"host to published":     {there.ns, at(here.addr[v], 54)},
			"instance to published": {client.NetNS, at(here.addr[v], 54)},
			"node to host port":     {there.ns, at(here.addr[v], 20053)},
		} {
			c, err := dialWithin(t, patience, from.ns, "udp", from.address)
			must(t, err)
			defer c.Close()
			flows[name] = c
		}
		answers := func(want string) {
			t.Helper()
			for name, c := range flows {
				if got, _, err := askOver(c, "udp"); err != nil || got != want {
					t.Errorf("%s: answered by %q (%v), want %q", name, got, err, want)
				}
			}
		}
		answers("a")
		balance(true, toB)
		answers("b")
		balance(true, toB, toA)
		answers("b") // a target more moves nobody
		balance(true, away)
		answers("there")
		balance(true, toA)
		answers("a")
		// A node that is of the fleet no more is a stranger, with its next packet.
		balance(false, toA)
		isRefusedOver(t, flows["node to host port"], "udp", "host port for a stranger")
	})
}

// A new agent that is told the same changes nothing at all, also no handle.
func TestRestartChangesNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	all := manyServices(20, 3)
	for i := range all.Fronts {
		all.Fronts[i].Affinity = i%4 < 2
	}
	target := to("10.231.0.9", 80)
	all.Fronts = append(all.Fronts, frontsOf(runtime.FrontPublished, 80, target)...)
	all.Fronts = append(all.Fronts, frontsOf(runtime.FrontPublished, 81)...)
	all.Fronts = append(all.Fronts, frontsOf(runtime.FrontHost, 20001, target)...)
	all.Fronts = append(all.Fronts, frontsOf(runtime.FrontHost, 20002)...)
	must(t, n.Balance(context.Background(), all))
	want := run(t, "nft", "-a", "list ruleset")
	again := newNetwork(t, n.cfg)
	attach(t, again, "web-0") // before it is told
	must(t, again.Balance(context.Background(), all))
	if got := run(t, "nft", "-a", "list ruleset"); got != want {
		t.Errorf("a new agent wrote other rules:\n%s\nwant\n%s", got, want)
	}
	// What is damaged while no agent runs is mended, and nothing else is lost.
	for _, damage := range []string{
		"flush set ip orpheus ranges", "flush map ip6 orpheus services", "flush chain ip6 orpheus forward",
		"flush set ip orpheus fleet", "delete table ip6 orpheus", "flush chain ip orpheus one-hash",
	} {
		run(t, "nft", damage)
		must(t, newNetwork(t, n.cfg).Balance(context.Background(), all))
		if got := run(t, "nft", "list ruleset"); strings.Count(got, "\n") != strings.Count(want, "\n") {
			t.Errorf("after %q:\n%s\nwant\n%s", damage, got, want)
		}
	}
}

// The table of the version that knew IPv4 and published ports only: connections
// stand, ports stay open before the new agent is told of them.
func TestUpgradeFromIPv4Only(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	web := attach(t, n, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	serveUDP(t, web.NetNS, "web", ":8080")
	must(t, n.rules.remove())
	text, err := os.ReadFile("testdata/table-ipv4-only.nft")
	must(t, err)
	load := exec.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader(strings.ReplaceAll(string(text), "ADDRESS", web.Address))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var open []net.Conn
	for _, from := range []struct{ ns, address string }{{far, nodeAddress + ":80"}, {"", "127.0.0.1:80"}, {web.NetNS, nodeAddress + ":80"}} {
		c, err := dial(t, from.ns, "tcp4", from.address)
		must(t, err)
		defer c.Close()
		expect(t, c, "", "web")
		open = append(open, c)
	}
	u, err := dial(t, far, "udp4", nodeAddress+":53")
	must(t, err)
	defer u.Close()
	expect(t, u, "?", "web")

	again := newNetwork(t, n.cfg)
	attach(t, again, "other-0")
	if out := run(t, "nft", "list table ip orpheus"); !strings.Contains(out, "set ranges") {
		t.Errorf("the table is as it was:\n%s", out)
	}
	stands := func(when string) {
		t.Helper()
		for _, c := range open {
			expect(t, c, when+"\n", when)
		}
	}
	stands("replaced")
	expect(t, u, "?", "web")
	if name, client := ask(t, far, nodeAddress+":80"); name != "web" || client != outsideAddress {
		t.Errorf("%s saw %s, want web to see %s", name, client, outsideAddress)
	}
	refused(t, far, nodeAddress+":81")
	publish(t, again, port("tcp", 80, target(web)), port("tcp", 81), port("udp", 53, target(web)))
	stands("told")
	publish(t, again)
	stands("closed")
	refused(t, far, nodeAddress+":80")
}

// A node that has no IPv6 any more keeps no table of it.
func TestIPv6SwitchedOff(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	publish(t, n, port("tcp", 80))
	if out := run(t, "nft", "list tables"); !strings.Contains(out, "ip6 orpheus") {
		t.Skip("this kernel has no IPv6")
	}
	cfg := n.cfg
	cfg.NoIPv6, cfg.Subnet6 = true, n.cfg.Subnet6
	off := newNetwork(t, cfg)
	publish(t, off, port("tcp", 80))
	if out := run(t, "nft", "list tables"); strings.Contains(out, "ip6") {
		t.Errorf("tables without IPv6: %s", out)
	}
	publish(t, n, port("tcp", 80))
	must(t, n.Teardown(context.Background()))
	if out := run(t, "nft", "list tables"); strings.Contains(out, "orpheus") {
		t.Errorf("tables after teardown: %s", out)
	}
}

// As much as a node is meant to hold goes in as one transaction, and is known
// again.
func TestTwentyThousandFronts(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	b := runtime.Balancing{Services: serviceRanges}
	for s := range 20000 {
		b.Fronts = append(b.Fronts, runtime.Front{Kind: runtime.FrontService, Address: fmt.Sprintf("10.232.%d.%d", 1+s/250, 1+s%250), Port: 80, Protocol: "tcp",
			Targets: []runtime.Target{to(fmt.Sprintf("10.231.%d.%d", s%16, 2+s/16%250), 8080), to("198.51.100.2", 1000+s)}})
	}
	for range 2 {
		must(t, n.Balance(context.Background(), b))
		before, err := n.rules.generation()
		must(t, err)
		again := newNetwork(t, n.cfg)
		must(t, again.Balance(context.Background(), b))
		if after, _ := n.rules.generation(); after != before {
			t.Errorf("a new agent wrote %d transactions, want none", after-before)
		}
		for s := range b.Fronts { // 64 elements each, as far as the bound allows
			b.Fronts[s].Affinity = s < 1000
		}
	}
	for s := range b.Fronts {
		b.Fronts[s].Affinity = true
	}
	if err := n.Balance(context.Background(), b); !errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("%d elements: %v, want invalid", len(b.Fronts)*buckets, err)
	}
}

// What is sent to the kernel follows what changed, not what there is.
func TestOneEndpointChangesFewElements(t *testing.T) {
	all := manyServices(1000, 10)
	families := (Config{}).withDefaults().families()
	before, _, err := new(memory).parse(families, all)
	must(t, err)
	all.Fronts[1000].Targets = all.Fronts[1000].Targets[2:]
	after, _, err := new(memory).parse(families, all)
	must(t, err)
	c, sent := families[0].diff(before[0], after[0]), 0
	for _, name := range ourSets {
		sent += len(c.del[name]) + len(c.add[name])
	}
	if sent == 0 || sent > 22 {
		t.Errorf("%d elements for one endpoint of 10,000", sent)
	}
	if c = families[1].diff(before[1], after[1]); !c.empty() {
		t.Errorf("the other family changes, too: %v", c)
	}
}
