package network

import (
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The parts that rules are put together from. Each matches, loads or does one
// thing; a rule ends at the first part that does not match.

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

// front loads address . protocol . port that the packet goes to, or all zeroes
// for the address: masked away, for nft cannot print a constant in a
// concatenation.
func (f family) front(anyAddress bool) []expr.Any {
	load := []expr.Any{f.addr(f.daddr, regAddr)}
	if anyAddress {
		zero := make([]byte, f.addrLen)
		load = append(load, &expr.Bitwise{SourceRegister: regAddr, DestRegister: regAddr, Len: uint32(f.addrLen), Mask: zero, Xor: zero})
	}
	return append(load, f.protoPort(dport)...)
}

// peer loads address . protocol . port of a target: of where the packet goes,
// or of where it comes from.
func (f family) peer(offset, port uint32) []expr.Any {
	return append([]expr.Any{f.addr(offset, regAddr)}, f.protoPort(port)...)
}

// Offsets in the header of TCP and UDP.
const sport, dport = 0, 2

func (f family) addr(offset, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(f.addrLen)}
}

func (f family) protoPort(port uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: f.regProto()},
		&expr.Payload{DestRegister: f.regPort(), Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2},
	}
}

func vmap(set string) expr.Any {
	return &expr.Lookup{SourceRegister: regAddr, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: set}
}

// member matches what is loaded against a set.
func member(set string) expr.Any {
	return &expr.Lookup{SourceRegister: regAddr, SetName: set}
}

// addrIn matches an address of the packet against a set of addresses.
func (f family) addrIn(offset uint32, set string) []expr.Any {
	return []expr.Any{f.addr(offset, regAddr), member(set)}
}

// note puts what is loaded into a set whose elements fade.
func note(set string) expr.Any {
	return &expr.Dynset{SrcRegKey: regAddr, SetName: set, SetID: setIDs[set], Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: trafficWindow}
}

// random loads a number below n.
func random(register uint32, n int) expr.Any {
	return &expr.Numgen{Register: register, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM}
}

func verdict(kind expr.VerdictKind, chain string) expr.Any {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

func proto(p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{p}},
	}
}

// toPort matches packets of a protocol to a port.
func toPort(p byte, port uint16) []expr.Any {
	return append(proto(p),
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseTransportHeader, Offset: dport, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: binaryutil.BigEndian.PutUint16(port)})
}

// Flags of TCP.
const flagSYN, flagRST, flagACK = 0x02, 0x04, 0x10

// tcpFlags matches TCP packets that have these of the masked flags.
func tcpFlags(mask, want byte) []expr.Any {
	return append(proto(unix.IPPROTO_TCP),
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{want}})
}

// toLocal matches packets to any address of the node.
func toLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: unix.NFT_REG_1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func iif(is bool, name string) []expr.Any { return matchLink(expr.MetaKeyIIFNAME, is, name) }
func oif(is bool, name string) []expr.Any { return matchLink(expr.MetaKeyOIFNAME, is, name) }

func matchLink(key expr.MetaKey, is bool, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: equal(is), Register: unix.NFT_REG_1, Data: data},
	}
}

// within matches an address of the packet against a network.
func (f family) within(offset uint32, network netip.Prefix, is bool) []expr.Any {
	return []expr.Any{
		f.addr(offset, unix.NFT_REG_1),
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: uint32(f.addrLen), Mask: ipNet(network).Mask, Xor: make([]byte, f.addrLen)},
		&expr.Cmp{Op: equal(is), Register: unix.NFT_REG_1, Data: network.Addr().AsSlice()},
	}
}

// IPS_DST_NAT and IPS_ASSURED of the kernel: the connection was led elsewhere;
// it came about.
const ctDNAT, ctAssured = 1 << 5, 1 << 2

// dnated matches connections that were led elsewhere, or were not.
func dnated(is bool) []expr.Any { return ctBits(expr.CtKeySTATUS, ctDNAT, is) }

// assured matches connections that came about: TCP after its handshake, UDP
// after two seconds of both directions.
func assured(is bool) []expr.Any { return ctBits(expr.CtKeySTATUS, ctAssured, is) }

// fresh matches connections that nobody answered yet.
func fresh() []expr.Any { return ctBits(expr.CtKeySTATE, expr.CtStateBitNEW, true) }

func answers() []expr.Any {
	return ctBits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, true)
}

// balanced matches connections that we led.
func balanced() []expr.Any { return ctBits(expr.CtKeyMARK, forwardMark, true) }

// reply matches packets back to who began the connection.
func reply() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{1}},
	}
}

func ctBits(key expr.CtKey, bits uint32, set bool) []expr.Any {
	zero := make([]byte, 4)
	return []expr.Any{
		&expr.Ct{Key: key, Register: unix.NFT_REG_1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: zero},
		&expr.Cmp{Op: equal(!set), Register: unix.NFT_REG_1, Data: zero},
	}
}

// markPacket and markConnection set our bit and leave the others.
func markPacket() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: unix.NFT_REG_1},
		setBit(unix.NFT_REG_1),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1},
	}
}

func markConnection(register uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: register},
		setBit(register),
		&expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: register},
	}
}

func setBit(register uint32) expr.Any {
	bit := binaryutil.NativeEndian.PutUint32
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: bit(^uint32(forwardMark)), Xor: bit(forwardMark)}
}

func equal(is bool) expr.CmpOp {
	if is {
		return expr.CmpOpEq
	}
	return expr.CmpOpNeq
}
