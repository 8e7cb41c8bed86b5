package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The tables, as `nft list table ip orpheus` and `… ip6 orpheus` show them:
//
//	guard (raw)               loopback from outside, other sources from the bridge → drop
//	prerouting, output (nat)  to a service address             →  jump services
//	                          of the fleet, to this node       →  jump hosts
//	                          to this node                     →  jump fronts
//	services, hosts, fronts   address . protocol . port vmap @services, @hosts or @dispatch
//	any-3, one-3              dnat to front . random(3) map @targets
//	any-hash, one-hash        dnat to front . hash(client) map @targets
//	                          where the target has just gone → the first, else drop
//	postrouting (nat)         masquerade what must come back by this node; note in @tried
//	input                     balanced, but to this machine itself → drop
//	                          other links to the name server → refuse
//	input, forward            what we balanced or pass on purpose → mark and accept
//	                          what has no target → refuse: tcp reset, else icmp port unreachable
//	                          anything else to an instance → drop
//	balanced, learn           note replies of other nodes in @answered, @resets
//
// Only elements and the spreading chains change with what is balanced; a
// connection costs two or three look-ups however many fronts there are, and
// other packets of it none.

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

// Ours come before those of other tables: the mark is there when they filter,
// and masquerading is not left to them.
const (
	beforeFilter = -10
	beforeSNAT   = 90
)

// staticChains are those that do not depend on what is balanced.
func (f family) staticChains() []chain {
	return append(f.shared(), f.guard(), f.prerouting(), f.output(), f.postrouting(), f.input(), f.forward(), f.outputFilter())
}

// shared are the chains that others jump to.
func (f family) shared() []chain {
	accept := verdict(expr.VerdictAccept, "")
	return []chain{
		{name: "refuse", rules: []rule{
			{"nobody is there", exprs(proto(unix.IPPROTO_TCP), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})},
			{"nobody is there", exprs(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: f.unreachable})},
		}},
		{name: "services", rules: []rule{
			{"service address", exprs(f.front(false), vmap(setServices))},
		}},
		{name: "hosts", rules: []rule{
			{"host port of this address", exprs(f.front(false), vmap(setHosts))},
			{"host port of every address", exprs(f.front(true), vmap(setHosts))},
		}},
		{name: "fronts", rules: []rule{
			{"published on this address", exprs(f.front(false), vmap(setDispatch))},
			{"published on every address", exprs(f.front(true), vmap(setDispatch))},
		}},
		{name: "pass", rules: []rule{
			{"for other firewalls to know", exprs(markPacket(), accept)},
		}},
		{name: "learn", rules: []rule{
			{"a target answers", exprs(tcpFlags(flagSYN|flagACK, flagSYN|flagACK), f.peer(f.saddr, sport), note(setAnswered))},
			{"a target refuses", exprs(tcpFlags(flagRST, flagRST), assured(false), f.peer(f.saddr, sport), note(setResets))},
			{"a target answers", exprs(proto(unix.IPPROTO_UDP), assured(false), f.peer(f.saddr, sport), note(setAnswered))},
		}},
		{name: "balanced", rules: []rule{
			{"from another node", exprs(reply(), iif(false, f.bridge), iif(false, "lo"), verdict(expr.VerdictJump, "learn"))},
			{"balanced", exprs(verdict(expr.VerdictGoto, "pass"))},
		}},
	}
}

func (f family) guard() chain {
	drop := verdict(expr.VerdictDrop, "")
	source := exprs(iif(true, f.bridge), f.within(f.saddr, f.subnet, false))
	for _, n := range f.neighbours {
		source = append(source, f.within(f.saddr, n, false)...)
	}
	return chain{name: "guard", hook: nftables.ChainHookPrerouting, kind: nftables.ChainTypeFilter, priority: *nftables.ChainPriorityRaw, rules: []rule{
		{"loopback is not for others", exprs(iif(false, "lo"), f.within(f.daddr, f.loopback, true), drop)},
		{"nobody else is loopback", exprs(iif(false, "lo"), f.within(f.saddr, f.loopback, true), drop)},
		{"not an address of an instance", exprs(source, drop)},
	}}
}

func (f family) prerouting() chain {
	return chain{name: "prerouting", hook: nftables.ChainHookPrerouting, kind: nftables.ChainTypeNAT, priority: *nftables.ChainPriorityNATDest, rules: []rule{
		{"instances to services", exprs(iif(true, f.bridge), f.addrIn(f.daddr, setRanges), verdict(expr.VerdictGoto, "services"))},
		{"other nodes to instances", exprs(f.addrIn(f.saddr, setFleet), toLocal(), verdict(expr.VerdictJump, "hosts"))},
		{"to this node", exprs(toLocal(), verdict(expr.VerdictJump, "fronts"))},
	}}
}

func (f family) output() chain {
	local := toLocal()
	if !f.loops {
		local = exprs(f.within(f.daddr, f.loopback, false), local)
	}
	return chain{name: "output", hook: nftables.ChainHookOutput, kind: nftables.ChainTypeNAT, priority: *nftables.ChainPriorityNATDest, rules: []rule{
		{"from this node to services", exprs(f.addrIn(f.daddr, setRanges), verdict(expr.VerdictGoto, "services"))},
		{"from this node to itself", exprs(local, verdict(expr.VerdictJump, "fronts"))},
	}}
}

func (f family) postrouting() chain {
	away := exprs(oif(false, f.bridge), oif(false, "lo"))
	masquerade := &expr.Masq{}
	return chain{name: "postrouting", hook: nftables.ChainHookPostrouting, kind: nftables.ChainTypeNAT, priority: beforeSNAT, rules: []rule{
		{"to a target on another node", exprs(balanced(), away, f.peer(f.daddr, dport), note(setTried))},
		{"instances to the world", exprs(f.within(f.saddr, f.subnet, true), away, masquerade)},
		{"balanced to another node", exprs(balanced(), away, masquerade)},
		{"loopback to an instance", exprs(f.within(f.saddr, f.loopback, true), oif(true, f.bridge), masquerade)},
		{"instance to instance, balanced", exprs(f.within(f.saddr, f.subnet, true), oif(true, f.bridge), balanced(), masquerade)},
	}}
}

func (f family) input() chain {
	gateway, refuse := f.within(f.daddr, hostPrefix(f.gateway), true), exprs(verdict(expr.VerdictGoto, "refuse"))
	question := func(p byte) []expr.Any {
		return exprs(iif(true, f.bridge), gateway, toPort(p, 53), verdict(expr.VerdictGoto, "pass"))
	}
	elsewhere := func(p byte) []expr.Any {
		return exprs(iif(false, f.bridge), iif(false, "lo"), gateway, toPort(p, 53), refuse)
	}
	ours := exprs(fresh(), dnated(false))
	return chain{name: "input", hook: nftables.ChainHookInput, kind: nftables.ChainTypeFilter, priority: beforeFilter, rules: []rule{
		{"not to this machine itself", exprs(fresh(), balanced(), f.within(f.daddr, hostPrefix(f.gateway), false), verdict(expr.VerdictDrop, ""))},
		{"balanced", exprs(balanced(), verdict(expr.VerdictGoto, "balanced"))},
		{"instances ask for names", question(unix.IPPROTO_UDP)},
		{"instances ask for names", question(unix.IPPROTO_TCP)},
		{"names are not for others", elsewhere(unix.IPPROTO_UDP)},
		{"names are not for others", elsewhere(unix.IPPROTO_TCP)},
		{"host port of this address", exprs(ours, f.addrIn(f.saddr, setFleet), f.front(false), member(setHostsRefused), refuse)},
		{"host port of every address", exprs(ours, f.addrIn(f.saddr, setFleet), f.front(true), member(setHostsRefused), refuse)},
		{"published on this address", exprs(ours, f.front(false), member(setRefused), refuse)},
		{"published on every address", exprs(ours, f.front(true), member(setRefused), refuse)},
	}}
}

func (f family) forward() chain {
	to, from := oif(true, f.bridge), iif(true, f.bridge)
	pass := verdict(expr.VerdictGoto, "pass")
	return chain{name: "forward", hook: nftables.ChainHookForward, kind: nftables.ChainTypeFilter, priority: beforeFilter, rules: []rule{
		{"balanced", exprs(balanced(), verdict(expr.VerdictGoto, "balanced"))},
		{"no such service", exprs(from, to, f.addrIn(f.daddr, setRanges), verdict(expr.VerdictGoto, "refuse"))},
		{"from an instance", exprs(from, pass)},
		{"answers", exprs(to, answers(), pass)},
		{"not published", exprs(to, verdict(expr.VerdictDrop, ""))},
	}}
}

func (f family) outputFilter() chain {
	return chain{name: "leave", hook: nftables.ChainHookOutput, kind: nftables.ChainTypeFilter, priority: beforeFilter, rules: []rule{
		{"no such service", exprs(fresh(), f.addrIn(f.daddr, setRanges), verdict(expr.VerdictGoto, "refuse"))},
	}}
}

// spreadChain sends a connection to one of the targets of its front: any, or
// always the same for a client. The kernel picks by the rules as they were when
// the packet came, and looks up among the targets as they are now: where that
// one has just gone the first takes the connection, and where all have the
// packet is lost, and the next try refused or led elsewhere.
func (f family) spreadChain(s spread) chain {
	comment, pick := fmt.Sprintf("one of %d", s.over), exprs(random(f.regPick(), s.over))
	if s.over == byClient {
		comment, pick = "by client", exprs(
			f.addr(f.saddr, f.regSpare()),
			&expr.Hash{SourceRegister: f.regSpare(), DestRegister: f.regPick(), Length: uint32(f.addrLen), Modulus: buckets, Seed: clientSeed, Type: expr.HashTypeJenkins})
	}
	return chain{name: s.name(), rules: []rule{
		{comment, f.leadTo(s, pick)},
		{"that one has gone", f.leadTo(s, exprs(random(f.regPick(), 1)))},
		{"all have gone", exprs(verdict(expr.VerdictDrop, ""))},
	}}
}

// leadTo sends a connection to the target of its front that pick chooses.
func (f family) leadTo(s spread, pick []expr.Any) []expr.Any {
	return exprs(
		f.front(s.any),
		pick,
		&expr.Lookup{SourceRegister: regAddr, DestRegister: regAddr, IsDestRegSet: true, SetName: setTargets},
		markConnection(f.regSpare()),
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.nfproto), RegAddrMin: regAddr, RegProtoMin: f.regProto()},
	)
}

// sign returns a short digest of all that staticChains, spreadChain and sets
// write. Every comment carries it: a table made by another version, or for
// another subnet, does not pass for ours.
func (f family) sign() (string, error) {
	h := sha256.New()
	sets := newSets(f, &nftables.Table{})
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		s := sets[name]
		fmt.Fprintln(h, name, s.KeyType, s.DataType, s.IsMap, s.Interval, s.Dynamic, s.Timeout, s.Size)
	}
	chains := f.staticChains()
	for _, over := range []int{2, byClient} {
		chains = append(chains, f.spreadChain(spread{any: true, over: over}), f.spreadChain(spread{over: over}))
	}
	for _, c := range chains {
		if c.hook != nil {
			fmt.Fprintln(h, *c.hook, c.kind, c.priority)
		}
		fmt.Fprintln(h, c.name)
		for _, r := range c.rules {
			fmt.Fprintln(h, r.comment)
			for _, e := range r.exprs {
				b, err := expr.Marshal(f.nfproto, e)
				if err != nil {
					return "", fmt.Errorf("rule %q of chain %s: %w", r.comment, c.name, err)
				}
				h.Write(b)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:4]), nil
}
