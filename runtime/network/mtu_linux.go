package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const ethernet = 1500

// wantedMTU is the configured one, or that of the way out; unknown where there
// is none.
func (n *Network) wantedMTU(h *netlink.Handle, unknown int) int {
	if n.cfg.MTU != 0 {
		return n.cfg.MTU
	}
	least := 576
	if n.cfg.Subnet6.IsValid() {
		least = minMTU6
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) { return h.RouteList(nil, family) })
		if err != nil {
			continue
		}
		for _, r := range routes {
			if dst, ok := prefix(r.Dst); ok && dst.Bits() > 0 || r.LinkIndex == 0 {
				continue
			}
			if link, err := h.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().Name != n.cfg.Bridge {
				return max(least, min(link.Attrs().MTU, 65535))
			}
		}
	}
	return unknown
}

// ensureMTU gives a bridge that was made earlier, and everything plugged into
// it, the MTU that is wanted today. A bridge drops what a port does not carry
// and tells nobody: all of them have the same.
func (n *Network) ensureMTU(h *netlink.Handle, bridge netlink.Link) error {
	have := bridge.Attrs().MTU
	want := n.wantedMTU(h, have)
	if want == have {
		return nil
	}
	records, err := n.pool.list()
	if err != nil {
		return err
	}
	var faults []error
	for id := range records {
		link, err := h.LinkByName(n.linkName(id))
		if err != nil || !isNamespace(n.netns(id)) {
			continue // none, or half made
		}
		faults = append(faults, h.LinkSetMTU(link, want), inNamespace(n.netns(id), func() error { return setMTU("eth0", want) }))
	}
	faults = append(faults, h.LinkSetMTU(bridge, want))
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("set mtu %d: %w", want, err)
	}
	n.cfg.Log.Info("mtu changed", "bridge", n.cfg.Bridge, "mtu", want, "was", have)
	return nil
}

// setMTU sets that of a link in the calling thread's namespace.
func setMTU(name string, mtu int) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	return h.LinkSetMTU(link, mtu)
}
