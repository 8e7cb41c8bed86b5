package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds on the parts of a zone that each cost sockets or time.
const (
	maxListen   = 32
	maxUpstream = 8
	maxTold     = 8 // faults of a zone that are told one by one
)

// index is a zone made ready for questions. It is not changed any more.
type index struct {
	listen   []netip.AddrPort
	upstream []netip.AddrPort
	servers  string // folder of files of clients
	allow    []netip.Prefix
	reverse  []netip.Prefix
	serial   uint32 // of the SOA record

	// names holds what is known, by lower-case name below Domain, "" = Domain.
	names map[string]*entry
	// owners holds the names of addresses, complete.
	owners map[netip.Addr]string

	services int
	faults   []string // what was left out
	left     int      // how many there were
}

// entry is what one name has.
type entry struct {
	// named is false where the name is only on the way to others, like a
	// namespace's.
	named   bool
	addrs   []netip.Addr
	targets []target // of SRV
}

// target is where a named port is.
type target struct {
	host  string // complete
	port  uint16
	addrs []netip.Addr
}

// newIndex leaves out what makes no sense and says so in faults.
func newIndex(z Zone, serial uint32) *index {
	x := &index{
		serial:  serial,
		servers: z.Servers,
		names:   make(map[string]*entry, 4*len(z.Services)),
		owners:  make(map[netip.Addr]string, 2*len(z.Services)),
	}
	x.names[""] = &entry{named: true}
	x.listen = parseAll(x, "listen", z.Listen, maxListen, netip.ParseAddrPort)
	x.upstream = parseAll(x, "upstream", z.Upstream, maxUpstream, netip.ParseAddrPort)
	x.allow = parseAll(x, "allow", z.Allow, 1024, netip.ParsePrefix)
	x.reverse = parseAll(x, "reverse", z.Reverse, 1024, netip.ParsePrefix)
	x.upstream = slices.DeleteFunc(x.upstream, func(a netip.AddrPort) bool {
		loop := x.ours(a)
		if loop {
			x.fault("upstream %s is this name server itself", a)
		}
		return loop
	})
	for _, s := range z.Services {
		x.add(s)
	}
	for _, s := range z.Services {
		x.addAliases(s)
	}
	return x
}

// ours: a question sent there comes back to us.
func (x *index) ours(a netip.AddrPort) bool {
	if a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
		return true
	}
	return slices.ContainsFunc(x.listen, func(l netip.AddrPort) bool {
		return l == a || l.Addr().IsUnspecified() && l.Port() == a.Port() && a.Addr().IsLoopback()
	})
}

func (x *index) fault(format string, args ...any) {
	if x.left++; x.left <= maxTold {
		x.faults = append(x.faults, fmt.Sprintf(format, args...))
	}
}

// parseAll reads at most limit values, those that can be read.
func parseAll[T comparable](x *index, field string, texts []string, limit int, parse func(string) (T, error)) []T {
	var out []T
	for i, text := range texts {
		if i == limit {
			x.fault("%s: more than %d", field, limit)
			break
		}
		v, err := parse(text)
		if err != nil {
			x.fault("%s %.64q: %v", field, text, err)
		} else if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// add puts the names of a service into the index.
func (x *index) add(s Service) {
	namespace, service := strings.ToLower(s.Namespace), strings.ToLower(s.Name)
	if !isLabel(namespace) || !isLabel(service) {
		x.fault("service %.64q in namespace %.64q: not a name", s.Name, s.Namespace)
		return
	}
	name := service + "." + namespace
	if e := x.names[name]; e != nil && e.named {
		x.fault("service %s: listed twice", name)
		return
	}
	x.services++
	e := x.put(name)
	e.addrs = x.addresses(name, s.Addresses)
	if !s.Headless {
		x.own(name, e.addrs)
		x.addPorts(name, name, s.Ports, e.addrs)
	}
	for _, slot := range s.Slots {
		x.addSlot(name, slot, s.Headless)
	}
}

// maxAliases bounds those of one service.
const maxAliases = 64

// addAliases gives what is known of a service further names. All services are
// there before the first alias.
func (x *index) addAliases(s Service) {
	namespace, service := strings.ToLower(s.Namespace), strings.ToLower(s.Name)
	own := service + "." + namespace
	for i, alias := range s.Aliases {
		if i == maxAliases {
			x.fault("service %.128s: more than %d aliases", own, maxAliases)
			return
		}
		name := strings.ToLower(alias) + "." + namespace
		if !isLabel(strings.ToLower(alias)) || !isLabel(namespace) || !isLabel(service) {
			x.fault("alias %.64q of service %.64q in namespace %.64q: not a name", alias, s.Name, s.Namespace)
			continue
		}
		if e := x.names[name]; e != nil && e.named {
			x.fault("alias %s of service %s: the name is taken", name, own)
			continue
		}
		x.same(name, own)
		for _, p := range s.Ports {
			x.same(portPrefix(p)+name, portPrefix(p)+own)
		}
		for _, slot := range s.Slots {
			below := strings.ToLower(slot.Name) + "."
			if len(below)+len(name)+len(Domain)+2 <= 254 {
				x.same(below+name, below+own)
			}
			for _, p := range slot.Ports {
				x.same(portPrefix(p)+name, portPrefix(p)+own)
			}
		}
	}
}

// same gives a name what another has, if that exists.
func (x *index) same(name, as string) {
	if e := x.names[as]; e != nil && e.named {
		*x.put(name) = *e
	}
}

// portPrefix is what stands before the name of a service in that of its port.
func portPrefix(p Port) string {
	return "_" + strings.ToLower(p.Name) + "._" + strings.ToLower(p.Protocol) + "."
}

func (x *index) addSlot(service string, s Slot, headless bool) {
	name := strings.ToLower(s.Name) + "." + service
	if !isName(strings.ToLower(s.Name)) || len(name)+len(Domain)+2 > 254 {
		x.fault("slot %.64q of service %s: not a name, or too long a one", s.Name, service)
		return
	}
	if e := x.names[name]; e != nil && e.named {
		x.fault("slot %s: listed twice", name)
		return
	}
	e := x.put(name)
	e.addrs = x.addresses(name, s.Addresses)
	x.own(name, e.addrs)
	if !headless {
		return
	}
	if !s.Ready {
		// The port's name exists all the same.
		for _, p := range s.Ports {
			x.portName(service, p)
		}
		return
	}
	x.addPorts(service, name, s.Ports, e.addrs)
}

// addPorts adds an SRV target on host to each port's name.
func (x *index) addPorts(service, host string, ports []Port, addrs []netip.Addr) {
	for _, p := range ports {
		if p.Name == "" {
			continue
		}
		if e := x.portName(service, p); e != nil && len(addrs) > 0 {
			e.targets = append(e.targets, target{host + "." + Domain + ".", uint16(p.Port), addrs})
		}
	}
}

// portName returns the entry of a named port; nil = it cannot have one.
func (x *index) portName(service string, p Port) *entry {
	if p.Name == "" {
		return nil
	}
	port, protocol := strings.ToLower(p.Name), strings.ToLower(p.Protocol)
	if !isLabel(port) || len(port) > 62 || protocol != "tcp" && protocol != "udp" || p.Port < 1 || p.Port > 65535 {
		x.fault("port %.64q (%.8q, %d) of service %s: not a port", p.Name, p.Protocol, p.Port, service)
		return nil
	}
	return x.put(portPrefix(p) + service)
}

// put returns the entry of a name, made if need be with those on the way to it.
func (x *index) put(name string) *entry {
	e := x.names[name]
	if e == nil {
		e = &entry{}
		x.names[name] = e
		for _, parent, ok := strings.Cut(name, "."); ok && x.names[parent] == nil; _, parent, ok = strings.Cut(parent, ".") {
			x.names[parent] = &entry{}
		}
	}
	e.named = true
	return e
}

func (x *index) addresses(name string, texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			x.fault("address %.64q of %s: not an address", text, name)
			continue
		}
		out = append(out, a.Unmap())
	}
	return out
}

// own makes name that of the addresses, as far as they have none.
func (x *index) own(name string, addrs []netip.Addr) {
	for _, a := range addrs {
		if _, taken := x.owners[a]; !taken {
			x.owners[a] = name + "." + Domain + "."
		}
	}
}

// find looks a lower-case, complete name up. ours = it is nobody else's to know;
// e is nil where it does not exist.
func (x *index) find(name string) (e *entry, ours bool) {
	name = strings.TrimSuffix(name, ".")
	if name == Domain {
		return x.names[""], true
	}
	if below, ok := strings.CutSuffix(name, "."+Domain); ok {
		return x.names[below], true
	}
	if strings.Contains(name, ".") {
		if e := x.names[name]; e != nil && e.named {
			return e, true
		}
	}
	return nil, false
}

// allowed reports whether questions from an address are answered.
func (x *index) allowed(from netip.Addr) bool {
	return from.IsLoopback() || containsAddr(x.allow, from) ||
		slices.ContainsFunc(x.listen, func(l netip.AddrPort) bool { return l.Addr() == from })
}

func containsAddr(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// isName reports whether all labels of a lower-case name are such.
func isName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isLabel reports whether s is a lower-case label of a host's name. Underscores
// inside are let through: hosts have been called so.
func isLabel(s string) bool {
	if len(s) < 1 || len(s) > 63 || s[0] == '_' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
