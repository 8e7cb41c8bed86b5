package network

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// A service with an instance here and one on another node, seen from all who
// may reach it.
func TestServiceAddress(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, there := l.node(""), l.node(newHost(t, "there"))
	mine, client := here.attach(t, "web-0"), here.attach(t, "client")
	theirs := there.attach(t, "web-1")
	echo(t, mine.NetNS, "mine", 8080)
	echo(t, theirs.NetNS, "theirs", 8080)
	versions(t, func(t *testing.T, v int) {
		front := at(web[v], 80)
		there.balance(t, runtime.Balancing{
			Fleet:  []string{here.addr[v]},
			Fronts: frontsOf(runtime.FrontHost, 20001, to(address(theirs, v), 8080)),
		})
		for _, network := range []string{"tcp", "udp"} {
			here.balance(t, inServices(service(80, to(address(mine, v), 8080))))
			// Another instance, the instance itself, and the node.
			gateway := []string{client.Gateway, client.Gateway6}[v]
			reaches(t, client.NetNS, network, front, "mine", gateway)
			reaches(t, mine.NetNS, network, front, "mine", gateway)
			reaches(t, "", network, front, "mine", gateway)

			here.balance(t, inServices(service(80, to(there.addr[v], 20001))))
			reaches(t, client.NetNS, network, front, "theirs", here.addr[v])
			reaches(t, mine.NetNS, network, front, "theirs", here.addr[v])
			reaches(t, "", network, front, "theirs", here.addr[v])

			// Both: each is met.
			here.balance(t, inServices(service(80, to(there.addr[v], 20001), to(address(mine, v), 8080))))
			met := map[string]bool{}
			for range 200 {
				name, _, err := asks(t, client.NetNS, network, front)
				must(t, err)
				met[name] = true
			}
			if !met["mine"] || !met["theirs"] {
				t.Errorf("%s: met %v, want both", network, met)
			}
			// A port or an address that is no front, and one without targets.
			for _, from := range []string{client.NetNS, ""} {
				refuses(t, from, network, at(web[v], 81))
				refuses(t, from, network, at(nobody[v], 80))
			}
			here.balance(t, inServices(service(80)))
			refuses(t, client.NetNS, network, front)
			refuses(t, "", network, front)
		}
	})
}

// Nobody outside reaches a service address by way of a node.
func TestServiceAddressIsInside(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLAN(t)
	here, far := l.node(""), l.join(newHost(t, "far"))
	mine := here.attach(t, "web-0")
	echo(t, mine.NetNS, "mine", 8080)
	here.balance(t, inServices(service(80, to(mine.Address, 8080), to(mine.Address6, 8080))))
	for v := range web {
		far.do(t, func() { routeVia(t, serviceRanges[v], here.addr[v]) })
		unreachableAt(t, far.ns, at(web[v], 80))
	}
}

func TestHostPortIsForTheFleet(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLAN(t)
	here, friend, stranger := l.node(""), l.join(newHost(t, "friend")), l.join(newHost(t, "stranger"))
	mine := here.attach(t, "web-0")
	echo(t, mine.NetNS, "mine", 8080)
	b := runtime.Balancing{
		Fleet: []string{friend.addr[0], friend.addr[1]},
		Fronts: append(frontsOf(runtime.FrontHost, 20001, to(mine.Address, 8080), to(mine.Address6, 8080)),
			frontsOf(runtime.FrontHost, 20002)...),
	}
	here.balance(t, b)
	versions(t, func(t *testing.T, v int) {
		for _, network := range []string{"tcp", "udp"} {
			reaches(t, friend.ns, network, at(here.addr[v], 20001), "mine", friend.addr[v])
			refuses(t, friend.ns, network, at(here.addr[v], 20002))
			for _, from := range []string{stranger.ns, mine.NetNS, ""} {
				refuses(t, from, network, at(here.addr[v], 20001))
			}
		}
		// A program of the node keeps such a port for all others.
		stop := echo(t, "", "program", 20001)
		reaches(t, stranger.ns, "tcp", at(here.addr[v], 20001), "program", "")
		reaches(t, friend.ns, "tcp", at(here.addr[v], 20001), "mine", "")
		stop()
	})
	b.Fleet = []string{stranger.addr[0], stranger.addr[1]}
	here.balance(t, b)
	for v := range web {
		for _, network := range []string{"tcp", "udp"} {
			refuses(t, friend.ns, network, at(here.addr[v], 20001))
			reaches(t, stranger.ns, network, at(here.addr[v], 20001), "mine", stranger.addr[v])
		}
	}
}

// A published port of mode fleet is open on a node without an instance; one of
// mode node shows the instance who asks.
func TestPublishedEverywhere(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLAN(t)
	here, there, far := l.node(""), l.node(newHost(t, "there")), l.join(newHost(t, "far"))
	theirs, other := there.attach(t, "web-0"), here.attach(t, "other")
	echo(t, theirs.NetNS, "theirs", 8080)
	there.balance(t, runtime.Balancing{Fleet: []string{here.addr[0], here.addr[1]}, Fronts: append(
		frontsOf(runtime.FrontHost, 20001, to(theirs.Address, 8080), to(theirs.Address6, 8080)),
		frontsOf(runtime.FrontPublished, 80, to(theirs.Address, 8080), to(theirs.Address6, 8080))...)})
	here.balance(t, runtime.Balancing{Fronts: frontsOf(runtime.FrontPublished, 80, to(there.addr[0], 20001), to(there.addr[1], 20001))})
	versions(t, func(t *testing.T, v int) {
		for _, network := range []string{"tcp", "udp"} {
			reaches(t, far.ns, network, at(there.addr[v], 80), "theirs", far.addr[v])
			reaches(t, far.ns, network, at(here.addr[v], 80), "theirs", here.addr[v])
			reaches(t, other.NetNS, network, at(here.addr[v], 80), "theirs", here.addr[v])
			reaches(t, "", network, at(here.addr[v], 80), "theirs", here.addr[v])
			if v == 0 {
				reaches(t, "", network, "127.0.0.1:80", "theirs", here.addr[v])
				reaches(t, there.ns, network, "127.0.0.1:80", "theirs", "")
			} else { // programs go on to 127.0.0.1, at once
				refuses(t, "", network, "[::1]:80")
				refuses(t, there.ns, network, "[::1]:80")
			}
			// Strangers come in by no other port.
			refuses(t, far.ns, network, at(there.addr[v], 20001))
			refuses(t, far.ns, network, at(here.addr[v], 8080))
		}
	})
	// Leaving: what let loopback out is taken back.
	must(t, here.network.Detach(context.Background(), "other"))
	must(t, here.network.Teardown(context.Background()))
	if on, err := sysctl("/proc/sys/net/ipv4/conf/eth0/route_localnet"); err != nil || on != "0" {
		t.Errorf("route_localnet of eth0 after teardown: %s (%v), want 0", on, err)
	}
}

func TestServiceSpreadsEvenly(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLAN(t)
	here, there := l.node(""), l.node(newHost(t, "there"))
	client := here.attach(t, "client")
	var local, remote []runtime.Target
	var hosts []runtime.Front
	names := map[string]int{}
	for i := range 4 {
		name := fmt.Sprintf("web-%d", i)
		names[name] = 0
		if i%2 == 0 {
			a := here.attach(t, name)
			echo(t, a.NetNS, name, 8080)
			local = append(local, to(a.Address, 8080), to(a.Address6, 8080))
		} else {
			a := there.attach(t, name)
			echo(t, a.NetNS, name, 8080)
			hosts = append(hosts, frontsOf(runtime.FrontHost, 20000+i, to(a.Address, 8080), to(a.Address6, 8080))...)
			remote = append(remote, to(there.addr[0], 20000+i), to(there.addr[1], 20000+i))
		}
	}
	there.balance(t, runtime.Balancing{Fleet: here.addr[:], Fronts: hosts})
	here.balance(t, inServices(service(80, append(local, remote...)...)))
	versions(t, func(t *testing.T, v int) {
		seen := map[string]int{}
		const connections = 1000
		for range connections {
			name, _, err := asks(t, client.NetNS, "tcp", at(web[v], 80))
			must(t, err)
			seen[name]++
		}
		// Chi-square with 3 degrees of freedom: above 30.7 once in a million.
		chi, want := 0.0, float64(connections)/float64(len(names))
		for name := range names {
			d := float64(seen[name]) - want
			chi += d * d / want
		}
		t.Logf("spread %v, chi-square %.1f", seen, chi)
		if len(seen) != len(names) || chi > 30.7 {
			t.Errorf("%d connections spread as %v: chi-square %.1f", connections, seen, chi)
		}
	})
}

// Payloads larger than a packet, and many connections at once, through a
// service address to another node.
func TestLargeAndMany(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, there := l.node(""), l.node(newHost(t, "there"))
	client, theirs := here.attach(t, "client"), there.attach(t, "web-0")
	echo(t, theirs.NetNS, "theirs", 8080)
	there.balance(t, runtime.Balancing{Fleet: here.addr[:], Fronts: frontsOf(runtime.FrontHost, 20001, to(theirs.Address, 8080), to(theirs.Address6, 8080))})
	here.balance(t, inServices(service(80, to(there.addr[0], 20001), to(there.addr[1], 20001))))
	large := make([]byte, 1<<20)
	rand.Read(large)
	versions(t, func(t *testing.T, v int) {
		c, err := dialWithin(t, patience, client.NetNS, "tcp", at(web[v], 80))
		must(t, err)
		defer c.Close()
		_, _, err = askOver(c, "tcp")
		must(t, err)
		go c.Write(large)
		back := make([]byte, len(large))
		_, err = io.ReadFull(c, back)
		must(t, err)
		if !bytes.Equal(back, large) {
			t.Error("tcp: other bytes came back")
		}
		u, err := dialWithin(t, patience, client.NetNS, "udp", at(web[v], 80))
		must(t, err)
		defer u.Close()
		u.SetDeadline(time.Now().Add(patience))
		_, err = u.Write(large[:9000])
		must(t, err)
		k, err := u.Read(back)
		must(t, err)
		if !bytes.HasSuffix(back[:k], large[:9000]) {
			t.Errorf("udp: %d other bytes came back", k)
		}
	})
	t.Run("5000 connections at once", func(t *testing.T) {
		const count, dialers = 5000, 16
		var files unix.Rlimit
		must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &files))
		if files.Cur < 2*count+1000 {
			t.Skipf("needs %d open files, may have %d (ulimit -n)", 2*count+1000, files.Cur)
		}
		var mu sync.Mutex
		var open []net.Conn
		var wg sync.WaitGroup
		for range dialers {
			wg.Go(func() {
				for range (count + dialers - 1) / dialers {
					c, err := dialWithin(t, patience, client.NetNS, "tcp", at(web[0], 80))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					open = append(open, c)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for _, c := range open {
			if name, _, err := askOver(c, "tcp"); err != nil || name != "theirs" {
				t.Errorf("answered by %q (%v)", name, err)
				break
			}
		}
		for _, c := range open {
			c.Close()
		}
		if len(open) < count {
			t.Errorf("%d connections, want %d", len(open), count)
		}
	})
}

// A foreign firewall that drops everything but what has our mark lets all of
// ours through, and nothing else.
func TestOneMarkForOtherFirewalls(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	run(t, "nft", fmt.Sprintf(`add table inet wall
		add chain inet wall forward { type filter hook forward priority 0; policy drop; }
		add rule inet wall forward meta mark and %[1]d == %[1]d accept
		add chain inet wall input { type filter hook input priority 0; policy drop; }
		add rule inet wall input iifname lo accept
		add rule inet wall input meta l4proto ipv6-icmp accept
		add rule inet wall input ct state established accept
		add rule inet wall input meta mark and %[1]d == %[1]d accept`, forwardMark))
	l := newLAN(t)
	here, there, far := l.node(""), l.node(newHost(t, "there")), l.join(newHost(t, "far"))
	mine, client, theirs := here.attach(t, "web-0"), here.attach(t, "client"), there.attach(t, "web-1")
	echo(t, mine.NetNS, "mine", 8080)
	echo(t, theirs.NetNS, "theirs", 8080)
	echo(t, far.ns, "far", 9000)
	echo(t, "", "names", 53)
	echo(t, "", "closed", 5353)
	there.balance(t, runtime.Balancing{Fleet: here.addr[:], Fronts: frontsOf(runtime.FrontHost, 20001, to(theirs.Address, 8080), to(theirs.Address6, 8080))})
	versions(t, func(t *testing.T, v int) {
		remote, local := to(there.addr[v], 20001), to(address(mine, v), 8080)
		b := inServices(service(80, remote), frontsOf(runtime.FrontPublished, 81, remote), frontsOf(runtime.FrontPublished, 82, local), frontsOf(runtime.FrontPublished, 83, to([]string{client.Gateway, client.Gateway6}[v], 5353)))
		here.balance(t, inServices(service(80, local)))
		reaches(t, client.NetNS, "tcp", at(web[v], 80), "mine", "")
		here.balance(t, b)
		for _, network := range []string{"tcp", "udp"} {
			reaches(t, client.NetNS, network, at(web[v], 80), "theirs", "")
			reaches(t, far.ns, network, at(here.addr[v], 81), "theirs", "")
			reaches(t, far.ns, network, at(here.addr[v], 82), "mine", far.addr[v])
			reaches(t, client.NetNS, network, at(far.addr[v], 9000), "far", here.addr[v])
			reaches(t, client.NetNS, network, at([]string{client.Gateway, client.Gateway6}[v], 53), "names", address(client, v))
		}
		// Over udp it would have to answer from the address it was asked at.
		reaches(t, far.ns, "tcp", at(here.addr[v], 83), "closed", far.addr[v])
		unreachableAt(t, client.NetNS, at([]string{client.Gateway, client.Gateway6}[v], 5353))
		unreachableAt(t, far.ns, at(here.addr[v], 5353))
	})
}

// What this node cannot open is reported, and all else stands.
func TestPublishedOnLoopback6(t *testing.T) {
	web := func(address string) runtime.Front {
		return runtime.Front{Address: address, Port: 80, Protocol: "tcp", Targets: []runtime.Target{to("10.231.0.2", 80)}}
	}
	both := (Config{}).withDefaults().families()
	for _, c := range []struct {
		families []family
		address  string
		left     string // what is said; "" = nothing
	}{
		{both, "", ""},
		{both, "2001:db8::1", ""},
		{both, "::1", "publish it on 127.0.0.1"},
		// A node without IPv6.
		{both[:1], "", ""},
		{both[:1], "2001:db8::1", "has no IPv6"},
	} {
		want, left, err := new(memory).parse(c.families, runtime.Balancing{Fronts: []runtime.Front{web("127.0.0.1"), web(c.address)}})
		must(t, err)
		if (c.left == "") != (left == nil) || left != nil && (len(left) != 1 || left[0].Front.Address != c.address || !strings.Contains(left.Error(), c.left)) {
			t.Errorf("on %q: reported %v, want %q", c.address, left, c.left)
		}
		if len(want[0].fronts) == 0 {
			t.Errorf("on %q: the other port is left out, too", c.address)
		}
	}
}

// Nothing of a balancing is believed whose ranges or nodes make no sense.
func TestAttack18BadBalancingChangesNothing(t *testing.T) {
	for name, b := range map[string]runtime.Balancing{
		"range of everything": {Services: []string{"0.0.0.0/0"}},
		"range of the end":    {Services: []string{"255.0.0.0/8"}},
		"range not masked":    {Services: []string{"10.232.0.1/16"}},
		"two ranges":          {Services: []string{"10.232.0.0/16", "10.233.0.0/16"}},
		"range of instances":  {Services: []string{"10.231.0.0/16"}},
		"node by name":        {Fleet: []string{"node-1"}},
		"many nodes":          {Fleet: strings.Split(strings.Repeat("10.0.0.1 ", maxFleet)+"10.0.0.1", " ")},
	} {
		_, _, err := new(memory).parse((Config{}).withDefaults().families(), b)
		if _, left := errors.AsType[runtime.LeftOutError](err); left || !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

// A front that makes no sense is left out, in both families, and no other.
func TestAttack24BadFrontHurtsNoOther(t *testing.T) {
	ok := to("10.231.0.2", 80)
	front := func(kind runtime.FrontKind, address string, port int, protocol string, targets ...runtime.Target) runtime.Front {
		return runtime.Front{Kind: kind, Address: address, Port: port, Protocol: protocol, Targets: targets}
	}
	published := func(targets ...runtime.Target) runtime.Front {
		return front(runtime.FrontPublished, "", 80, "tcp", targets...)
	}
	for name, bad := range map[string]runtime.Front{
		"service without address":   front(runtime.FrontService, "", 80, "tcp", ok),
		"service outside the range": front(runtime.FrontService, "10.233.0.1", 80, "tcp", ok),
		"address in both forms":     front(runtime.FrontPublished, "::ffff:10.0.0.1", 80, "tcp", ok),
		"address with a zone":       front(runtime.FrontPublished, "fe80::1%eth0", 80, "tcp", ok),
		"address by name":           front(runtime.FrontPublished, "localhost", 80, "tcp", ok),
		"port 0":                    front(runtime.FrontPublished, "", 0, "tcp", ok),
		"port 65536":                front(runtime.FrontPublished, "", 65536, "tcp", ok),
		"protocol":                  front(runtime.FrontPublished, "", 80, "sctp", ok),
		"target link-local":         published(to("fe80::1", 80)),
		"target ::1":                published(to("::1", 80)),
		"target 127.0.0.1":          published(to("127.0.0.1", 80)),
		"target multicast":          published(to("ff02::1", 80)),
		"target by name":            published(to("web", 80)),
		"target without port":       published(to("10.0.0.1", 0)),
		"many targets":              published(make([]runtime.Target, maxTargets+1)...),
		"twice":                     front(runtime.FrontPublished, "", 443, "tcp", ok),
		"the port of a host port":   front(runtime.FrontPublished, "", 20001, "udp", ok),
		"twice, on one address":     front(runtime.FrontPublished, "2001:db8::1", 444, "tcp", ok),
	} {
		good := append(frontsOf(runtime.FrontHost, 20001, ok), front(runtime.FrontPublished, "", 443, "tcp", ok), front(runtime.FrontPublished, "2001:db8::1", 444, "tcp"))
		bad.Service.Name = "bad"
		both := (Config{}).withDefaults().families()
		want, _, err := new(memory).parse(both, runtime.Balancing{Services: serviceRanges, Fronts: good})
		must(t, err)
		got, left, err := new(memory).parse(both, runtime.Balancing{Services: serviceRanges, Fronts: append(good[2:4:4], bad, good[0], good[1])})
		if err != nil || len(left) != 1 || left[0].Front.Service.Name != "bad" || left[0].Reason == "" {
			t.Errorf("%s: %v, left out %v, want the bad one", name, err, left)
			continue
		}
		for k := range want {
			if !want[k].equal(got[k]) {
				t.Errorf("%s: balances %v, want %v", name, got[k], want[k])
			}
		}
	}
	many := make([]runtime.Front, maxFronts+1)
	for k := range many {
		many[k] = front(runtime.FrontPublished, fmt.Sprintf("10.0.%d.%d", k/250, k%250+1), 80, "tcp")
	}
	if got, left, err := new(memory).parse((Config{}).withDefaults().families(), runtime.Balancing{Fronts: many}); err != nil || len(left) != 1 || len(got[0].fronts) != maxFronts {
		t.Errorf("many: %v, left out %d", err, len(left))
	}
}
