package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// What Docker 20 to 28 makes in table filter, with one bridge that has no
// container. Older ones end DOCKER-USER with RETURN.
const dockerRules = `*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-F FORWARD
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
`

// What ufw 0.36 makes with its defaults (deny incoming, deny routed) and one
// rule of a person, in its order. %[1]s is "" or "6".
const ufwRules = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw%[1]s-before-input - [0:0]
:ufw%[1]s-before-forward - [0:0]
:ufw%[1]s-after-input - [0:0]
:ufw%[1]s-after-forward - [0:0]
:ufw%[1]s-reject-input - [0:0]
:ufw%[1]s-reject-forward - [0:0]
:ufw%[1]s-track-input - [0:0]
:ufw%[1]s-track-forward - [0:0]
:ufw%[1]s-user-input - [0:0]
:ufw%[1]s-user-forward - [0:0]
-F INPUT
-F FORWARD
-A INPUT -j ufw%[1]s-before-input
-A INPUT -j ufw%[1]s-after-input
-A INPUT -j ufw%[1]s-reject-input
-A INPUT -j ufw%[1]s-track-input
-A FORWARD -j ufw%[1]s-before-forward
-A FORWARD -j ufw%[1]s-after-forward
-A FORWARD -j ufw%[1]s-reject-forward
-A FORWARD -j ufw%[1]s-track-forward
-A ufw%[1]s-before-input -i lo -j ACCEPT
-A ufw%[1]s-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw%[1]s-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw%[1]s-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw%[1]s-before-input -j ufw%[1]s-user-input
-A ufw%[1]s-before-forward -j ufw%[1]s-user-forward
-A ufw%[1]s-user-input -p tcp --dport 22 -j ACCEPT
-A ufw%[1]s-user-forward -p tcp --dport 8081 -j DROP
COMMIT
`

type foreign struct {
	name     string
	rules    string
	rewrites string // the chain that is emptied when its owner feels like it
	hooks    int    // how many rules of ours, for each family
}

var foreigns = []foreign{{"Docker", dockerRules, "DOCKER-USER", 1}, {"ufw", ufwRules, "ufw%[1]s-before-forward", 2}}

// restore runs one variant of iptables-restore for each family.
func restore(t *testing.T, variant string, more []string, rules string) {
	t.Helper()
	for _, family := range []string{"", "6"} {
		if family == "6" && !hostHasIPv6() {
			continue
		}
		cmd := exec.Command("ip"+family+"tables-"+variant+"-restore", more...)
		text := rules
		if strings.Contains(rules, "%[1]s") {
			text = fmt.Sprintf(rules, family)
		}
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
}

// filterRules are all rules of both families.
func filterRules(t *testing.T, variant string) string {
	t.Helper()
	all := run(t, "iptables-"+variant, "-S")
	if hostHasIPv6() {
		all += run(t, "ip6tables-"+variant, "-S")
	}
	return all
}

func needIPTables(t *testing.T, variant string) {
	t.Helper()
	for _, name := range []string{"iptables-", "ip6tables-"} {
		if _, err := findProgram(name + variant); err != nil {
			t.Skipf("needs %s%s: %v", name, variant, err)
		}
	}
	if out, err := exec.Command("iptables-"+variant, "-S").CombinedOutput(); err != nil {
		t.Skipf("needs a kernel with iptables-%s: %v: %s", variant, err, out)
	}
}

func TestForeignFirewallNFT(t *testing.T)    { testForeignFirewalls(t, "nft") }
func TestForeignFirewallLegacy(t *testing.T) { testForeignFirewalls(t, "legacy") }

func testForeignFirewalls(t *testing.T, variant string) {
	if !isolated(t) {
		return
	}
	needIPTables(t, variant)
	far := outside(t)
	serve(t, far, "far", ":9000")
	// As Docker has it: what passes a bridge passes its rules, too.
	for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		if err := setSysctl("/proc/sys/net/bridge/"+name, "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	cfg := testConfig(t.TempDir())
	for _, f := range foreigns {
		restore(t, variant, nil, f.rules)
		before := filterRules(t, variant)
		letsThrough(t, cfg, far, variant, f)
		if after := filterRules(t, variant); after != before {
			t.Errorf("%s, uninstalled:\n%s\nbefore:\n%s", f.name, after, before)
		}
		restore(t, variant, nil, "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
	}
}

func letsThrough(t *testing.T, cfg Config, far, variant string, f foreign) {
	ctx := context.Background()
	cfg.NoForeignRules = true
	n := newNetwork(t, cfg)
	web := attach(t, n, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	publish(t, n, port("tcp", 80, target(web)))
	unreachable(t, far, nodeAddress+":80")
	info, err := n.Info(ctx)
	must(t, err)
	if notes := strings.Join(info.Notes, "\n"); !strings.Contains(notes, "iptables-"+variant+" -I ") || !strings.Contains(notes, "0x1000/0x1000") || len(info.ForeignRules) > 0 {
		t.Errorf("%s, foreign rules forbidden: %+v, want what to do by hand", f.name, info)
	}

	cfg.NoForeignRules = false
	n = newNetwork(t, cfg)
	attach(t, n, "web-0")
	defer serveNames(t, web.Gateway)()
	other := attach(t, n, "other-0")
	ways := []struct{ from, address, name string }{
		{far, nodeAddress + ":80", "web"},
		{web.NetNS, outsideAddress + ":9000", "far"},
		{other.NetNS, web.Address + ":8080", "web"},
	}
	if web.Address6 != "" {
		serve6(t, web.NetNS, "web", "["+web.Address6+"]:8080")
		ways = append(ways, struct{ from, address, name string }{other.NetNS, "[" + web.Address6 + "]:8080", "web"})
	}
	passes := func(when string) {
		t.Helper()
		for _, c := range ways {
			if name, _ := askOn(t, c.from, "tcp", c.address); name != c.name {
				t.Errorf("%s, %s: %s answered by %q, want %s", f.name, when, c.address, name, c.name)
			}
		}
		asksNames(t, web.NetNS, web.Gateway)
	}
	passes("opened")
	families := 1
	if n.cfg.Subnet6.IsValid() {
		families = 2
	}
	ours := func() int {
		return strings.Count(filterRules(t, variant), `-m mark --mark 0x1000/0x1000 -m comment --comment "orpheus orpheus0" -j ACCEPT`)
	}
	if got := ours(); got != f.hooks*families {
		t.Errorf("%s: %d rules, want %d:\n%s", f.name, got, f.hooks*families, filterRules(t, variant))
	}
	info, err = n.Info(ctx)
	must(t, err)
	if len(info.ForeignRules) != f.hooks*families || strings.Contains(strings.Join(info.Notes, "\n"), "drops") {
		t.Errorf("%s, opened: %+v", f.name, info)
	}
	// What is not of instances does not pass by our rule.
	closed(t, far)

	// Its owner rewrites its tables; another agent's start adds no rule twice.
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- n.Run(running) }()
	restore(t, variant, []string{"--noflush"}, "*filter\n:"+f.rewrites+" - [0:0]\nCOMMIT\n")
	eventually(t, f.name+" rewrote its tables: rules again", func() bool { return ours() == f.hooks*families })
	passes("rewritten")
	stop()
	<-done
	attach(t, newNetwork(t, cfg), "web-0")
	if got := ours(); got != f.hooks*families {
		t.Errorf("%s, after a restart: %d rules, want %d", f.name, got, f.hooks*families)
	}

	// Forbidden again: taken back at once.
	cfg.NoForeignRules = true
	attach(t, newNetwork(t, cfg), "web-0")
	if got := ours(); got != 0 {
		t.Errorf("%s, forbidden: %d rules stay", f.name, got)
	}
	cfg.NoForeignRules = false
	n = newNetwork(t, cfg)
	attach(t, n, "web-0")
	passes("allowed again")
	restore(t, variant, nil, f.rules)
	must(t, n.firewall.ensure())
	must(t, n.Sweep(ctx, nil))
	must(t, n.Teardown(ctx))
}

// eventually polls for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// serveNames answers on the bridge as the name server does.
func serveNames(t *testing.T, gateway string) (stop func() error) {
	t.Helper()
	c, err := net.ListenPacket("udp4", gateway+":53")
	must(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo([]byte("name"), from)
		}
	}()
	return c.Close
}

func asksNames(t *testing.T, netns, gateway string) {
	t.Helper()
	eventually(t, "answer of the name server on the bridge", func() bool {
		c, err := dial(t, netns, "udp4", gateway+":53")
		must(t, err)
		defer c.Close()
		_, err = c.Write([]byte("?"))
		must(t, err)
		c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(make([]byte, 512))
		return err == nil && n == 4
	})
}

// closed fails if the host forwards for a network that is none of ours.
func closed(t *testing.T, far string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "third")
	must(t, inNewNamespace(func() error { return pinNamespace(path) }))
	defer func() { must(t, unpinNamespace(path)) }()
	ns, err := os.Open(path)
	must(t, err)
	defer ns.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "third"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))}
	must(t, netlink.LinkAdd(veth))
	defer func() { must(t, netlink.LinkDel(veth)) }()
	must(t, netlink.AddrAdd(veth, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("203.0.113.1/24"))}))
	must(t, netlink.LinkSetUp(veth))
	within(t, path, func() {
		eth := link(t, "eth0")
		must(t, netlink.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("203.0.113.2/24"))}))
		must(t, netlink.LinkSetUp(eth))
	})
	serve(t, path, "third", ":80")
	within(t, far, func() {
		must(t, netlink.RouteReplace(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("203.0.113.0/24")), Gw: netip.MustParseAddr(nodeAddress).AsSlice()}))
	})
	unreachable(t, far, "203.0.113.2:80")
}

func TestPlaceBeforeTheEnd(t *testing.T) {
	for _, c := range []struct {
		rules string
		want  int
	}{
		{"-N DOCKER-USER", 1},
		{"-N DOCKER-USER|-A DOCKER-USER -j RETURN", 1},
		// People's rules come first.
		{"-N DOCKER-USER|-A DOCKER-USER -i eth0 -s 192.0.2.1/32 -j DROP|-A DOCKER-USER -j RETURN", 2},
		{"-N x|-A x -p tcp -j ACCEPT|-A x -p udp -j ACCEPT", 3},
		{"-N x|-A x -j REJECT --reject-with icmp-port-unreachable", 1},
		{"-N x|-A x -j y|-A x -j DROP|-A x -j y", 2},
	} {
		if got := place(strings.Split(c.rules, "|")); got != c.want {
			t.Errorf("%s: %d, want %d", c.rules, got, c.want)
		}
	}
}

// A firewall that nobody we know made, and one without a known place for rules:
// people are told what to add.
func TestUnknownFirewalls(t *testing.T) {
	if !isolated(t) {
		return
	}
	needIPTables(t, "nft")
	n := testNetwork(t)
	for _, line := range []string{
		"add table inet mine", "add chain inet mine onward { type filter hook forward priority 0; policy drop; }",
		"add chain inet mine inward { type filter hook input priority 0; policy accept; }",
	} {
		run(t, "nft", line)
	}
	run(t, "iptables-nft", "-A", "FORWARD", "-j", "REJECT")
	attach(t, n, "web-0")
	info, err := n.Info(context.Background())
	must(t, err)
	for _, want := range []string{"nft insert rule inet mine onward meta mark and 0x1000 == 0x1000 accept", "iptables-nft -I FORWARD -m mark --mark 0x1000/0x1000"} {
		if !slices.ContainsFunc(info.Notes, func(note string) bool { return strings.Contains(note, want) }) {
			t.Errorf("notes %q, want %q", info.Notes, want)
		}
	}
	if len(info.ForeignRules) > 0 {
		t.Errorf("rules %q, want none", info.ForeignRules)
	}
	byHand(t, n)
	if info, err = n.Info(context.Background()); err != nil || len(info.Blocking) > 0 {
		t.Errorf("people did as they were told: still %q (%v)", info.Blocking, err)
	}
}

// firewalld is asked, not written into.
func TestFirewalld(t *testing.T) {
	if !isolated(t) {
		return
	}
	ctx := context.Background()
	run(t, "nft", "add table inet firewalld")
	run(t, "nft", "add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy drop; }")
	n := testNetwork(t)
	t.Setenv("PATH", t.TempDir()) // nobody to ask
	t.Run("without firewall-cmd", func(t *testing.T) {
		if _, err := exec.LookPath("/usr/sbin/firewall-cmd"); err == nil {
			t.Skip("firewalld is installed here")
		}
		attach(t, n, "web-0")
		info, err := n.Info(ctx)
		must(t, err)
		if !strings.Contains(strings.Join(info.Notes, "\n"), "--zone=trusted --add-interface=orpheus0") {
			t.Errorf("notes %q, want what to do by hand", info.Notes)
		}
	})
	// A stand-in that keeps the zone in a file, as the real one does in its
	// process, and names the bridge in a rule.
	dir := t.TempDir()
	script := `#!/bin/sh
PATH=/usr/sbin:/sbin:/usr/bin:/bin
echo "$@" >>` + dir + `/calls
case "$*" in
--get-zone-of-interface=*) cat ` + dir + `/zone 2>/dev/null || { echo "no zone"; exit 2; } ;;
--zone=trusted\ --change-interface=orpheus0) echo trusted >` + dir + `/zone; nft add rule inet firewalld filter_FORWARD iifname orpheus0 accept ;;
--zone=trusted\ --remove-interface=orpheus0) rm ` + dir + `/zone; nft flush chain inet firewalld filter_FORWARD ;;
*) exit 1 ;;
esac
`
	must(t, os.WriteFile(filepath.Join(dir, "firewall-cmd"), []byte(script), 0o755))
	t.Setenv("PATH", dir)
	n = newNetwork(t, n.cfg)
	attach(t, n, "web-0")
	info, err := n.Info(ctx)
	must(t, err)
	if want := []string{"firewalld: orpheus0 is in zone trusted"}; !slices.Equal(info.ForeignRules, want) {
		t.Errorf("rules %q, want %q; notes %q", info.ForeignRules, want, info.Notes)
	}
	calls := func() string {
		body, err := os.ReadFile(filepath.Join(dir, "calls"))
		must(t, err)
		return string(body)
	}
	settled := calls()
	for range 5 {
		_, err := n.Info(ctx)
		must(t, err)
	}
	if got := calls(); got != settled {
		t.Errorf("asked again without a reason: %s", strings.TrimPrefix(got, settled))
	}
	// "firewall-cmd --reload" forgets what was said at run time.
	must(t, os.Remove(filepath.Join(dir, "zone")))
	t.Setenv("PATH", dir+":/usr/sbin:/sbin:/usr/bin:/bin")
	run(t, "nft", "flush chain inet firewalld filter_FORWARD")
	must(t, n.keep(ctx))
	if info, err = n.Info(ctx); err != nil || len(info.ForeignRules) != 1 {
		t.Errorf("after a reload: %+v, %v", info, err)
	}
	must(t, n.Sweep(ctx, nil))
	must(t, n.Teardown(ctx))
	if _, err := os.Stat(filepath.Join(dir, "zone")); err == nil {
		t.Errorf("uninstalled: the bridge stays in its zone; calls:\n%s", calls())
	}
}
