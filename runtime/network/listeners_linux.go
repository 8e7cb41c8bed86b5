package network

import (
	"errors"
	"fmt"
	"maps"
	"net"
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

// withoutTaken leaves out what programs of this machine listen on: publishing
// port 22 would cut people off from their server. What stands already stays,
// whoever began to listen there since.
func withoutTaken(want, standing fronts, owners map[front]runtime.PublishedPort) (fronts, error) {
	fresh := maps.Clone(want)
	maps.DeleteFunc(fresh, func(f front, _ []netip.AddrPort) bool { _, stands := standing[f]; return stands })
	if len(fresh) == 0 {
		return want, nil
	}
	listening, err := listeners()
	if err != nil {
		// A kernel without socket diagnosis keeps nobody from publishing.
		return want, nil
	}
	free := maps.Clone(want)
	var errs []error
	for _, f := range fresh.sorted() {
		if !slices.ContainsFunc(listening, f.clashes) {
			continue
		}
		delete(free, f)
		p := owners[f]
		errs = append(errs, fmt.Errorf("port %d/%s of %s is not opened: a program of this machine listens there; end it, or publish another port: %w",
			p.Port, p.Protocol, p.Service, runtime.ErrInvalid))
	}
	return free, errors.Join(errs...)
}

// clashes reports whether packets to one would reach the other.
func (f front) clashes(o front) bool {
	return f.proto == o.proto && f.port == o.port && (f.addr == anyAddr || o.addr == anyAddr || f.addr == o.addr)
}

// listeners are the sockets of this network namespace that receive over IPv4.
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
				if addr, ok := receivesIPv4(s.ID.Source); ok && s.State == kind.state {
					found = append(found, front{addr: addr, proto: kind.proto, port: s.ID.SourcePort})
				}
			}
		}
	}
	return found, nil
}

// receivesIPv4 is the IPv4 address a socket is bound to; one bound to all of
// IPv6 is taken to receive over IPv4, too, as most do.
func receivesIPv4(bound net.IP) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(bound)
	addr = addr.Unmap()
	if ok && addr.Is6() {
		return anyAddr, addr.IsUnspecified()
	}
	return addr, ok
}
