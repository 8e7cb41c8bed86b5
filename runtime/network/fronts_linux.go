package network

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Bounds of what one node publishes. They keep a transaction within what the
// kernel takes in one piece.
const (
	maxPorts   = 8192
	maxTargets = 1024 // per port
)

// front is one published port. addr 0.0.0.0 = every address of the node.
type front struct {
	addr  netip.Addr
	proto uint8
	port  uint16
}

// fronts is everything published: targets by front, sorted. A front without
// targets refuses connections.
type fronts map[front][]netip.AddrPort

var anyAddr = netip.IPv4Unspecified()

var protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}

// parseFronts checks what is to be published, all of it: one bad port means
// that nothing changes. owner says whose each is.
func parseFronts(ports []runtime.PublishedPort) (fronts, map[front]runtime.PublishedPort, error) {
	if len(ports) > maxPorts {
		return nil, nil, fmt.Errorf("%d ports are more than the %d one node publishes: %w", len(ports), maxPorts, runtime.ErrInvalid)
	}
	all, owner := fronts{}, map[front]runtime.PublishedPort{}
	for _, p := range ports {
		f, err := parseFront(p)
		if err != nil {
			return nil, nil, fmt.Errorf("publish port %d/%s of %s: %w: %w", p.Port, p.Protocol, p.Service, err, runtime.ErrInvalid)
		}
		if other, taken := owner[f]; taken {
			return nil, nil, fmt.Errorf("publish port %d/%s of %s: %s publishes it already: %w", p.Port, p.Protocol, p.Service, other.Service, runtime.ErrInvalid)
		}
		targets, err := parseTargets(p.Targets)
		if err != nil {
			return nil, nil, fmt.Errorf("publish port %d/%s of %s: %w: %w", p.Port, p.Protocol, p.Service, err, runtime.ErrInvalid)
		}
		owner[f], all[f] = p, targets
	}
	return all, owner, nil
}

func parseFront(p runtime.PublishedPort) (front, error) {
	f := front{addr: anyAddr, proto: protocols[p.Protocol], port: uint16(p.Port)}
	if f.proto == 0 {
		return f, fmt.Errorf("protocol %q: want tcp or udp", p.Protocol)
	}
	if p.Port < 1 || p.Port > 65535 {
		return f, fmt.Errorf("want 1 to 65535")
	}
	if p.Address != "" {
		addr, err := netip.ParseAddr(p.Address)
		if err != nil || !addr.Is4() {
			return f, fmt.Errorf("address %q: want an IPv4 address", p.Address)
		}
		f.addr = addr
	}
	return f, nil
}

// parseTargets sorts the targets and drops repetitions, so that equal sets are
// equal values.
func parseTargets(targets []runtime.Target) ([]netip.AddrPort, error) {
	if len(targets) > maxTargets {
		return nil, fmt.Errorf("%d targets are more than %d", len(targets), maxTargets)
	}
	all := make([]netip.AddrPort, 0, len(targets))
	for _, t := range targets {
		addr, err := netip.ParseAddr(t.Address)
		if err != nil || !addr.Is4() || addr.IsUnspecified() || addr.IsMulticast() {
			return nil, fmt.Errorf("target %q: want an IPv4 address", t.Address)
		}
		if addr.IsLoopback() {
			// The kernel would have to route 127/8 from outside.
			return nil, fmt.Errorf("target %q: loopback cannot be reached from outside, name an address of the node", t.Address)
		}
		if t.Port < 1 || t.Port > 65535 {
			return nil, fmt.Errorf("target %s port %d: want 1 to 65535", t.Address, t.Port)
		}
		all = append(all, netip.AddrPortFrom(addr, uint16(t.Port)))
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all), nil
}

// change is what must be taken from and given to the three sets.
type change struct{ del, add elements }

type elements struct{ dispatch, targets, refused []nftables.SetElement }

// Every front has one element in dispatch.
func (c change) empty() bool { return len(c.del.dispatch)+len(c.add.dispatch) == 0 }

func (c change) concerns(protocol uint8) bool {
	return slices.ContainsFunc(slices.Concat(c.del.dispatch, c.add.dispatch), func(e nftables.SetElement) bool {
		return frontOf(e.Key).proto == protocol
	})
}

// diff compares by front: one whose targets differ is replaced whole, all
// others are not mentioned.
func diff(have, want fronts) change {
	var c change
	for _, f := range have.sorted() {
		if targets, ok := want[f]; !ok || !slices.Equal(targets, have[f]) {
			c.del.append(f, have[f])
		}
	}
	for _, f := range want.sorted() {
		if targets, ok := have[f]; !ok || !slices.Equal(targets, want[f]) {
			c.add.append(f, want[f])
		}
	}
	return c
}

func (e *elements) append(f front, targets []netip.AddrPort) {
	key := f.key()
	verdict := &expr.Verdict{Kind: expr.VerdictAccept}
	if len(targets) == 0 {
		e.refused = append(e.refused, nftables.SetElement{Key: key})
	} else {
		verdict = &expr.Verdict{Kind: expr.VerdictGoto, Chain: f.spread(len(targets))}
	}
	e.dispatch = append(e.dispatch, nftables.SetElement{Key: key, VerdictData: verdict})
	for i, t := range targets {
		e.targets = append(e.targets, nftables.SetElement{
			Key: append(slices.Clip(key), binaryutil.NativeEndian.PutUint32(uint32(i))...),
			Val: targetValue(t),
		})
	}
}

func (fs fronts) sorted() []front {
	keys := make([]front, 0, len(fs))
	for f := range fs {
		keys = append(keys, f)
	}
	slices.SortFunc(keys, front.compare)
	return keys
}

// spreads are the chains that the fronts need, by name, with the number of
// targets each spreads over.
func (fs fronts) spreads() map[string]spread {
	need := map[string]spread{}
	for f, targets := range fs {
		if len(targets) > 0 {
			need[f.spread(len(targets))] = spread{any: f.addr == anyAddr, over: len(targets)}
		}
	}
	return need
}

// spread is a chain that picks one of so many targets of the front the packet
// came to; one chain serves all fronts with that number.
type spread struct {
	any  bool
	over int
}

func (f front) spread(over int) string {
	if f.addr == anyAddr {
		return fmt.Sprintf("any-%d", over)
	}
	return fmt.Sprintf("one-%d", over)
}

func (f front) compare(o front) int {
	return cmp.Or(f.addr.Compare(o.addr), cmp.Compare(f.proto, o.proto), cmp.Compare(f.port, o.port))
}

// key is the concatenation address . protocol . port as the kernel lays it
// out: each part padded to 4 bytes.
func (f front) key() []byte {
	k := make([]byte, frontKeyLen)
	copy(k, f.addr.AsSlice())
	k[4] = f.proto
	binary.BigEndian.PutUint16(k[8:], f.port)
	return k
}

const (
	frontKeyLen  = 12
	targetKeyLen = frontKeyLen + 4
	targetLen    = 8
)

func frontOf(key []byte) front {
	return front{addr: netip.AddrFrom4([4]byte(key)), proto: key[4], port: binary.BigEndian.Uint16(key[8:])}
}

func targetValue(t netip.AddrPort) []byte {
	v := make([]byte, targetLen)
	copy(v, t.Addr().AsSlice())
	binary.BigEndian.PutUint16(v[4:], t.Port())
	return v
}

func targetOf(v []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(v)), binary.BigEndian.Uint16(v[4:]))
}
