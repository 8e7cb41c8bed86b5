package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// States of sockets in /proc/net/tcp and udp that receive from anybody.
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
		return nil, fmt.Errorf("look for programs that listen: %w", err)
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
	proc, err := procfs.NewFS("/proc/thread-self")
	if err != nil {
		return nil, err
	}
	var found []front
	add := func(proto uint8, addr []byte, port uint64) {
		ip, ok := netip.AddrFromSlice(addr)
		switch ip = ip.Unmap(); {
		case !ok:
			return
		case ip.Is6() && !ip.IsUnspecified():
			return // only IPv6 is published to it
		case ip.Is6():
			ip = anyAddr // most take IPv4, too
		}
		found = append(found, front{addr: ip, proto: proto, port: uint16(port)})
	}
	for _, read := range []func() (procfs.NetTCP, error){proc.NetTCP, proc.NetTCP6} {
		sockets, err := read()
		if err != nil {
			return nil, err
		}
		for _, s := range sockets {
			if s.St == tcpListening {
				add(unix.IPPROTO_TCP, s.LocalAddr, s.LocalPort)
			}
		}
	}
	for _, read := range []func() (procfs.NetUDP, error){proc.NetUDP, proc.NetUDP6} {
		sockets, err := read()
		if err != nil {
			return nil, err
		}
		for _, s := range sockets {
			if s.St == udpUnconnected {
				add(unix.IPPROTO_UDP, s.LocalAddr, s.LocalPort)
			}
		}
	}
	return found, nil
}
