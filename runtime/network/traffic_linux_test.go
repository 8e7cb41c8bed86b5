package network

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/runtime"
)

func (h *lanHost) traffic(t testing.TB) map[runtime.Target]map[string]runtime.Traffic {
	t.Helper()
	all := map[runtime.Target]map[string]runtime.Traffic{}
	h.do(t, func() {
		list, err := h.network.Traffic(context.Background())
		must(t, err)
		for _, x := range list {
			if all[x.Target] == nil {
				all[x.Target] = map[string]runtime.Traffic{}
			}
			all[x.Target][x.Protocol] = x
		}
	})
	return all
}

func TestTraffic(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, there := l.node(""), l.join(newHost(t, "there"))
	client, mine := here.attach(t, "client"), here.attach(t, "web-0")
	echo(t, mine.NetNS, "mine", 8080)
	echo(t, there.ns, "answers", 20001)
	const open, closed, dead = 20001, 20002, 20003
	versions(t, func(t *testing.T, v int) {
		// A host that is not there.
		gone := []string{"198.51.100.200", "2001:db8:1::200"}[v]
		silence(t, gone)
		front := at(web[v], 80)
		lead := func(target runtime.Target) { here.balance(t, inServices(service(80, target))) }
		if v == 0 && len(here.traffic(t)) != 0 {
			t.Errorf("traffic before there was any: %v", here.traffic(t))
		}
		for _, from := range []string{client.NetNS, ""} {
			for _, network := range []string{"tcp", "udp"} {
				lead(to(there.addr[v], open))
				reaches(t, from, network, front, "answers", here.addr[v])
				x, noted := here.traffic(t)[to(there.addr[v], open)][network]
				if !noted || x.Tried < 0 || x.Answered < 0 || x.Answered > trafficWindow || x.Refused >= 0 {
					t.Errorf("%s to a target that answers: %+v, want answered", network, x)
				}
				for range 50 {
					if x := here.traffic(t)[to(there.addr[v], open)][network]; x.Answered > x.Tried {
						t.Errorf("%s: answered %v ago, tried %v ago", network, x.Answered, x.Tried)
					}
				}
				lead(to(gone, dead))
				c, err := dialWithin(t, 100*time.Millisecond, from, network, front)
				if err == nil {
					c.Write([]byte("?"))
					c.Close()
				}
				x, noted = here.traffic(t)[to(gone, dead)][network]
				if !noted || x.Tried < 0 || x.Tried > trafficWindow || x.Answered >= 0 || x.Refused >= 0 {
					t.Errorf("%s to a target that is not there: %+v (%v), want tried only", network, x, noted)
				}
			}
			lead(to(there.addr[v], closed))
			refuses(t, from, "tcp", front)
			x, noted := here.traffic(t)[to(there.addr[v], closed)]["tcp"]
			if !noted || x.Tried < 0 || x.Answered >= 0 || x.Refused < 0 {
				t.Errorf("tcp to a port that is closed: %+v, want refused", x)
			}
			// Targets of this node are none of it.
			lead(to(address(mine, v), 8080))
			reaches(t, from, "tcp", front, "mine", "")
			if x, noted := here.traffic(t)[to(address(mine, v), 8080)]; noted {
				t.Errorf("traffic to an instance of this node: %+v", x)
			}
		}
	})
	eventually(t, "the kernel forgets what is past", func() bool { return len(here.traffic(t)) == 0 })
}

// silence makes packets to a host that is not there leave, instead of waiting
// for the neighbour to be found.
func silence(t testing.TB, address string) {
	t.Helper()
	must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: link(t, "eth0").Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: net.ParseIP(address), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}))
}

// A client whose first packet went to a dead target comes through with its
// second, once the target is out.
func TestForgottenConnectionGoesElsewhere(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, far := l.node(""), l.join(newHost(t, "far"))
	client, mine := here.attach(t, "client"), here.attach(t, "web-0")
	echo(t, mine.NetNS, "mine", 8080)
	versions(t, func(t *testing.T, v int) {
		gone := []string{"198.51.100.200", "2001:db8:1::200"}[v]
		silence(t, gone)
		for k, from := range []struct{ ns, address string }{
			{client.NetNS, at(web[v], 80)},
			{"", at(web[v], 80)},
			{far.ns, at(here.addr[v], 81)},
		} {
			dead := to(gone, 20001+k) // another each time: traffic takes seconds to fade
			lead := func(target runtime.Target) {
				here.balance(t, inServices(service(80, target), frontsOf(runtime.FrontPublished, 81, target)))
			}
			lead(dead)
			var u net.Conn
			u, err := dialWithin(t, patience, from.ns, "udp", from.address)
			must(t, err)
			defer u.Close()
			u.Write([]byte("lost"))
			name := make(chan string, 1)
			began := time.Now()
			go func() {
				n, _, err := asks(t, from.ns, "tcp", from.address)
				if err != nil {
					n = err.Error()
				}
				name <- n
			}()
			eventually(t, "the connection is tried", func() bool { _, tried := here.traffic(t)[dead]["tcp"]; return tried })
			lead(to(address(mine, v), 8080))
			here.do(t, func() { must(t, here.network.Forget(context.Background(), []runtime.Target{dead})) })
			if n := <-name; n != "mine" {
				t.Errorf("%s from %q: %s, want mine to answer the second packet", from.address, from.ns, n)
			}
			t.Logf("%s: connected %v after the first packet", from.address, time.Since(began))
			if n, _, err := askOver(u, "udp"); err != nil || n != "mine" {
				t.Errorf("udp flow: answered by %q (%v), want mine", n, err)
			}
		}
	})
}

// An agent that forgets touches no connection that stands.
func TestForgetKeepsWhatStands(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLAN(t)
	here, there := l.node(""), l.join(newHost(t, "there"))
	client := here.attach(t, "client")
	echo(t, there.ns, "there", 20001)
	versions(t, func(t *testing.T, v int) {
		target := to(there.addr[v], 20001)
		here.balance(t, inServices(service(80, target)))
		c, err := dialWithin(t, patience, client.NetNS, "tcp", at(web[v], 80))
		must(t, err)
		defer c.Close()
		expect(t, c, "", "there")
		must(t, here.network.Forget(context.Background(), []runtime.Target{target}))
		here.balance(t, inServices(service(80)))
		expect(t, c, "still there?\n", "still there?")
	})
}
