package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// minMTU6 is what a link of IPv6 must carry.
const minMTU6 = 1280

const confIPv6 = "/proc/sys/net/ipv6/conf/"

// hostHasIPv6 reports whether the kernel speaks IPv6 in this network namespace
// and nobody has switched it off, there or for links to come.
func hostHasIPv6() bool {
	for _, link := range []string{"all", "default"} {
		if off, err := sysctl(confIPv6 + link + "/disable_ipv6"); err != nil || off != "0" {
			return false
		}
	}
	return true
}

// address6 is an IPv6 address that nobody is asked for whether it is taken:
// that would take a second, and it cannot be.
func address6(addr netip.Addr, subnet netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, subnet.Bits())), Flags: unix.IFA_F_NODAD}
}

// ensureBridge6 switches IPv6 on or off on the bridge, before it has an
// address. What instances announce there does not change the host's routes.
func (n *Network) ensureBridge6() error {
	off := "1"
	if n.cfg.Subnet6.IsValid() {
		off = "0"
	}
	for _, s := range []struct{ name, value string }{{"accept_ra", "0"}, {"accept_dad", "0"}, {"disable_ipv6", off}} {
		err := setSysctl(confIPv6+n.cfg.Bridge+"/"+s.name, s.value)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return err
		}
	}
	return nil
}

// quiet switches IPv6 off on the host's end of an instance's link: packets are
// the bridge's, and the link itself needs no address.
func quiet(link string) error {
	err := os.WriteFile(confIPv6+link+"/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set sysctl: %w", err)
	}
	return nil
}

// shown is a subnet for people and status; "" = none.
func shown(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// forwardingMark6 remembers that it was us who made the host a router of IPv6.
const forwardingMark6 = "ipv6-forwarding-was-off"

// ensureForwarding6 makes the host route IPv6. A router ignores what others
// announce to it unless it is told otherwise: links that took their address or
// default route from announcements go on to.
func (n *Network) ensureForwarding6() error {
	const forward = confIPv6 + "all/forwarding"
	if on, err := sysctl(forward); err != nil || on != "0" {
		return err
	}
	if err := n.note(forwardingMark6); err != nil {
		return err
	}
	links, err := os.ReadDir(confIPv6)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		name := l.Name()
		if name == "all" || name == "default" || name == "lo" || name == n.cfg.Bridge {
			continue
		}
		path := filepath.Join(confIPv6, name, "accept_ra")
		accepts, err := sysctl(path)
		if err != nil || accepts != "1" {
			continue // gone meanwhile, or not asked for
		}
		if err := setSysctl(path, "2"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := setSysctl(forward, "1"); err != nil {
		return err
	}
	n.cfg.Log.Info("ipv6 forwarding switched on", "sysctl", "net.ipv6.conf.all.forwarding")
	return nil
}
