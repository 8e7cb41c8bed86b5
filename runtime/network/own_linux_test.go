package network

import (
	"context"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// A record of another node that names an address of this machine opens nothing
// that listens there, and takes no connections from those that answer.
func TestAttack18TargetOfThisMachine(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, far := l.node(""), l.join(newHost(t, "far"))
	mine, client := here.attach(t, "web-0"), here.attach(t, "client")
	echo(t, mine.NetNS, "mine", 8080)
	echo(t, "", "program", 9000)
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}))
	must(t, netlink.LinkSetUp(link(t, "docker0")))
	appear := func(address string) {
		a := netip.MustParseAddr(address)
		must(t, netlink.AddrAdd(link(t, "docker0"), &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen()-8)), Flags: unix.IFA_F_NODAD}))
	}
	versions(t, func(t *testing.T, v int) {
		docker, later := []string{"172.17.0.1", "2001:db8:17::1"}[v], []string{"172.18.0.1", "2001:db8:18::1"}[v]
		appear(docker)
		lead := func(targets ...runtime.Target) {
			here.balance(t, inServices(service(80, targets...), frontsOf(runtime.FrontPublished, 81, targets...)))
		}
		closed := func() {
			t.Helper()
			for _, network := range []string{"tcp", "udp"} {
				for _, from := range []struct{ ns, address string }{
					{far.ns, at(here.addr[v], 81)}, {client.NetNS, at(web[v], 80)}, {client.NetNS, at(here.addr[v], 81)}, {"", at(web[v], 80)},
				} {
					refuses(t, from.ns, network, from.address)
				}
			}
		}
		for _, bad := range []string{docker, here.addr[v], nobody[v]} {
			lead(to(bad, 9000), to(address(mine, v), 8080))
			for range 20 {
				reaches(t, far.ns, "tcp", at(here.addr[v], 81), "mine", "")
			}
			lead(to(bad, 9000))
			closed()
		}
		// An address that the machine gets only now.
		lead(to(later, 9000))
		appear(later)
		for _, from := range []struct{ ns, address string }{{far.ns, at(here.addr[v], 81)}, {client.NetNS, at(web[v], 80)}, {"", at(web[v], 80)}} {
			unreachableAt(t, from.ns, from.address)
		}
		// What has the host's network is reached at the bridge's address.
		lead(to([]string{client.Gateway, client.Gateway6}[v], 9000))
		reaches(t, far.ns, "tcp", at(here.addr[v], 81), "program", far.addr[v])
		reaches(t, client.NetNS, "udp", at(web[v], 80), "program", "")
		reaches(t, "", "tcp", at(web[v], 80), "program", "")
	})
}

// The name server is not for hosts that route the subnet to this node.
func TestNamesAreNotForOtherHosts(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, far := l.node(""), l.join(newHost(t, "far"))
	client := here.attach(t, "client")
	echo(t, "", "names", 53)
	must(t, here.network.Balance(context.Background(), runtime.Balancing{}))
	versions(t, func(t *testing.T, v int) {
		gateway := []string{client.Gateway, client.Gateway6}[v]
		far.do(t, func() {
			routeVia(t, []string{here.network.cfg.Subnet.String(), here.network.cfg.Subnet6.String()}[v], here.addr[v])
		})
		for _, network := range []string{"tcp", "udp"} {
			refuses(t, far.ns, network, at(gateway, 53))
			reaches(t, client.NetNS, network, at(gateway, 53), "names", address(client, v))
			reaches(t, "", network, at(gateway, 53), "names", "")
			// A name server of the machine's own is as it was.
			reaches(t, far.ns, network, at(here.addr[v], 53), "names", far.addr[v])
		}
	})
}
