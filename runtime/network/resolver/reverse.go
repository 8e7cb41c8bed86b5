package resolver

import (
	"net/netip"
	"strconv"
	"strings"
)

// reverseAddr reads the address in a lower-case name below in-addr.arpa or
// ip6.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(rest, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		var a [4]byte
		for i, part := range parts {
			n, err := strconv.ParseUint(part, 10, 8)
			if err != nil {
				return netip.Addr{}, false
			}
			a[3-i] = byte(n)
		}
		return netip.AddrFrom4(a), true
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa."); ok && len(rest) == 63 {
		var a [16]byte
		for i := range 32 {
			n, err := strconv.ParseUint(rest[2*i:2*i+1], 16, 8)
			if err != nil || i < 31 && rest[2*i+1] != '.' {
				return netip.Addr{}, false
			}
			a[15-i/2] |= byte(n) << (4 * (i % 2))
		}
		return netip.AddrFrom16(a), true
	}
	return netip.Addr{}, false
}
