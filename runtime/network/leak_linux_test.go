package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	leakCrashes = 50
	leakRounds  = 4 // of each agent, the last of which it does not live to finish
)

// churn attaches, talks and detaches so many times as spec says, then once more
// and dies at the step it names.
func churn(n *Network, spec string) {
	var first, rounds int
	var last string
	if _, err := fmt.Sscanf(spec, "%d %d %q", &first, &rounds, &last); err != nil {
		panic(err)
	}
	armed := false
	n.crash = func(step string) {
		if armed && step == last {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	for k := range rounds {
		// Takes apart what there is not, with the same steps: not those.
		armed = k == rounds-1 && last != "link removed" && last != "namespace removed"
		id := fmt.Sprintf("victim-%d", (first+k)%7)
		a, err := n.Attach(context.Background(), id, testNames)
		if err == nil {
			_, err = n.HostPorts(context.Background(), id, []runtime.ContainerPort{{Port: 8080, Protocol: "tcp"}, {Port: 8080, Protocol: "udp"}})
		}
		if err == nil {
			err = talk(a)
		}
		if err == nil {
			armed = k == rounds-1
			err = n.Detach(context.Background(), id)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// talk makes the kernel remember connections to the instance, over TCP and UDP
// and both families, and ends them.
func talk(a runtime.Attachment) error {
	for _, addr := range []string{a.Address, a.Address6} {
		if addr == "" {
			continue
		}
		address := net.JoinHostPort(addr, "8080")
		var l net.Listener
		var p net.PacketConn
		err := inNamespace(a.NetNS, func() (err error) {
			if l, err = net.Listen("tcp", address); err != nil {
				return err
			}
			p, err = net.ListenPacket("udp", address)
			return err
		})
		if err != nil {
			return err
		}
		defer p.Close()
		defer l.Close()
		c, err := net.DialTimeout("tcp", address, time.Minute)
		if err != nil {
			return err
		}
		server, err := l.Accept()
		if err != nil {
			return err
		}
		server.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		c.Read(make([]byte, 1)) // its end has come
		c.Close()
		u, err := net.Dial("udp", address)
		if err != nil {
			return err
		}
		u.Write([]byte("?"))
		p.SetReadDeadline(time.Now().Add(time.Minute))
		if _, _, err := p.ReadFrom(make([]byte, 1)); err != nil {
			return err
		}
		u.Close()
	}
	return nil
}

// 200 attachments, and 50 agents that die in the middle of one: afterwards the
// machine has what it had before, whatever the step they died at.
func TestNothingLeaks(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	n := testNetwork(t)
	keeper := attach(t, n, "keeper")
	hostPorts(t, n, "keeper", runtime.ContainerPort{Port: 8080, Protocol: "tcp"})
	publish(t, n, port("tcp", 80, target(keeper)))
	if hostHasIPv6() { // the kernel gives the bridge an address of the link when it finds the time
		eventually(t, "the bridge has its link-local address", func() bool {
			all := everything(t, n)
			return !slices.ContainsFunc([]string{"address fe80:", "route fe80::/128 ", "route fe80::/64 ", "route ff00::/8 "}, func(one string) bool {
				return !strings.Contains(all, one)
			})
		})
	}
	before := everything(t, n)
	start := time.Now()
	dying := append(slices.Clone(steps), "host ports")
	for k := range leakCrashes {
		cmd, out := startVictim(t, n, fmt.Sprintf("churn %d %d %q", k, leakRounds, dying[k%len(dying)]))
		for out.Scan() {
		}
		died(t, cmd)
		if k%10 == 9 { // in between the next agent goes on where the last one stopped
			must(t, newNetwork(t, n.cfg).Sweep(context.Background(), map[string]bool{"keeper": true}))
			if after := everything(t, n); after != before {
				t.Fatalf("after %d agents:\n%s\nbefore:\n%s", k+1, after, before)
			}
		}
	}
	t.Logf("%d attachments and %d agents killed in %v: nothing is left", leakCrashes*leakRounds, leakCrashes, time.Since(start).Round(time.Millisecond))
	for range 2 { // and once more changes nothing
		must(t, newNetwork(t, n.cfg).Sweep(context.Background(), map[string]bool{"keeper": true}))
		if after := everything(t, n); after != before {
			t.Errorf("swept:\n%s\nbefore:\n%s", after, before)
		}
	}
}

// everything is leftovers and all else that the kernel keeps for the network:
// addresses, routes, rules of routing, and connections with their zones.
func everything(t *testing.T, n *Network) string {
	t.Helper()
	all := []string{leftovers(t, n)}
	links, err := dump(netlink.LinkList)
	must(t, err)
	for _, l := range links {
		addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
		must(t, err)
		for _, a := range addrs {
			all = append(all, fmt.Sprintf("address %s of %s", a.IPNet, l.Attrs().Name))
		}
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	must(t, err)
	defer h.Close()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		must(t, err)
		for _, r := range routes {
			all = append(all, fmt.Sprintf("route %s table %d link %d", r.Dst, r.Table, r.LinkIndex))
		}
		rules, err := dump(func() ([]netlink.Rule, error) { return h.RuleList(family) })
		must(t, err)
		for _, r := range rules {
			all = append(all, "rule "+r.String())
		}
		flows, err := dump(func() ([]*netlink.ConntrackFlow, error) {
			return h.ConntrackTableList(netlink.ConntrackTable, netlink.InetFamily(family))
		})
		must(t, err)
		for _, f := range flows {
			if f.Forward.Protocol == unix.IPPROTO_IGMP {
				continue // the kernel's own word of the groups it is in, whenever a link comes up
			}
			all = append(all, fmt.Sprintf("connection %+v %+v zone %d", f.Forward, f.Reverse, f.Zone))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
