package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Bounds of what one node balances. They keep a transaction within what the
// kernel takes in one piece.
const (
	maxFronts   = 32768
	maxTargets  = 1024   // per front
	maxElements = 131072 // targets of all fronts of a family; a front with affinity has 64
	maxFleet    = 8192
)

// front is an address and port that connections come to. The family's any =
// every address of the node.
type front struct {
	addr  netip.Addr
	proto uint8
	port  uint16
}

// led is where connections to a front lead.
type led struct {
	kind     runtime.FrontKind
	affinity bool
	targets  []netip.AddrPort // sorted; none = refused
	source   int              // index in what Balance was given; says nothing after a restart
}

func (l led) equal(o led) bool {
	return l.kind == o.kind && l.affinity == o.affinity && slices.Equal(l.targets, o.targets)
}

// host reports whether the front is for the fleet's other nodes only.
func (l led) host() bool { return l.kind == runtime.FrontHost }

type fronts map[front]led

// balance is all that one family's table balances. It is not changed once made.
type balance struct {
	fronts   fronts
	fleet    []netip.Addr   // sorted
	services []netip.Prefix // sorted
}

func (b balance) equal(o balance) bool {
	return maps.EqualFunc(b.fronts, o.fronts, led.equal) && slices.Equal(b.fleet, o.fleet) && slices.Equal(b.services, o.services)
}

func (b balance) serves(a netip.Addr) bool {
	return slices.ContainsFunc(b.services, func(p netip.Prefix) bool { return p.Contains(a) })
}

var protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}

// parse checks what is to be balanced, all of it: one bad front means that
// nothing changes. It returns one balance for each of the families, and what is
// sound but nothing that this node can open.
func (m *memory) parse(families []family, b runtime.Balancing) (want []balance, left, err error) {
	if len(b.Fronts) > maxFronts {
		return nil, nil, fmt.Errorf("%d ports are more than the %d one node balances: %w", len(b.Fronts), maxFronts, runtime.ErrInvalid)
	}
	all, err := parseAround(families, b)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, runtime.ErrInvalid)
	}
	p := parser{families: families, balances: all, elements: make([]int, len(families)), given: b.Fronts,
		before: m.fronts, now: make([]parsedFront, 0, len(b.Fronts))}
	for i := range b.Fronts {
		if err := p.add(i); err != nil {
			return nil, nil, fmt.Errorf("%s: %w: %w", describe(b.Fronts[i]), err, runtime.ErrInvalid)
		}
	}
	m.fronts = p.now
	return all, errors.Join(p.left...), nil
}

// memory is what fronts were read as last time, in the order they were given:
// reading 10,000 targets takes longer than all else that Balance does when
// little changes.
type memory struct{ fronts []parsedFront }

type frontID struct {
	kind              runtime.FrontKind
	address, protocol string
	port              int
}

type parsedFront struct {
	id     frontID
	given  []runtime.Target
	parsed []netip.AddrPort
}

// describe names a front for people.
func describe(f runtime.Front) string {
	switch f.Kind {
	case runtime.FrontService:
		return fmt.Sprintf("service address %s port %d/%s of %s", f.Address, f.Port, f.Protocol, f.Service)
	case runtime.FrontHost:
		return fmt.Sprintf("host port %d/%s of %s", f.Port, f.Protocol, f.Service)
	default:
		return fmt.Sprintf("publish port %d/%s of %s", f.Port, f.Protocol, f.Service)
	}
}

// parseAround reads all but the fronts.
func parseAround(families []family, b runtime.Balancing) ([]balance, error) {
	all := make([]balance, len(families))
	for k, f := range families {
		all[k].fronts = make(fronts, len(b.Fronts))
		if b.Fleet == nil {
			continue
		}
		all[k].fleet = make([]netip.Addr, 0, len(b.Fleet))
		for _, s := range b.Fleet {
			a, err := parseUnicast(s)
			if err != nil {
				return nil, fmt.Errorf("node of the fleet %w", err)
			}
			if f.has(a) {
				all[k].fleet = append(all[k].fleet, a)
			}
		}
		slices.SortFunc(all[k].fleet, netip.Addr.Compare)
		all[k].fleet = slices.Compact(all[k].fleet)
	}
	if len(b.Fleet) > maxFleet {
		return nil, fmt.Errorf("%d nodes are more than %d", len(b.Fleet), maxFleet)
	}
	for _, s := range b.Services {
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Masked() != p || p.Addr().Is4In6() || p.Bits() < 8 || !lastOf(p).Next().IsValid() {
			return nil, fmt.Errorf("range of service addresses %q: want a network of at least /8, such as 10.232.0.0/16", s)
		}
		for k, f := range families {
			if !f.has(p.Addr()) {
				continue
			}
			if p.Overlaps(f.subnet) {
				return nil, fmt.Errorf("range of service addresses %s overlaps the subnet of instances %s", p, f.subnet)
			}
			if len(all[k].services) > 0 {
				return nil, fmt.Errorf("ranges of service addresses %s and %s: want one of a family", all[k].services[0], p)
			}
			all[k].services = append(all[k].services, p)
		}
	}
	return all, nil
}

// parser adds fronts to the balances.
type parser struct {
	families []family
	balances []balance
	elements []int // so far, by family
	given    []runtime.Front
	left     []error

	before, now []parsedFront
	byID        map[frontID]parsedFront // of before, once the order is another
}

func (p *parser) add(source int) error {
	f := p.given[source]
	proto := protocols[f.Protocol]
	if proto == 0 {
		return fmt.Errorf("protocol %q: want tcp or udp", f.Protocol)
	}
	if f.Port < 1 || f.Port > 65535 {
		return errors.New("want a port of 1 to 65535")
	}
	if f.Address == "" && f.Kind == runtime.FrontService {
		return errors.New("no address")
	}
	var addr netip.Addr
	if f.Address != "" {
		var err error
		if addr, err = netip.ParseAddr(f.Address); err != nil || addr.Is4In6() || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() {
			return fmt.Errorf("address %q: want an IPv4 or IPv6 address", f.Address)
		}
	}
	if len(f.Targets) > maxTargets {
		return fmt.Errorf("%d targets are more than %d", len(f.Targets), maxTargets)
	}
	targets, err := p.targets(f)
	if err != nil {
		return err
	}
	if addr.Is6() && f.Kind == runtime.FrontPublished && (addr.IsLoopback() || len(p.families) == 1) {
		why := "the node's network has no IPv6"
		if addr.IsLoopback() {
			why = "the kernel leads nothing away from ::1: publish it on 127.0.0.1"
		}
		p.left = append(p.left, fmt.Errorf("port %d/%s of %s is not opened on %s: %s: %w", f.Port, f.Protocol, f.Service, addr, why, runtime.ErrInvalid))
		return nil
	}
	for k, family := range p.families {
		if !addr.IsValid() || family.has(addr) {
			if err := p.addTo(k, addr, proto, source, targets); err != nil {
				return err
			}
		}
	}
	return nil
}

// addTo adds a front to the balance of one family.
func (p *parser) addTo(k int, addr netip.Addr, proto uint8, source int, targets []netip.AddrPort) error {
	f, family, b := p.given[source], p.families[k], p.balances[k]
	if !addr.IsValid() {
		addr = family.any
	}
	if f.Kind == runtime.FrontService && !b.serves(addr) {
		return fmt.Errorf("the address is in no range of service addresses")
	}
	at, l := front{addr, proto, uint16(f.Port)}, led{kind: f.Kind, affinity: f.Affinity, source: source}
	// The targets are sorted, IPv4 before IPv6.
	first, _ := slices.BinarySearchFunc(targets, 128, func(t netip.AddrPort, bits int) int { return cmp.Compare(t.Addr().BitLen(), bits) })
	if l.targets = targets[:first]; family.addrLen == 16 {
		l.targets = targets[first:]
	}
	if other, taken := b.fronts[at]; taken {
		return fmt.Errorf("%s has it already", p.given[other.source].Service)
	}
	if len(l.targets) == 0 && f.Kind == runtime.FrontService {
		return nil // as any address of the range that is no front
	}
	if l.affinity && len(l.targets) > 0 {
		p.elements[k] += buckets
	} else {
		p.elements[k] += len(l.targets)
	}
	if p.elements[k] > maxElements {
		return fmt.Errorf("more targets than the %d of one node", maxElements)
	}
	b.fronts[at] = l
	return nil
}

func (p *parser) targets(f runtime.Front) ([]netip.AddrPort, error) {
	now := parsedFront{id: frontID{f.Kind, f.Address, f.Protocol, f.Port}}
	was := p.remembered(now.id)
	if slices.Equal(was.given, f.Targets) {
		now.given, now.parsed = was.given, was.parsed
	} else {
		var err error
		now.given = slices.Clone(f.Targets)
		if now.parsed, err = parseTargets(f.Targets); err != nil {
			return nil, err
		}
	}
	p.now = append(p.now, now)
	return now.parsed, nil
}

// remembered is what the front was read as last time: most often at the same
// place in the list.
func (p *parser) remembered(id frontID) parsedFront {
	if k := len(p.now); k < len(p.before) && p.before[k].id == id {
		return p.before[k]
	}
	if p.byID == nil {
		p.byID = make(map[frontID]parsedFront, len(p.before))
		for _, f := range p.before {
			p.byID[f.id] = f
		}
	}
	return p.byID[id]
}

// parseTargets sorts the targets and drops repetitions, so that equal sets are
// equal values.
func parseTargets(targets []runtime.Target) ([]netip.AddrPort, error) {
	all := make([]netip.AddrPort, 0, len(targets))
	for _, t := range targets {
		a, err := parseTarget(t)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if !slices.IsSortedFunc(all, netip.AddrPort.Compare) {
		slices.SortFunc(all, netip.AddrPort.Compare)
	}
	return slices.Compact(all), nil
}

func parseTarget(t runtime.Target) (netip.AddrPort, error) {
	addr, err := parseUnicast(t.Address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("target %w", err)
	}
	if t.Port < 1 || t.Port > 65535 {
		return netip.AddrPort{}, fmt.Errorf("target %s port %d: want 1 to 65535", t.Address, t.Port)
	}
	return netip.AddrPortFrom(addr, uint16(t.Port)), nil
}

// parseUnicast reads the address of one host, as seen from others.
func parseUnicast(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" || addr.IsLinkLocalUnicast() {
		return addr, fmt.Errorf("%q: want an IPv4 or IPv6 address", s)
	}
	if addr.IsLoopback() {
		// The kernel would have to route 127/8 from outside.
		return addr, fmt.Errorf("%q: loopback cannot be reached from outside, name an address of the node", s)
	}
	return addr, nil
}

// spreads are the chains that the fronts need.
func (fs fronts) spreads(family family) map[spread]bool {
	need := map[spread]bool{}
	for f, l := range fs {
		if len(l.targets) > 0 {
			need[f.spread(family, l)] = true
		}
	}
	return need
}

func (f front) spread(family family, l led) spread {
	s := spread{any: f.addr == family.any, over: len(l.targets)}
	if l.affinity {
		s.over = byClient
	}
	return s
}

func (f front) compare(o front) int {
	return cmp.Or(f.addr.Compare(o.addr), cmp.Compare(f.proto, o.proto), cmp.Compare(f.port, o.port))
}
