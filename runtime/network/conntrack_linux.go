package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetConnections makes the kernel forget every connection of an instance
// that is no more, so that its address and ports lead nowhere when another gets
// them.
func (n *Network) forgetConnections(h *netlink.Handle, id string) error {
	r, ok, err := n.pool.get(id)
	if err != nil || !ok {
		return err
	}
	families := map[netlink.InetFamily]netip.Addr{unix.AF_INET: r.Address}
	if r.Address6.IsValid() {
		families[unix.AF_INET6] = r.Address6
	}
	for family, addr := range families {
		_, err := dump(func() (uint, error) {
			return h.ConntrackDeleteFilters(netlink.ConntrackTable, family, connectionsOf{addr})
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // gone by itself meanwhile
			return fmt.Errorf("forget connections of %s: %w", addr, err)
		}
	}
	return nil
}

// connectionsOf matches connections from or to an address, before or after it
// was translated.
type connectionsOf struct{ addr netip.Addr }

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (c connectionsOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, ip := range []net.IP{flow.Forward.SrcIP, flow.Forward.DstIP, flow.Reverse.SrcIP, flow.Reverse.DstIP} {
		if addr, ok := netip.AddrFromSlice(ip); ok && addr.Unmap() == c.addr {
			return true
		}
	}
	return false
}
