package manifest

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// What endpointMode and sessionAffinity may say. The first is the default.
var (
	endpointModes     = []string{"vip", "dnsrr"}
	sessionAffinities = []string{"None", "ClientIP"}
)

var networkSchema = newSchema(
	special("services", patterned(`[0-9.]+/[0-9]+`, "a range of IPv4 addresses such as "+planner.DefaultServiceRange), func(d *decoder, v value, into *planner.FleetNetwork) {
		into.Services = d.serviceRange(v, false, planner.DefaultServiceRange)
	}),
	special("services6", patterned(`[0-9A-Fa-f:.]+/[0-9]+`, "a range of IPv6 addresses such as "+planner.DefaultServiceRange6), func(d *decoder, v value, into *planner.FleetNetwork) {
		into.Services6 = d.serviceRange(v, true, planner.DefaultServiceRange6)
	}),
).foreign(
	"serviceSubnet", "write services: CIDR",
	"serviceCIDR", "write services: CIDR",
	"podSubnet", "remove it: a node's configuration says which addresses its instances have",
	"podCIDR", "remove it: a node's configuration says which addresses its instances have",
	"subnet", "remove it: a node's configuration says which addresses its instances have",
	"dnsDomain", "remove it: names of services end in orpheus.internal",
).like("{services: " + planner.DefaultServiceRange + "}")

// unrouted are the ranges of IPv4 and IPv6 that no address of the internet is
// in.
var unrouted = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("fc00::/7"),
}

// instanceRange is where nodes take the addresses of their instances from,
// unless their configuration names another.
var instanceRange = netip.MustParsePrefix("10.231.0.0/20")

// serviceRange reads a range of service addresses; the default is "".
func (d *decoder) serviceRange(v value, six bool, byDefault string) string {
	s, ok := d.text(v, anyText)
	if !ok {
		return ""
	}
	if s == "" {
		d.wrong(v, "must not be empty", "write one such as "+byDefault+", or remove the line")
		return ""
	}
	p, err := planner.ParseServiceRange(s, six)
	if err != nil {
		reason, remedy, _ := strings.Cut(err.Error(), "; ")
		d.wrong(v, reason, remedy)
		return ""
	}
	private := false
	for _, u := range unrouted {
		private = private || u.Contains(p.Addr()) && u.Bits() <= p.Bits()
	}
	if !private {
		d.warn(v.path, p.String()+" is not a private range: what really has these addresses cannot be reached from the fleet's nodes", "write one such as "+byDefault)
	}
	if p.Overlaps(instanceRange) {
		d.warn(v.path, p.String()+" holds "+instanceRange.String()+", where nodes take the addresses of their instances from unless their configuration names another", "write one such as "+byDefault)
	}
	if p.String() == netip.MustParsePrefix(byDefault).String() {
		return ""
	}
	return p.String()
}

// checkNetwork looks at what a service says of its address.
func (w *writtenService) checkNetwork() {
	if w.spec.imagePorts && w.onHost() {
		w.d.warn("spec.imagePorts", "changes nothing: only what runs from an image and has a network of its own has such ports", "remove it, and list in ports what others connect to")
	}
	hasPorts, publishes := false, false
	for _, c := range w.all() {
		hasPorts = hasPorts || len(c.ports) > 0
		publishes = publishes || slices.ContainsFunc(c.ports, func(p port) bool { return len(p.publish) > 0 })
	}
	if w.spec.endpointMode == endpointModes[1] && w.spec.affinity == sessionAffinities[1] && hasPorts && !publishes {
		w.d.warn("spec.sessionAffinity", "changes nothing: with endpointMode: dnsrr clients choose their instance themselves", "remove one of the two")
	}
	for _, f := range []struct {
		field string
		asked bool
	}{{"spec.endpointMode", w.spec.endpointMode == endpointModes[1]}, {"spec.sessionAffinity", w.spec.affinity == sessionAffinities[1]}} {
		if f.asked && !hasPorts && !w.spec.imagePorts {
			w.d.warn(f.field, "changes nothing: the service has no ports to connect to", "list them in ports")
		}
	}
}
