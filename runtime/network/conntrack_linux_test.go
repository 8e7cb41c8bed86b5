package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// One instance's connections are forgotten, begun by it or led to it, and no
// other's: both by the kernel itself and, for older ones, one by one.
func TestOneInstancesConnectionsAreForgotten(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), outside(t)
	web, other := attach(t, n, "web-0"), attach(t, n, "other-0")
	serve(t, far, "far", ":9000")
	for _, a := range []runtime.Attachment{web, other} {
		serve(t, a.NetNS, "server", ":8080")
	}
	publish(t, n, port("tcp", 80, target(web)), port("tcp", 81, target(other)))
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	must(t, err)
	defer h.Close()
	connections := func(addr string) int {
		count := 0
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			flows, err := h.ConntrackTableList(netlink.ConntrackTable, family)
			must(t, err)
			for _, f := range flows {
				if strings.Contains(f.Forward.SrcIP.String()+" "+f.Reverse.SrcIP.String()+" ", addr+" ") {
					count++
				}
			}
		}
		return count
	}
	for name, forget := range map[string]func(netip.Addr) error{
		"in the kernel": forgetInKernel,
		"one by one":    func(a netip.Addr) error { return forgetOneByOne(h, a) },
	} {
		for _, a := range []runtime.Attachment{web, other} {
			must(t, talk(runtime.Attachment{NetNS: a.NetNS, Address6: a.Address6}))
			ask(t, a.NetNS, outsideAddress+":9000")
		}
		ask(t, far, nodeAddress+":80")
		ask(t, far, nodeAddress+":81")
		stays, stays6 := connections(other.Address), connections(other.Address6)
		if connections(web.Address) < 2 || stays < 2 || web.Address6 != "" && (connections(web.Address6) < 2 || stays6 < 2) {
			t.Fatalf("%s: too few connections before: %d and %d, %d", name, connections(web.Address), stays, stays6)
		}
		for _, addr := range []string{web.Address, web.Address6} {
			if addr == "" {
				continue
			}
			if name == "in the kernel" && addr == web.Address6 {
				continue
			}
			err := forget(netip.MustParseAddr(addr))
			if name == "in the kernel" && err != nil {
				t.Logf("this kernel cannot: %v", err)
				must(t, forgetOneByOne(h, netip.MustParseAddr(addr)))
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if left := connections(addr); left > 0 {
				t.Errorf("%s: %d connections of %s are left", name, left, addr)
			}
		}
		if connections(other.Address) != stays || connections(other.Address6) != stays6 {
			t.Errorf("%s: connections of another went, too: %d and %d, were %d and %d", name, connections(other.Address), connections(other.Address6), stays, stays6)
		}
	}
}
