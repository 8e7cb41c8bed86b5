package agent

import "net/netip"

// inside tells addresses of this node's instances, and of services, from those
// of machines: no other node has one, whatever its record says.
func (a *Agent) inside() func(address string) bool {
	var ranges []netip.Prefix
	for _, r := range []string{a.subnets[0], a.subnets[1], a.balance.gather.v4, a.balance.gather.v6} {
		if p, err := netip.ParsePrefix(r); err == nil {
			ranges = append(ranges, p)
		}
	}
	return func(address string) bool {
		at, err := netip.ParseAddr(address)
		for _, r := range ranges {
			if err == nil && r.Contains(at) {
				return true
			}
		}
		return false
	}
}
