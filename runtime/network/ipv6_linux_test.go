package network

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
)

// withoutIPv6 switches it off for the test's namespace, as an administrator
// does.
func withoutIPv6(t *testing.T) {
	t.Helper()
	for _, link := range []string{"all", "default"} {
		if err := setSysctl(confIPv6+link+"/disable_ipv6", "1"); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

func needIPv6(t *testing.T) {
	t.Helper()
	if !hostHasIPv6() {
		t.Skip("needs IPv6: this kernel has none, or it is switched off")
	}
}

// addressesOf are those of eth0 but the ones the kernel gives itself.
func addressesOf(t *testing.T, netns string) []string {
	t.Helper()
	var all []string
	within(t, netns, func() {
		addrs, err := netlink.AddrList(link(t, "eth0"), netlink.FAMILY_ALL)
		must(t, err)
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() {
				all = append(all, a.IPNet.String())
			}
		}
	})
	return all
}

func checkSysctls(t *testing.T, netns string, want map[string]string) {
	t.Helper()
	check := func() {
		for path, value := range want {
			if got, err := sysctl(path); err != nil || got != value {
				t.Errorf("%s: %s, %v, want %s", path, got, err, value)
			}
		}
	}
	if netns == "" {
		check()
		return
	}
	within(t, netns, check)
}

func TestNamespaceSettings(t *testing.T) {
	if !isolated(t) {
		return
	}
	withoutIPv6(t)
	n := testNetwork(t)
	a := attach(t, n, "web-0")
	if a.Address6 != "" || a.Gateway6 != "" {
		t.Errorf("attached %+v on a host without IPv6", a)
	}
	if addrs := addressesOf(t, a.NetNS); len(addrs) != 1 || addrs[0] != a.Address+"/20" {
		t.Errorf("addresses %v, want only %s/20", addrs, a.Address)
	}
	checkSysctls(t, a.NetNS, map[string]string{
		"/proc/sys/net/ipv6/conf/all/disable_ipv6":      "1",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
	})
	checkSysctls(t, "", map[string]string{
		"/proc/sys/net/ipv4/ip_forward":                 "1",
		"/proc/sys/net/ipv6/conf/orpheus0/disable_ipv6": "1",
		"/proc/sys/net/ipv6/conf/all/forwarding":        "0",
	})
	info, err := n.Info(context.Background())
	must(t, err)
	if info.Subnet6 != "" {
		t.Errorf("info %+v on a host without IPv6", info)
	}
}

func TestIPv6(t *testing.T) {
	if !isolated(t) {
		return
	}
	needIPv6(t)
	outside(t)
	const uplink = "/proc/sys/net/ipv6/conf/uplink/accept_ra"
	must(t, setSysctl(uplink, "1"))
	n := testNetwork(t)
	a, b := attach(t, n, "web-0"), attach(t, n, "web-1")
	if a.Address6 == "" || a.Gateway6 != "fd6f:7214:ae7::1" || b.Address6 == a.Address6 {
		t.Fatalf("attached %+v and %+v", a, b)
	}
	if addrs := addressesOf(t, a.NetNS); len(addrs) != 2 || addrs[0] != a.Address+"/20" || addrs[1] != a.Address6+"/64" {
		t.Errorf("addresses %v, want %s/20 and %s/64", addrs, a.Address, a.Address6)
	}
	checkSysctls(t, a.NetNS, map[string]string{
		"/proc/sys/net/ipv6/conf/eth0/disable_ipv6": "0",
		// A neighbour announces no routes to instances, nor to the host.
		"/proc/sys/net/ipv6/conf/eth0/accept_ra":        "0",
		"/proc/sys/net/ipv6/conf/eth0/accept_redirects": "0",
	})
	checkSysctls(t, "", map[string]string{
		"/proc/sys/net/ipv6/conf/orpheus0/accept_ra": "0",
		"/proc/sys/net/ipv6/conf/all/forwarding":     "1",
		// The host goes on to take its routes from announcements.
		uplink: "2",
	})
	if _, err := os.Stat(filepath.Join(n.cfg.StateDir, forwardingMark6)); err != nil {
		t.Errorf("nobody notes that forwarding was off: %v", err)
	}
	// At once, without waiting for anybody to claim the address; and the host
	// reaches instances and they each other and the bridge.
	serve6(t, a.NetNS, "web", "["+a.Address6+"]:8080")
	serve6(t, "", "node", "["+a.Gateway6+"]:53")
	for _, c := range []struct{ from, address, name string }{
		{"", "[" + a.Address6 + "]:8080", "web"},
		{b.NetNS, "[" + a.Address6 + "]:8080", "web"},
		{b.NetNS, "[" + a.Gateway6 + "]:53", "node"},
	} {
		if name, _ := ask6(t, c.from, c.address); name != c.name {
			t.Errorf("%s answered by %s, want %s", c.address, name, c.name)
		}
	}
	// Somebody takes the bridge's address away: it comes back.
	must(t, netlink.AddrDel(link(t, DefaultBridge), address6(n.cfg.gateway6(), n.cfg.Subnet6)))
	attach(t, n, "web-0")
	if name, _ := ask6(t, b.NetNS, "["+a.Gateway6+"]:53"); name != "node" {
		t.Errorf("bridge's address lost: answered by %s", name)
	}
	hosts, err := os.ReadFile(a.Hosts)
	must(t, err)
	want := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + a.Address + "\thost\n" + a.Address6 + "\thost\n"
	if string(hosts) != want {
		t.Errorf("hosts: %q, want %q", hosts, want)
	}
}

// An instance that was attached without IPv6 is told to have none until it is
// attached anew.
func TestIPv6ComesLater(t *testing.T) {
	if !isolated(t) {
		return
	}
	needIPv6(t)
	cfg := testConfig(t.TempDir())
	cfg.NoIPv6 = true
	before := attach(t, newNetwork(t, cfg), "web-0")
	cfg.NoIPv6 = false
	later := newNetwork(t, cfg)
	if a := attach(t, later, "web-0"); a != before {
		t.Errorf("attached %+v, was %+v", a, before)
	}
	must(t, netlink.LinkDel(link(t, later.linkName("web-0"))))
	if a := attach(t, later, "web-0"); a.Address != before.Address || a.Address6 == "" {
		t.Errorf("attached anew %+v, was %+v", a, before)
	}
}
