package network

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"github.com/orpheus-cd/orpheus/runtime"
)

// The sets of a table. dispatch, services and hosts name the chain that leads
// on from a front of their kind (the kernel follows every path to a chain when
// one is added: each map is on few); targets has the targets of all fronts, by front and number; refused
// and hosts-refused have the fronts without targets. The last three are
// written by the kernel as packets pass, and fade.
const (
	setDispatch     = "dispatch"
	setServices     = "services"
	setHosts        = "hosts"
	setTargets      = "targets"
	setRefused      = "refused"
	setHostsRefused = "hosts-refused"
	setFleet        = "fleet"
	setRanges       = "ranges"
	setTried        = "tried"
	setAnswered     = "answered"
	setResets       = "resets"
)

// ourSets are those we write, in the order of writing: a front is dispatched
// when its targets are there.
var ourSets = []string{setTargets, setRefused, setHostsRefused, setFleet, setRanges, setDispatch, setServices, setHosts}

// setIDs are how a transaction calls the sets.
var setIDs = map[string]uint32{
	setDispatch: 1, setTargets: 2, setRefused: 3, setHosts: 4, setHostsRefused: 5,
	setFleet: 6, setRanges: 7, setServices: 8, setTried: 9, setAnswered: 10, setResets: 11,
}

// trafficWindow is for how long the kernel remembers a target's last
// connection, and maxTraffic how many targets: beyond it, new ones are not
// noted.
const (
	trafficWindow = 5 * time.Second
	maxTraffic    = 65536
)

// newSets describes the sets of a family's table.
func newSets(f family, table *nftables.Table) map[string]*nftables.Set {
	frontType := nftables.MustConcatSetType(f.addrType, nftables.TypeInetProto, nftables.TypeInetService)
	pickType := nftables.MustConcatSetType(f.addrType, nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeMark)
	targetType := nftables.MustConcatSetType(f.addrType, nftables.TypeInetService)
	all := map[string]*nftables.Set{
		setDispatch:     {IsMap: true, Concatenation: true, KeyType: frontType, DataType: nftables.TypeVerdict},
		setServices:     {IsMap: true, Concatenation: true, KeyType: frontType, DataType: nftables.TypeVerdict},
		setHosts:        {IsMap: true, Concatenation: true, KeyType: frontType, DataType: nftables.TypeVerdict},
		setTargets:      {IsMap: true, Concatenation: true, KeyType: pickType, DataType: targetType},
		setRefused:      {Concatenation: true, KeyType: frontType},
		setHostsRefused: {Concatenation: true, KeyType: frontType},
		setFleet:        {KeyType: f.addrType},
		setRanges:       {KeyType: f.addrType, Interval: true},
	}
	for _, name := range []string{setTried, setAnswered, setResets} {
		all[name] = &nftables.Set{Concatenation: true, KeyType: frontType, Dynamic: true, HasTimeout: true, Timeout: trafficWindow, Size: maxTraffic}
	}
	for name, s := range all {
		s.Table, s.Name, s.ID = table, name, setIDs[name]
	}
	return all
}

// elements are what must be taken from or given to sets, by set.
type elements map[string][]nftables.SetElement

// change is what differs between two balances.
type change struct {
	del, add elements
	// udp: where UDP packets go differs; unled: also of those that nothing led
	// before.
	udp, unled bool
}

func (c change) empty() bool { return len(c.del)+len(c.add) == 0 }

// diff compares element by element of the fronts that differ.
func (f family) diff(have, want balance) change {
	c := change{del: elements{}, add: elements{}}
	for _, at := range differing(have.fronts, want.fronts) {
		f.diffFront(&c, at, have.fronts[at], want.fronts[at], have.fronts.has(at), want.fronts.has(at))
		if at.proto == protocols["udp"] {
			was, had := have.fronts[at]
			is := want.fronts[at]
			// Packets to the range of services were led or refused. Of what is
			// refused the kernel remembers nothing.
			opened := want.fronts.has(at) && is.kind != runtime.FrontService && (!had || was.kind != is.kind)
			c.udp, c.unled = true, c.unled || opened
		}
	}
	for _, a := range have.fleet {
		if _, stays := slices.BinarySearchFunc(want.fleet, a, netip.Addr.Compare); !stays {
			c.del[setFleet] = append(c.del[setFleet], nftables.SetElement{Key: a.AsSlice()})
			c.udp = true
		}
	}
	for _, a := range want.fleet {
		if _, was := slices.BinarySearchFunc(have.fleet, a, netip.Addr.Compare); !was {
			c.add[setFleet] = append(c.add[setFleet], nftables.SetElement{Key: a.AsSlice()})
			c.udp, c.unled = true, true
		}
	}
	if !slices.Equal(have.services, want.services) {
		c.del[setRanges] = rangeElements(have.services)
		c.add[setRanges] = rangeElements(want.services)
		c.udp, c.unled = true, true
	}
	return c
}

func (fs fronts) has(f front) bool { _, ok := fs[f]; return ok }

// differing are the fronts that are not the same in both, sorted.
func differing(have, want fronts) []front {
	var all []front
	for at, l := range want {
		if was, ok := have[at]; !ok || !l.equal(was) {
			all = append(all, at)
		}
	}
	for at := range have {
		if !want.has(at) {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, front.compare)
	return all
}

func (f family) diffFront(c *change, at front, have, want led, had, wanted bool) {
	key := at.key()
	old, young := f.dispatch(at, have, had), f.dispatch(at, want, wanted)
	if old != young {
		old.put(c.del, key)
		young.put(c.add, key)
	}
	from, to := have.picks(), want.picks()
	for i := range max(len(from), len(to)) {
		if i < len(from) && i < len(to) && from[i] == to[i] {
			continue
		}
		pick := append(slices.Clip(key), binaryutil.NativeEndian.PutUint32(uint32(i))...)
		if i < len(from) {
			c.del[setTargets] = append(c.del[setTargets], nftables.SetElement{Key: pick, Val: targetValue(from[i])})
		}
		if i < len(to) {
			c.add[setTargets] = append(c.add[setTargets], nftables.SetElement{Key: pick, Val: targetValue(to[i])})
		}
	}
}

// picks are the targets by number, as the front's spreading chain draws it.
func (l led) picks() []netip.AddrPort {
	if l.affinity {
		return byBucket(l.targets)
	}
	return l.targets
}

// dispatch says which sets have a front, and the chain it goes to: "" = it is
// refused.
type dispatch struct{ set, refused, chain string }

func (f family) dispatch(at front, l led, there bool) dispatch {
	d := dispatch{set: setDispatch, refused: setRefused}
	switch {
	case !there:
		return dispatch{}
	case l.kind == runtime.FrontHost:
		d = dispatch{set: setHosts, refused: setHostsRefused}
	case l.kind == runtime.FrontService:
		d.set = setServices
	}
	if len(l.targets) > 0 {
		d.refused, d.chain = "", at.spread(f, l).name()
	}
	return d
}

func (d dispatch) put(to elements, key []byte) {
	if d.set == "" {
		return
	}
	v := &expr.Verdict{Kind: expr.VerdictAccept}
	if d.chain != "" {
		v = &expr.Verdict{Kind: expr.VerdictGoto, Chain: d.chain}
	}
	to[d.set] = append(to[d.set], nftables.SetElement{Key: key, VerdictData: v})
	if d.refused != "" {
		to[d.refused] = append(to[d.refused], nftables.SetElement{Key: key})
	}
}

// spread is a chain that picks a target of the front the packet came to; one
// chain serves all fronts with as many.
type spread struct {
	any  bool
	over int // number of targets, or byClient
}

const byClient = 0

func (s spread) name() string {
	prefix, over := "one-", "hash"
	if s.any {
		prefix = "any-"
	}
	if s.over != byClient {
		over = strconv.Itoa(s.over)
	}
	return prefix + over
}

func (s spread) compare(o spread) int {
	return strings.Compare(s.name(), o.name())
}

// parseSpread reads what name wrote.
func parseSpread(name string) (spread, bool) {
	prefix, over, _ := strings.Cut(name, "-")
	s := spread{any: prefix == "any"}
	if over != "hash" {
		n, err := strconv.ParseUint(over, 10, 31)
		if err != nil || n == byClient || n > math.MaxInt32 {
			return s, false
		}
		s.over = int(n)
	}
	return s, s.name() == name
}

// key is the concatenation address . protocol . port as the kernel lays it
// out: each part padded to 4 bytes.
func (f front) key() []byte {
	k := append(make([]byte, 0, 28), f.addr.AsSlice()...)
	return append(k, f.proto, 0, 0, 0, byte(f.port>>8), byte(f.port), 0, 0)
}

func (f family) frontOf(key []byte) (front, bool) {
	if len(key) != f.addrLen+8 {
		return front{}, false
	}
	addr, ok := netip.AddrFromSlice(key[:f.addrLen])
	return front{addr, key[f.addrLen], binary.BigEndian.Uint16(key[f.addrLen+4:])}, ok
}

func targetValue(t netip.AddrPort) []byte {
	p := t.Port()
	return append(t.Addr().AsSlice(), byte(p>>8), byte(p), 0, 0)
}

func (f family) targetOf(v []byte) (netip.AddrPort, bool) {
	if len(v) != f.addrLen+4 {
		return netip.AddrPort{}, false
	}
	addr, ok := netip.AddrFromSlice(v[:f.addrLen])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(v[f.addrLen:])), ok
}

// rangeElements are networks as the kernel has them: the first address, and the
// first that is outside.
func rangeElements(ranges []netip.Prefix) []nftables.SetElement {
	var all []nftables.SetElement
	for _, p := range ranges {
		all = append(all,
			nftables.SetElement{Key: p.Addr().AsSlice()},
			nftables.SetElement{Key: lastOf(p).Next().AsSlice(), IntervalEnd: true})
	}
	return all
}

// rangesOf reads what rangeElements wrote; false if it cannot have.
func rangesOf(all []nftables.SetElement) ([]netip.Prefix, bool) {
	var starts, ends []netip.Addr
	for _, e := range all {
		a, ok := netip.AddrFromSlice(e.Key)
		if !ok {
			return nil, false
		}
		if e.IntervalEnd {
			ends = append(ends, a)
		} else {
			starts = append(starts, a)
		}
	}
	slices.SortFunc(starts, netip.Addr.Compare)
	slices.SortFunc(ends, netip.Addr.Compare)
	if len(starts) != len(ends) {
		return nil, false
	}
	var ranges []netip.Prefix
	for i, start := range starts {
		for bits := range start.BitLen() + 1 {
			if p, err := start.Prefix(bits); err == nil && p.Addr() == start && lastOf(p).Next() == ends[i] {
				ranges = append(ranges, p)
			}
		}
	}
	return ranges, len(ranges) == len(starts)
}

// lastOf is the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(a)*8; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(a)
	return last
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// each hands the elements to do in pieces that fit a message, whose attributes
// hold 64 KiB.
func (e elements) each(sets map[string]*nftables.Set, do func(*nftables.Set, []nftables.SetElement) error) error {
	const perMessage = 256
	for _, name := range ourSets {
		for some := range slices.Chunk(e[name], perMessage) {
			if err := do(sets[name], some); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	return nil
}
