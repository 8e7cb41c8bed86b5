package network

import (
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// family is what differs between IPv4 and IPv6. Both get a table of the same
// name, made by the same code.
type family struct {
	table        nftables.TableFamily
	routes       int // as rtnetlink and conntrack call it
	nfproto      byte
	addrLen      int
	saddr, daddr uint32 // offsets in the IP header
	addrType     nftables.SetDatatype
	any          netip.Addr // stands for every address of the node
	loopback     netip.Prefix
	// loops says that connections from loopback can be led away: the kernel
	// drops an IPv6 packet to ::1 that a link brings, and answers become one
	// before it looks where the link is a bridge that netfilter watches
	// (br_netfilter, as Docker has it).
	loops       bool
	unreachable byte // ICMP code "port unreachable"

	bridge  string
	subnet  netip.Prefix
	gateway netip.Addr
	// neighbours are sources besides the subnet that hosts on a link need to
	// find each other.
	neighbours []netip.Prefix
}

// families are those that the node has: IPv4 always.
func (c Config) families() []family {
	all := []family{{
		table: nftables.TableFamilyIPv4, routes: unix.AF_INET, nfproto: unix.NFPROTO_IPV4,
		addrLen: 4, saddr: 12, daddr: 16, addrType: nftables.TypeIPAddr,
		any: netip.IPv4Unspecified(), loopback: netip.MustParsePrefix("127.0.0.0/8"), unreachable: 3, loops: true,
		bridge: c.Bridge, subnet: c.Subnet, gateway: c.gateway(),
	}}
	if !c.Subnet6.IsValid() {
		return all
	}
	return append(all, family{
		table: nftables.TableFamilyIPv6, routes: unix.AF_INET6, nfproto: unix.NFPROTO_IPV6,
		addrLen: 16, saddr: 8, daddr: 24, addrType: nftables.TypeIP6Addr,
		any: netip.IPv6Unspecified(), loopback: netip.MustParsePrefix("::1/128"), unreachable: 4,
		bridge: c.Bridge, subnet: c.Subnet6, gateway: c.gateway6(),
		neighbours: []netip.Prefix{netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("::/128")},
	})
}

// has reports whether the address is of this family.
func (f family) has(a netip.Addr) bool { return a.BitLen() == f.addrLen*8 }

// Registers of 4 bytes, in the order of the keys. A target that was looked up
// lies in the first ones: its address, then its port.
const regAddr = unix.NFT_REG32_00

func (f family) regProto() uint32 { return regAddr + uint32(f.addrLen/4) }
func (f family) regPort() uint32  { return f.regProto() + 1 }
func (f family) regPick() uint32  { return f.regProto() + 2 }
func (f family) regSpare() uint32 { return f.regProto() + 3 }
