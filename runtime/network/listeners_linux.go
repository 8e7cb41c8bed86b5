package network

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// States of sockets that receive from anybody, as the kernel numbers them.
const (
	tcpListening   = 0x0a
	udpUnconnected = 0x07
)

// leaveTaken takes out of what is wanted the published ports that programs of
// this machine listen on: publishing port 22 would cut people off from their
// server. What stands already stays, whoever began to listen there since.
func leaveTaken(given []runtime.Front, want, standing []balance) (left runtime.LeftOutError) {
	fresh := map[int]bool{}
	for k := range want {
		for at, l := range want[k].fronts {
			if given[l.source].Kind == runtime.FrontPublished && (k >= len(standing) || !standing[k].fronts.has(at)) {
				fresh[l.source] = true
			}
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	listening, err := listeners()
	if err != nil {
		return nil // a kernel without socket diagnosis keeps nobody from publishing
	}
	taken := map[int]bool{}
	for k := range want {
		for at, l := range want[k].fronts {
			if fresh[l.source] && slices.ContainsFunc(listening, at.clashes) {
				taken[l.source] = true
			}
		}
	}
	for k := range want {
		maps.DeleteFunc(want[k].fronts, func(_ front, l led) bool { return taken[l.source] })
	}
	for _, source := range slices.Sorted(maps.Keys(taken)) {
		left = append(left, runtime.LeftOut{Front: given[source], Reason: "a program of this machine listens there; end it, or publish another port"})
	}
	return left
}

// clashes reports whether packets to one would reach the other.
func (f front) clashes(o front) bool {
	return f.proto == o.proto && f.port == o.port && f.addr.BitLen() == o.addr.BitLen() &&
		(f.addr.IsUnspecified() || o.addr.IsUnspecified() || f.addr == o.addr)
}

// listeners are the sockets of this network namespace that receive. One bound
// to all of IPv6 is taken to receive over IPv4, too, as most do.
func listeners() ([]front, error) {
	var found []front
	for _, kind := range []struct {
		proto, state uint8
		list         func(family uint8) ([]*netlink.Socket, error)
	}{
		{unix.IPPROTO_TCP, tcpListening, netlink.SocketDiagTCP},
		{unix.IPPROTO_UDP, udpUnconnected, netlink.SocketDiagUDP},
	} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			sockets, err := kind.list(family)
			if err != nil {
				return nil, err
			}
			for _, s := range sockets {
				addr, ok := netip.AddrFromSlice(s.ID.Source)
				if !ok || s.State != kind.state {
					continue
				}
				addr = addr.Unmap()
				found = append(found, front{addr: addr, proto: kind.proto, port: s.ID.SourcePort})
				if addr == netip.IPv6Unspecified() {
					found = append(found, front{addr: netip.IPv4Unspecified(), proto: kind.proto, port: s.ID.SourcePort})
				}
			}
		}
	}
	return found, nil
}
