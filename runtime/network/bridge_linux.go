package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ensureBridge makes the bridge if it is missing and repairs what is wrong
// with it. It reports false if it is not the one we last saw whole, so that
// links may have lost it.
func (n *Network) ensureBridge(h *netlink.Handle) (whole bool, err error) {
	link, err := h.LinkByName(n.cfg.Bridge)
	if isNotFound(err) {
		link, err = n.makeBridge(h)
	}
	if err != nil {
		return false, fmt.Errorf("bridge %s: %w", n.cfg.Bridge, err)
	}
	if err := n.checkOwner(link); err != nil {
		return false, err
	}
	if link.Attrs().Alias == "" {
		if err := h.LinkSetAlias(link, n.owner()); err != nil {
			return false, fmt.Errorf("bridge %s: mark as ours: %w", n.cfg.Bridge, err)
		}
	}
	if err := n.ensureBridge6(); err != nil {
		return false, fmt.Errorf("bridge %s: %w", n.cfg.Bridge, err)
	}
	if err := n.ensureBridgeAddresses(h, link); err != nil {
		return false, fmt.Errorf("bridge %s: %w", n.cfg.Bridge, err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := h.LinkSetUp(link); err != nil {
			return false, fmt.Errorf("bridge %s: set up: %w", n.cfg.Bridge, err)
		}
	}
	whole = link.Attrs().Index == n.bridgeIndex
	if !whole {
		if err := n.ensureMTU(h, link); err != nil {
			return false, fmt.Errorf("bridge %s: %w", n.cfg.Bridge, err)
		}
	}
	n.bridgeIndex = link.Attrs().Index
	return whole, nil
}

// owner is the alias of our bridge. It follows from the state folder: another
// agent on this host would sweep away our links, and we its.
func (n *Network) owner() string {
	sum := sha256.Sum256([]byte(filepath.Clean(n.cfg.StateDir)))
	return fmt.Sprintf("orpheus %x", sum[:6])
}

// checkOwner refuses a link that is not our bridge. One without alias was made
// by an agent that died, or by hand, for us.
func (n *Network) checkOwner(link netlink.Link) error {
	const remedy = "give the bridge another name in the agent's configuration"
	if link.Type() != "bridge" {
		return fmt.Errorf("%s is a %s and no bridge: %s", n.cfg.Bridge, link.Type(), remedy)
	}
	if alias := link.Attrs().Alias; alias != "" && alias != n.owner() {
		return fmt.Errorf("bridge %s belongs to another agent on this host or to another state folder (its alias is %q): %s, or remove it if nobody uses it", n.cfg.Bridge, alias, remedy)
	}
	return nil
}

func (n *Network) makeBridge(h *netlink.Handle) (netlink.Link, error) {
	if err := n.checkOverlap(h); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.cfg.Bridge
	attrs.MTU = n.wantedMTU(h, ethernet)
	// A fixed address: else it would change with the ports, and with every
	// change instances would talk to a gateway that is no more.
	sum := sha256.Sum256([]byte(n.cfg.Bridge))
	attrs.HardwareAddr = net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
	err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("add: %w", err)
	}
	n.cfg.Log.Info("bridge made", "bridge", n.cfg.Bridge, "subnet", n.cfg.Subnet.String(), "subnet6", shown(n.cfg.Subnet6), "mtu", attrs.MTU)
	return h.LinkByName(n.cfg.Bridge)
}

func (n *Network) ensureBridgeAddresses(h *netlink.Handle, link netlink.Link) error {
	want := []*netlink.Addr{{IPNet: ipNet(netip.PrefixFrom(n.cfg.gateway(), n.cfg.Subnet.Bits()))}}
	if n.cfg.Subnet6.IsValid() {
		want = append(want, address6(n.cfg.gateway6(), n.cfg.Subnet6))
	}
	have, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, w := range want {
		if slices.ContainsFunc(have, func(a netlink.Addr) bool { return a.IPNet.String() == w.IPNet.String() }) {
			continue
		}
		if err := h.AddrAdd(link, w); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("add address %s: %w", w.IPNet, err)
		}
	}
	return nil
}

// checkOverlap refuses a subnet that the host reaches elsewhere already: the
// bridge would cut it off.
func (n *Network) checkOverlap(h *netlink.Handle) error {
	if err := n.checkOverlapOf(h, netlink.FAMILY_V4, n.cfg.Subnet); err != nil || !n.cfg.Subnet6.IsValid() {
		return err
	}
	return n.checkOverlapOf(h, netlink.FAMILY_V6, n.cfg.Subnet6)
}

func (n *Network) checkOverlapOf(h *netlink.Handle, family int, subnet netip.Prefix) error {
	const remedy = "set another subnet for instances in the agent's configuration"
	routes, err := dump(func() ([]netlink.Route, error) { return h.RouteList(nil, family) })
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		dst, ok := prefix(r.Dst)
		if ok && dst.Bits() > 0 && dst.Overlaps(subnet) && !n.ours(h, r.LinkIndex) {
			return fmt.Errorf("subnet %s overlaps the host's route to %s: %s", subnet, dst, remedy)
		}
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, family) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		p, ok := prefix(a.IPNet)
		if ok && p.Masked().Overlaps(subnet) && !n.ours(h, a.LinkIndex) {
			return fmt.Errorf("subnet %s overlaps the host's address %s: %s", subnet, p, remedy)
		}
	}
	return nil
}

func (n *Network) ours(h *netlink.Handle, index int) bool {
	link, err := h.LinkByIndex(index)
	return err == nil && link.Attrs().Name == n.cfg.Bridge
}

func isNotFound(err error) bool {
	return errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV)
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
