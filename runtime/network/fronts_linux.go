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

// parse reads what is to be balanced, one balance for each of the families. A
// front that makes no sense, or that this node cannot open, is left out; ranges
// and nodes of the fleet that make none are an error. Host ports come first: of
// two that want one port it is the published one that somebody can change.
func (m *memory) parse(families []family, b runtime.Balancing) (want []balance, left runtime.LeftOutError, err error) {
	all, err := parseAround(families, b)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, runtime.ErrInvalid)
	}
	p := parser{families: families, balances: all, elements: make([]int, len(families)), given: b.Fronts,
		before: m.fronts, now: make([]parsedFront, 0, len(b.Fronts))}
	for _, host := range []bool{true, false} {
		for i, f := range b.Fronts {
			if host != (f.Kind == runtime.FrontHost) {
				continue
			}
			if err := p.add(i); err != nil {
				left = append(left, runtime.LeftOut{Front: f, Reason: err.Error()})
			}
		}
	}
	m.fronts = p.now
	return all, left, nil
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
	count    int // of fronts so far

	before, now []parsedFront
	byID        map[frontID]parsedFront // of before, once the order is another
}

// add adds a front to the balances, to all of those that it concerns or to
// none.
func (p *parser) add(source int) error {
	f := p.given[source]
	addr, err := p.check(f)
	if err != nil {
		return err
	}
	targets, err := p.targets(f)
	if err != nil {
		return err
	}
	var opened []opened
	for k, family := range p.families {
		if addr.IsValid() && !family.has(addr) {
			continue
		}
		o, err := p.open(k, addr, source, targets)
		if err != nil {
			return err
		}
		opened = append(opened, o)
	}
	p.count++
	for _, o := range opened {
		p.elements[o.family] += o.size()
		if len(o.targets) > 0 || f.Kind != runtime.FrontService { // else as any address of the range that is no front
			p.balances[o.family].fronts[o.at] = o.led
		}
	}
	return nil
}

// check looks at all of a front but its targets and returns its address.
func (p *parser) check(f runtime.Front) (addr netip.Addr, err error) {
	switch {
	case p.count == maxFronts:
		return addr, fmt.Errorf("one node balances no more than %d ports", maxFronts)
	case protocols[f.Protocol] == 0:
		return addr, fmt.Errorf("protocol %q: want tcp or udp", f.Protocol)
	case f.Port < 1 || f.Port > 65535:
		return addr, errors.New("want a port of 1 to 65535")
	case len(f.Targets) > maxTargets:
		return addr, fmt.Errorf("%d targets are more than %d", len(f.Targets), maxTargets)
	case f.Address == "" && f.Kind == runtime.FrontService:
		return addr, errors.New("no address")
	case f.Address == "":
		return addr, nil
	}
	if addr, err = netip.ParseAddr(f.Address); err != nil || addr.Is4In6() || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() {
		return addr, fmt.Errorf("address %q: want an IPv4 or IPv6 address", f.Address)
	}
	switch published := f.Kind == runtime.FrontPublished; {
	case published && addr.Is6() && addr.IsLoopback():
		return addr, errors.New("the kernel leads nothing away from ::1: publish it on 127.0.0.1")
	case published && addr.Is6() && len(p.families) == 1:
		return addr, errors.New("the node's network has no IPv6")
	}
	return addr, nil
}

// opened is a front of one family.
type opened struct {
	family int
	at     front
	led
}

// open makes a front of one family of what is given.
func (p *parser) open(k int, addr netip.Addr, source int, targets []netip.AddrPort) (opened, error) {
	f, family, b := p.given[source], p.families[k], p.balances[k]
	if !addr.IsValid() {
		addr = family.any
	}
	if f.Kind == runtime.FrontService && !b.serves(addr) {
		return opened{}, errors.New("the address is in no range of service addresses")
	}
	o := opened{k, front{addr, protocols[f.Protocol], uint16(f.Port)}, led{kind: f.Kind, affinity: f.Affinity, source: source}}
	// The targets are sorted, IPv4 before IPv6.
	first, _ := slices.BinarySearchFunc(targets, 128, func(t netip.AddrPort, bits int) int { return cmp.Compare(t.Addr().BitLen(), bits) })
	if o.targets = targets[:first]; family.addrLen == 16 {
		o.targets = targets[first:]
	}
	if other, taken := b.fronts[o.at]; taken {
		return opened{}, fmt.Errorf("%s of %s has it already", other.what(), p.given[other.source].Service)
	}
	if p.elements[k]+o.size() > maxElements {
		return opened{}, fmt.Errorf("more targets than the %d of one node", maxElements)
	}
	return o, nil
}

// size is the number of elements that the targets take: of picks.
func (l led) size() int {
	if l.affinity && len(l.targets) > 0 {
		return buckets
	}
	return len(l.targets)
}

// what names the kind of a front for people.
func (l led) what() string {
	switch l.kind {
	case runtime.FrontHost:
		return "a host port"
	case runtime.FrontPublished:
		return "a published port"
	default:
		return "an address"
	}
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
