package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// netExam looks at the node's network and what of the machine it depends on.
// Its checks run in order: the first finds out what the others look at.
type netExam struct {
	node    *nodeExam
	network runtime.Network
	info    runtime.NetworkInfo
	bridge  netlink.Link // nil = it is not there yet
	status  *api.Status  // nil = no agent answers
	led     *api.Endpoints
}

// networkChecks are those of a node with a network of its own.
func (n *nodeExam) networkChecks(network runtime.Network) []check {
	x := &netExam{node: n, network: network}
	return []check{
		{"network", x.health},
		{"net forwarding", x.forwarding},
		{"net firewall", x.firewall},
		{"net ranges", x.ranges},
		{"net mtu", x.mtu},
		{"net ipv6", x.ipv6},
		{"net flows", x.conntrack},
		{"net rp_filter", x.reversePath},
		{"net names", x.names},
		{"net peers", x.peers},
	}
}

// health asks the network how it is, and the agent what it knows.
func (x *netExam) health(ctx context.Context) (level, string, string) {
	var err error
	x.info, err = x.network.Info(ctx)
	if link, err := netlink.LinkByName(x.info.Bridge); err == nil {
		x.bridge = link
	}
	x.status, x.led = x.node.told(ctx)
	if err != nil {
		return levelFail, err.Error(), "without it no container can have a network of its own"
	}
	text := "bridge " + x.info.Bridge + ", subnet " + x.info.Subnet
	if x.info.HostPorts != "" {
		text += ", host ports " + x.info.HostPorts
	}
	notes := slices.DeleteFunc(slices.Clone(x.info.Notes), func(n string) bool { return slices.Contains(x.info.Blocking, n) })
	return levelOK, strings.Join(append([]string{text}, notes...), "; "), ""
}

// firewall looks for programs that drop what they do not know. A packet must
// pass every table: only a rule in theirs helps.
func (x *netExam) firewall(context.Context) (level, string, string) {
	return judgeFirewall(x.info.Blocking, x.info.ForeignRules)
}

func judgeFirewall(blocking, rules []string) (level, string, string) {
	switch {
	case len(blocking) > 0:
		return levelFail, strings.Join(blocking, "; "),
			"do that for each of them, in that firewall's own configuration, so that it survives a reboot; where the agent was told to leave other tables alone (network.foreignRules: false), allowing it is enough"
	case len(rules) > 0:
		return levelOK, "lets the node's network pass, by rules of ours: " + strings.Join(rules, "; "), ""
	}
	return levelOK, "no other firewall drops what it does not know", ""
}

// forwarding finds what has switched the agent's settings back.
func (x *netExam) forwarding(context.Context) (level, string, string) {
	wanted := []string{"net/ipv4/ip_forward"}
	if x.info.Subnet6 != "" {
		wanted = append(wanted, "net/ipv6/conf/all/forwarding")
	}
	var off []string
	for _, name := range wanted {
		if readSysctl(name) == "0" {
			off = append(off, strings.ReplaceAll(name, "/", "."))
		}
	}
	switch {
	case len(off) == 0:
		return levelOK, "the kernel forwards packets", ""
	case x.bridge == nil:
		return levelOK, strings.Join(off, ", ") + ": off, and switched on with the first instance", ""
	}
	return levelFail, strings.Join(off, ", ") + ": something on this machine has switched it off again: instances reach nothing, and nothing reaches them",
		"set it to 1 in /etc/sysctl.d, and find what sets it to 0; the agent sets it again when it is restarted"
}

// ranges looks whether addresses of instances and services are somebody
// else's.
func (x *netExam) ranges(context.Context) (level, string, string) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return levelWarn, "list routes: " + err.Error(), "try again"
	}
	var others []route
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		link := ""
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			link = l.Attrs().Name
		}
		if dst, err := netip.ParsePrefix(r.Dst.String()); err == nil && dst.Bits() > 0 && link != x.info.Bridge && link != "" && link != "lo" {
			others = append(others, route{dst, link})
		}
	}
	return judgeRanges(x.ours(), others)
}

// route is where a network of the host's is reached.
type route struct {
	to   netip.Prefix
	link string
}

// addressRange is one that the fleet or the node uses.
type addressRange struct {
	what, setting string
	prefix        netip.Prefix
}

// ours are the ranges of this node's instances and of the fleet's services.
func (x *netExam) ours() []addressRange {
	services, services6 := planner.DefaultServiceRange, planner.DefaultServiceRange6
	if f := x.node.fleet; f != nil && f.Network.Services != "" {
		services = f.Network.Services
	}
	if f := x.node.fleet; f != nil && f.Network.Services6 != "" {
		services6 = f.Network.Services6
	}
	var all []addressRange
	for _, r := range []struct{ what, setting, text string }{
		{"instances", "network in the agent's configuration", x.info.Subnet},
		{"instances", "network in the agent's configuration", x.info.Subnet6},
		{"services", "spec.network in fleet.yaml", services},
		{"services", "spec.network in fleet.yaml", services6},
	} {
		if p, err := netip.ParsePrefix(r.text); err == nil {
			all = append(all, addressRange{r.what, r.setting, p})
		}
	}
	return all
}

func judgeRanges(ours []addressRange, others []route) (level, string, string) {
	var texts []string
	for i, r := range ours {
		texts = append(texts, r.what+" "+r.prefix.String())
		for _, other := range others {
			if r.prefix.Overlaps(other.to) {
				return levelFail, fmt.Sprintf("addresses of %s, %s, overlap this machine's route to %s by %s: one of the two cannot be reached", r.what, r.prefix, other.to, other.link),
					"give " + r.setting + " another range"
			}
		}
		for _, other := range ours[:i] {
			if r.prefix.Overlaps(other.prefix) {
				return levelFail, fmt.Sprintf("addresses of %s, %s, overlap those of %s, %s", r.what, r.prefix, other.what, other.prefix), "give " + r.setting + " another range"
			}
		}
	}
	return levelOK, strings.Join(texts, ", ") + ": nothing else here uses them", ""
}

// mtu compares the bridge with the ways out: one that is larger sends packets
// that get lost where fragments do.
func (x *netExam) mtu(context.Context) (level, string, string) {
	out, link := x.narrowest()
	switch {
	case link == "":
		return levelOK, "there is no way out of this machine to compare with", ""
	case x.bridge == nil:
		return levelOK, fmt.Sprintf("%d by %s; the bridge is made with the first instance", out, link), ""
	}
	return judgeMTU(x.info.Bridge, x.bridge.Attrs().MTU, link, out)
}

func judgeMTU(bridge string, mtu int, link string, out int) (level, string, string) {
	text := fmt.Sprintf("%s has %d, %s %d", bridge, mtu, link, out)
	if mtu > out {
		return levelWarn, text + ": larger packets of instances depend on messages that firewalls like to drop; connections hang with the first large answer then",
			fmt.Sprintf("set network.mtu to %d in the agent's configuration", out)
	}
	return levelOK, text, ""
}

// narrowest is the smallest MTU on the way to anywhere and to the fleet's nodes.
func (x *netExam) narrowest() (mtu int, name string) {
	consider := func(index int) {
		if l, err := netlink.LinkByIndex(index); err == nil && (name == "" || l.Attrs().MTU < mtu) {
			mtu, name = l.Attrs().MTU, l.Attrs().Name
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err == nil {
		for _, r := range routes {
			if r.Dst == nil || r.Dst.IP.IsUnspecified() {
				consider(r.LinkIndex)
			}
		}
	}
	for _, host := range x.peerHosts() {
		if ways, err := netlink.RouteGet(net.IP(host.AsSlice())); err == nil && len(ways) > 0 && !host.IsLoopback() {
			consider(ways[0].LinkIndex)
		}
	}
	return mtu, name
}

// ipv6 says whether instances have it, and why not.
func (x *netExam) ipv6(context.Context) (level, string, string) {
	if x.info.Subnet6 != "" {
		return levelOK, "instances have IPv6, in " + x.info.Subnet6, ""
	}
	why := "it is switched off in the agent's configuration, or this version has none"
	switch {
	case readSysctl("net/ipv6/conf/all/disable_ipv6") == "":
		why = "the kernel has none"
	case readSysctl("net/ipv6/conf/all/disable_ipv6") == "1" || readSysctl("net/ipv6/conf/default/disable_ipv6") == "1":
		why = "it is switched off on this machine (net.ipv6.conf.*.disable_ipv6)"
	}
	return levelOK, "instances have no IPv6: " + why, ""
}

// conntrack looks how full the kernel's table of connections is: when it is,
// new ones are lost without a word.
func (x *netExam) conntrack(context.Context) (level, string, string) {
	used, err := strconv.Atoi(readSysctl("net/netfilter/nf_conntrack_count"))
	most, errMost := strconv.Atoi(readSysctl("net/netfilter/nf_conntrack_max"))
	if errors.Join(err, errMost) != nil {
		return levelOK, "the kernel does not follow connections yet", ""
	}
	return judgeConntrack(used, most)
}

func judgeConntrack(used, most int) (level, string, string) {
	const many, nearlyAll = 75, 95 // percent
	text := fmt.Sprintf("the kernel follows %d of at most %d connections", used, most)
	remedy := fmt.Sprintf("set net.netfilter.nf_conntrack_max to %d in /etc/sysctl.d (some 300 bytes of memory each), and look with \"conntrack -S\" who has so many", 4*most)
	switch {
	case most <= 0:
		return levelOK, text, ""
	case used*100 >= most*nearlyAll:
		return levelFail, text + ": new ones are lost", remedy
	case used*100 >= most*many:
		return levelWarn, text, remedy
	}
	return levelOK, text, ""
}

// reversePath looks where packets of the fleet may come in by another link than
// the way back: strict filtering drops them without a word.
func (x *netExam) reversePath(context.Context) (level, string, string) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return levelWarn, "list routes: " + err.Error(), "try again"
	}
	filters := map[string]int{}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		for _, index := range append([]int{r.LinkIndex}, nextLinks(r)...) {
			if l, err := netlink.LinkByIndex(index); err == nil {
				filters[l.Attrs().Name] = reversePathOf(l.Attrs().Name)
			}
		}
	}
	return judgeReversePath(filters)
}

func nextLinks(r netlink.Route) []int {
	var links []int
	for _, hop := range r.MultiPath {
		links = append(links, hop.LinkIndex)
	}
	return links
}

// reversePathOf is what counts for a link: the higher of its own value and that
// for all. 0 = off, 1 = strict, 2 = loose.
func reversePathOf(link string) int {
	all, _ := strconv.Atoi(readSysctl("net/ipv4/conf/all/rp_filter")) // none = 0
	own, _ := strconv.Atoi(readSysctl("net/ipv4/conf/" + link + "/rp_filter"))
	return max(all, own)
}

// judgeReversePath gets the filter of each link with a default route.
func judgeReversePath(filters map[string]int) (level, string, string) {
	var strict []string
	for link, filter := range filters {
		if filter == 1 {
			strict = append(strict, link)
		}
	}
	slices.Sort(strict)
	if len(filters) < 2 || len(strict) == 0 {
		return levelOK, "packets are not refused for the link they come in by", ""
	}
	return levelWarn, fmt.Sprintf("this machine has %d ways out, and what comes in by %s is dropped where the way back is another one (rp_filter is strict)", len(filters), strings.Join(strict, ", ")),
		"set net.ipv4.conf." + strict[0] + ".rp_filter to 2 (loose) in /etc/sysctl.d, unless all other nodes are reached by one link"
}

// readSysctl returns a setting of the kernel, "" if it has none of that name.
func readSysctl(name string) string {
	data, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
