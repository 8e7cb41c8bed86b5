package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// acceptOurs is the rule with which another firewall lets pass what is the
// node's network: runtime/network marks it.
const acceptOurs = "meta mark & 0x1000 == 0x1000 accept"

// hookChain is a chain of another program where packets may end.
type hookChain struct {
	family, table, chain string
	input                bool // else forwarded packets
}

func (h hookChain) String() string {
	if h.input {
		return h.table + " " + h.chain + " (what is for this machine)"
	}
	return h.table + " " + h.chain
}

// firewall looks for chains of others that drop what they do not know. A packet
// must pass every table: only a rule in theirs helps.
func (x *netExam) firewall(context.Context) (level, string, string) {
	conn, err := nftables.New()
	if err != nil {
		return levelWarn, "open nftables: " + err.Error(), "run this as the agent's user"
	}
	chains, err := conn.ListChains()
	if err != nil {
		return levelWarn, "list nftables chains: " + err.Error(), "run this as the agent's user"
	}
	var dropping []hookChain
	for _, c := range chains {
		if c.Hooknum == nil || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		family, ok := familyNames[c.Table.Family]
		forward := *c.Hooknum == *nftables.ChainHookForward
		if ok && (forward || *c.Hooknum == *nftables.ChainHookInput) {
			dropping = append(dropping, hookChain{family, c.Table.Name, c.Name, !forward})
		}
	}
	slices.SortFunc(dropping, func(a, b hookChain) int { return strings.Compare(a.family+a.String(), b.family+b.String()) })
	names, err := os.ReadFile("/proc/net/ip_tables_names")
	legacy := err == nil && slices.Contains(strings.Fields(string(names)), "filter")
	return judgeFirewall(dropping, x.info.ForeignRules, x.bridge != nil, legacy)
}

var familyNames = map[nftables.TableFamily]string{
	nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet",
}

// judgeFirewall gets the chains that drop, our rules in tables of others,
// whether the network is in use, and whether the old iptables has rules, which
// it shows to nobody.
func judgeFirewall(dropping []hookChain, rules []string, used, legacy bool) (level, string, string) {
	var open []string // chains without a rule of ours
	var remedy string
	for _, c := range dropping {
		if slices.ContainsFunc(rules, func(r string) bool { return mentions(r, c) }) {
			continue
		}
		open = append(open, c.String())
		if remedy == "" {
			remedy = fmt.Sprintf("nft insert rule %s %s %s %s", c.family, c.table, c.chain, acceptOurs)
		}
	}
	switch {
	case len(open) > 0 && used:
		return levelWarn, "another firewall drops what it does not know, and has no rule of ours: " + strings.Join(open, ", "),
			"restart the agent, which adds one unless it was told not to; by hand it is, for each of them: " + remedy + ". Make it part of that firewall's own configuration"
	case len(open) > 0:
		return levelOK, "another firewall drops what it does not know (" + strings.Join(open, ", ") + "): with the first instance it gets a rule of ours, if allowed", ""
	case legacy:
		return levelWarn, "the old iptables has rules here, which it shows to no other program",
			"if it drops forwarded packets: iptables-legacy -I FORWARD -m mark --mark 0x1000/0x1000 -j ACCEPT. Or let its rules come by iptables-nft"
	case len(rules) > 0:
		return levelOK, "another firewall lets the node's network pass, by rules of ours: " + strings.Join(rules, "; "), ""
	}
	return levelOK, "no other firewall drops what it does not know", ""
}

// mentions reports whether a rule as Info tells it is in a chain's table: where
// a program has a chain of its own for others' rules, it is there.
func mentions(rule string, c hookChain) bool {
	words := strings.Fields(rule)
	return slices.Contains(words, c.table) && (slices.Contains(words, c.family) || !strings.HasPrefix(rule, "ip"))
}
