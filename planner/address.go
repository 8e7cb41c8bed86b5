package planner

import (
	"fmt"
	"net/netip"
	"strings"
)

// The ranges of service addresses where fleet.yaml names none.
const (
	DefaultServiceRange  = "10.232.0.0/16"
	DefaultServiceRange6 = "fd6f:7270:6865:7573::/112"
)

// Addresses are the places of services in the range of service addresses, by
// "namespace/name". A place is given once and stays the service's until it is
// gone; place 0, the network's own address, and the last are nobody's.
//
// Addresses of a record are others' word: Sound says which of them count.
type Addresses map[string]ServiceAddress

// ServiceAddress is the place of one service in both ranges.
type ServiceAddress struct {
	At uint32 `json:"at"`
	// Slots are those of its slots, by name: the address of one instance,
	// wherever it runs.
	Slots   map[string]uint32 `json:"slots,omitempty"`
	Unknown Unknown           `json:"-"`
}

// Of is the place of a service.
func (a Addresses) Of(id ServiceID) (ServiceAddress, bool) {
	at, ok := a[id.addressKey()]
	return at, ok
}

// addressKey is a service as Addresses name it: always with its namespace.
func (s ServiceID) addressKey() string { return s.Namespace + "/" + s.Name }

// parseAddressKey reads what addressKey wrote.
func parseAddressKey(key string) (ServiceID, bool) {
	namespace, name, _ := strings.Cut(key, "/")
	return ServiceID{Namespace: namespace, Name: name}, dnsLabel(namespace) && dnsLabel(name)
}

// The prefix lengths that ranges of service addresses may have.
const (
	minServiceBits, maxServiceBits   = 8, 24
	minServiceBits6, maxServiceBits6 = 64, 112
)

// notForServices are addresses that a kernel or a network treats in its own
// way.
var notForServices = []struct {
	netip.Prefix
	why string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "addresses without a meaning"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback addresses"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
	{netip.MustParsePrefix("224.0.0.0/3"), "multicast and reserved addresses"},
	{netip.MustParsePrefix("::/96"), "loopback and unspecified addresses"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 addresses in IPv6 form"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
	{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
}

// ParseServiceRange reads the range (CIDR) of service addresses of one family;
// "" is the default. The error says what is wrong and what to write.
func ParseServiceRange(s string, six bool) (netip.Prefix, error) {
	fallback, like, low, high := DefaultServiceRange, "10.232.0.0/16", minServiceBits, maxServiceBits
	if six {
		fallback, like, low, high = DefaultServiceRange6, DefaultServiceRange6, minServiceBits6, maxServiceBits6
	}
	if s == "" {
		s = fallback
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4() == six:
		return netip.Prefix{}, fmt.Errorf("%s is no range of %s addresses; write one such as %s", quote(s), family(six), like)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s does not begin at its first address; write %s", s, p.Masked())
	case p.Bits() < low || p.Bits() > high:
		return netip.Prefix{}, fmt.Errorf("%s is not from a /%d to a /%d; write one such as %s", s, low, high, like)
	}
	for _, not := range notForServices {
		if p.Overlaps(not.Prefix) {
			return netip.Prefix{}, fmt.Errorf("%s holds %s; write one such as %s", s, not.why, like)
		}
	}
	return p, nil
}

func family(six bool) string {
	if six {
		return "IPv6"
	}
	return "IPv4"
}

// Ranges are the ranges of service addresses. The error names the field of
// fleet.yaml.
func (n FleetNetwork) Ranges() (v4, v6 netip.Prefix, err error) {
	if v4, err = ParseServiceRange(n.Services, false); err != nil {
		return netip.Prefix{}, netip.Prefix{}, fmt.Errorf("network.services in fleet.yaml: %w", err)
	}
	if v6, err = ParseServiceRange(n.Services6, true); err != nil {
		return netip.Prefix{}, netip.Prefix{}, fmt.Errorf("network.services6 in fleet.yaml: %w", err)
	}
	return v4, v6, nil
}

// Place are the addresses of a place in both ranges; invalid addresses where
// it is none that may be given, or a range cannot be read.
func (n FleetNetwork) Place(at uint32) (v4, v6 netip.Addr) {
	r4, r6, err := n.Ranges()
	if err != nil || !givable(at, placesOf(r4, r6)) {
		return netip.Addr{}, netip.Addr{}
	}
	b4, b6 := r4.Addr().As4(), r6.Addr().As16()
	for i := range 4 {
		part := byte(at >> (8 * i))
		b4[3-i] |= part
		b6[15-i] |= part
	}
	return netip.AddrFrom4(b4), netip.AddrFrom16(b6)
}

// placesOf is how many places two ranges have in common.
func placesOf(v4, v6 netip.Prefix) uint32 {
	return 1 << min(32-v4.Bits(), 128-v6.Bits(), 31)
}

// givable reports whether a place of so many may be given.
func givable(at, places uint32) bool { return at > 0 && at < places-1 }
