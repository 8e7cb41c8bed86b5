package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The table, as `nft list table ip orpheus` shows it:
//
//	prerouting, output (nat)  to one of the node's addresses?  →  jump fronts
//	fronts                    address . protocol . port vmap @dispatch, else 0.0.0.0 . protocol . port
//	any-3, one-3              dnat to front . random(3) map @targets
//	postrouting (nat)         masquerade: out of the subnet, from loopback, instance to instance
//	input                     front in @refused → refuse: tcp reset, else icmp port unreachable
//	forward                   to an instance only what was published, and answers
//	guard (raw)               127/8 from outside, other sources from the bridge → drop
//
// Only elements and the spreading chains change when ports do; a packet costs
// two look-ups however many ports there are.

const (
	setDispatch = "dispatch"
	setTargets  = "targets"
	setRefused  = "refused"
)

// chain is one chain with its rules, as wanted.
type chain struct {
	name     string
	hook     *nftables.ChainHook // nil = reached by jump only
	kind     nftables.ChainType
	priority nftables.ChainPriority
	rules    []rule
}

type rule struct {
	comment string // says why; also how a rule is known again
	exprs   []expr.Any
}

// staticChains are those that do not depend on what is published.
func staticChains(cfg Config) []chain {
	b := build{bridge: cfg.Bridge, subnet: cfg.Subnet}
	nat, filter := nftables.ChainTypeNAT, nftables.ChainTypeFilter
	return []chain{
		{name: "refuse", rules: []rule{
			{"no instance is ready", exprs(b.proto(unix.IPPROTO_TCP), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})},
			{"no instance is ready", exprs(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: icmpPortUnreachable})},
		}},
		{name: "fronts", rules: []rule{
			{"published on this address", exprs(b.front(false), b.vmap())},
			{"published on every address", exprs(b.front(true), b.vmap())},
		}},
		{name: "guard", hook: nftables.ChainHookPrerouting, kind: filter, priority: *nftables.ChainPriorityRaw, rules: []rule{
			{"loopback is not for others", exprs(b.iif(false, "lo"), b.in(daddr, loopbackNet, true), b.verdict(expr.VerdictDrop, ""))},
			{"nobody else is loopback", exprs(b.iif(false, "lo"), b.in(saddr, loopbackNet, true), b.verdict(expr.VerdictDrop, ""))},
			{"not an address of an instance", exprs(b.iif(true, b.bridge), b.in(saddr, b.subnet, false), b.verdict(expr.VerdictDrop, ""))},
		}},
		{name: "prerouting", hook: nftables.ChainHookPrerouting, kind: nat, priority: *nftables.ChainPriorityNATDest, rules: []rule{
			{"to this node", exprs(b.toLocal(), b.verdict(expr.VerdictJump, "fronts"))},
		}},
		{name: "output", hook: nftables.ChainHookOutput, kind: nat, priority: *nftables.ChainPriorityNATDest, rules: []rule{
			{"from this node to itself", exprs(b.toLocal(), b.verdict(expr.VerdictJump, "fronts"))},
		}},
		{name: "postrouting", hook: nftables.ChainHookPostrouting, kind: nat, priority: *nftables.ChainPriorityNATSource, rules: []rule{
			{"instances to the world", exprs(b.in(saddr, b.subnet, true), b.oif(false, b.bridge), &expr.Masq{})},
			{"loopback to a published port", exprs(b.in(saddr, loopbackNet, true), b.oif(true, b.bridge), &expr.Masq{})},
			{"instance to a published port", exprs(b.in(saddr, b.subnet, true), b.oif(true, b.bridge), b.dnated(true), &expr.Masq{})},
		}},
		{name: "input", hook: nftables.ChainHookInput, kind: filter, priority: *nftables.ChainPriorityFilter, rules: []rule{
			{"published on this address", exprs(b.fresh(), b.dnated(false), b.front(false), b.member(), b.verdict(expr.VerdictGoto, "refuse"))},
			{"published on every address", exprs(b.fresh(), b.dnated(false), b.front(true), b.member(), b.verdict(expr.VerdictGoto, "refuse"))},
		}},
		{name: "forward", hook: nftables.ChainHookForward, kind: filter, priority: *nftables.ChainPriorityFilter, rules: []rule{
			{"answers", exprs(b.oif(true, b.bridge), b.iif(false, b.bridge), b.answers(), b.verdict(expr.VerdictAccept, ""))},
			{"published", exprs(b.oif(true, b.bridge), b.iif(false, b.bridge), b.dnated(true), b.verdict(expr.VerdictAccept, ""))},
			{"not published", exprs(b.oif(true, b.bridge), b.iif(false, b.bridge), b.verdict(expr.VerdictDrop, ""))},
		}},
	}
}

// spreadChain sends a packet to one of the targets of its front, at random.
func spreadChain(name string, s spread) chain {
	var b build
	return chain{name: name, rules: []rule{{fmt.Sprintf("one of %d", s.over), exprs(
		b.front(s.any),
		&expr.Numgen{Register: regPick, Modulus: uint32(s.over), Type: unix.NFT_NG_RANDOM},
		&expr.Lookup{SourceRegister: regAddr, DestRegister: regAddr, IsDestRegSet: true, SetName: setTargets},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: regAddr, RegProtoMin: regProto},
	)}}}
}

// sign returns a short digest of all that staticChains and spreadChain write.
// Every comment carries it: a table made by another version, or for another
// subnet, does not pass for ours.
func sign(cfg Config) (string, error) {
	h := sha256.New()
	for _, c := range append(staticChains(cfg), spreadChain("any", spread{any: true, over: 2}), spreadChain("one", spread{over: 2})) {
		if c.hook != nil {
			fmt.Fprintln(h, *c.hook, c.kind, c.priority)
		}
		fmt.Fprintln(h, c.name)
		for _, r := range c.rules {
			fmt.Fprintln(h, r.comment)
			for _, e := range r.exprs {
				b, err := expr.Marshal(unix.NFPROTO_IPV4, e)
				if err != nil {
					return "", fmt.Errorf("rule %q of chain %s: %w", r.comment, c.name, err)
				}
				h.Write(b)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:4]), nil
}

// Registers of 4 bytes, in the order of the keys; a looked-up target lies in
// the first two.
const (
	regAddr  = unix.NFT_REG32_00
	regProto = unix.NFT_REG32_01
	regPort  = unix.NFT_REG32_02
	regPick  = unix.NFT_REG32_03
)

const (
	icmpPortUnreachable = 3
	ctStatusDNAT        = 1 << 5 // IPS_DST_NAT
	saddr, daddr        = 12, 16 // offsets in the IPv4 header
)

var loopbackNet = netip.MustParsePrefix("127.0.0.0/8")

// build writes the matches that rules are put together from.
type build struct {
	bridge string
	subnet netip.Prefix
}

func exprs(parts ...any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		switch p := p.(type) {
		case []expr.Any:
			all = append(all, p...)
		case expr.Any:
			all = append(all, p)
		}
	}
	return all
}

// front loads address . protocol . port of the packet, or 0.0.0.0 for the
// address: masked away, for nft cannot print a constant in a concatenation.
func (build) front(anyAddress bool) []expr.Any {
	load := []expr.Any{&expr.Payload{DestRegister: regAddr, Base: expr.PayloadBaseNetworkHeader, Offset: daddr, Len: 4}}
	if anyAddress {
		zero := make([]byte, 4)
		load = append(load, &expr.Bitwise{SourceRegister: regAddr, DestRegister: regAddr, Len: 4, Mask: zero, Xor: zero})
	}
	return append(load,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regProto},
		&expr.Payload{DestRegister: regPort, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	)
}

func (build) vmap() expr.Any {
	return &expr.Lookup{SourceRegister: regAddr, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: setDispatch}
}

func (build) member() expr.Any {
	return &expr.Lookup{SourceRegister: regAddr, SetName: setRefused}
}

func (build) verdict(kind expr.VerdictKind, chain string) expr.Any {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

func (build) proto(p uint8) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{p}},
	}
}

// toLocal matches packets to any address of the node.
func (build) toLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: unix.NFT_REG_1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func (build) iif(is bool, name string) []expr.Any { return matchLink(expr.MetaKeyIIFNAME, is, name) }
func (build) oif(is bool, name string) []expr.Any { return matchLink(expr.MetaKeyOIFNAME, is, name) }

func matchLink(key expr.MetaKey, is bool, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: equal(is), Register: unix.NFT_REG_1, Data: data},
	}
}

// in matches an address of the packet against a network.
func (build) in(offset uint32, network netip.Prefix, is bool) []expr.Any {
	mask := ipNet(network).Mask
	return []expr.Any{
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: equal(is), Register: unix.NFT_REG_1, Data: network.Addr().AsSlice()},
	}
}

// dnated matches connections that were led elsewhere, or were not.
func (build) dnated(is bool) []expr.Any { return ctBits(expr.CtKeySTATUS, ctStatusDNAT, is) }

// fresh matches the first packet of a connection.
func (build) fresh() []expr.Any { return ctBits(expr.CtKeySTATE, expr.CtStateBitNEW, true) }

func (build) answers() []expr.Any {
	return ctBits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, true)
}

func ctBits(key expr.CtKey, bits uint32, set bool) []expr.Any {
	zero := make([]byte, 4)
	return []expr.Any{
		&expr.Ct{Key: key, Register: unix.NFT_REG_1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: zero},
		&expr.Cmp{Op: equal(!set), Register: unix.NFT_REG_1, Data: zero},
	}
}

func equal(is bool) expr.CmpOp {
	if is {
		return expr.CmpOpEq
	}
	return expr.CmpOpNeq
}
