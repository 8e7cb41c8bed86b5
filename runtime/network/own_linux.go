package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/runtime"
)

// ownAddresses are the addresses of this machine, by family.
func (n *Network) ownAddresses(h *netlink.Handle) ([]map[netip.Addr]bool, error) {
	var all []map[netip.Addr]bool
	for _, f := range n.cfg.families() {
		addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, f.routes) })
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		own := make(map[netip.Addr]bool, len(addrs))
		for _, a := range addrs {
			if p, ok := prefix(a.IPNet); ok {
				own[p.Addr()] = true
			}
		}
		all = append(all, own)
	}
	return all, nil
}

// leadAway takes targets out of what is wanted that can be no other node's:
// addresses of this machine, but for those in the subnet (its instances, and
// the bridge, where programs of the host's network are reached), and addresses
// of services. The record of another node may name any address, and what
// listens on one of this machine's is not its to open to others. Where a machine
// gets such an address later, chain input drops packets until the next Balance:
// their next try is led elsewhere.
func (n *Network) leadAway(want []balance, own []map[netip.Addr]bool) {
	var found []netip.Addr
	for k, f := range n.cfg.families() {
		b := want[k]
		ours := func(t netip.AddrPort) bool {
			a := t.Addr()
			return own[k][a] && !f.subnet.Contains(a) || b.serves(a)
		}
		for at, l := range b.fronts {
			if !slices.ContainsFunc(l.targets, ours) {
				continue
			}
			var others []netip.AddrPort // the list is remembered: it is not changed
			for _, t := range l.targets {
				if ours(t) {
					found = append(found, t.Addr())
				} else {
					others = append(others, t)
				}
			}
			l.targets = others
			if b.fronts[at] = l; len(others) == 0 && l.kind == runtime.FrontService {
				delete(b.fronts, at)
			}
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	if found = slices.Compact(found); !slices.Equal(found, n.paths.home) && len(found) > 0 {
		n.cfg.Log.Warn("another node has the address of this machine or of a service; no connections are led there: write another in peer.address of its configuration", "addresses", found)
	}
	n.paths.home = found
}
