package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

func TestAttachIsIdempotent(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	first := attach(t, n, "web-0")
	if again := attach(t, n, "web-0"); again != first {
		t.Errorf("attached again: %+v, want %+v", again, first)
	}
	restarted := newNetwork(t, n.cfg)
	if again := attach(t, restarted, "web-0"); again != first {
		t.Errorf("attached after a restart: %+v, want %+v", again, first)
	}
	all, err := restarted.Attachments(context.Background())
	must(t, err)
	if len(all) != 1 || all["web-0"] != first {
		t.Errorf("attachments %+v, want only %+v", all, first)
	}
	for range 2 {
		must(t, n.Detach(context.Background(), "web-0"))
	}
	all, err = n.Attachments(context.Background())
	must(t, err)
	if len(all) != 0 {
		t.Errorf("attachments after detach: %+v", all)
	}
}

func TestConcurrentAttach(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	n := testNetwork(t)
	attach(t, n, "keeper")
	before := leftovers(t, n)
	var wg sync.WaitGroup
	var mu sync.Mutex
	addrs := map[string]string{}
	for i := range 50 {
		for range 2 { // each twice at once: one attachment
			wg.Go(func() {
				id := fmt.Sprintf("web-%d", i)
				a, err := n.Attach(context.Background(), id, testNames)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if other, taken := addrs[a.Address]; taken && other != id {
					t.Errorf("%s and %s both have %s", other, id, a.Address)
				}
				addrs[a.Address] = id
			})
		}
	}
	wg.Wait()
	all, err := n.Attachments(context.Background())
	must(t, err)
	if len(all) != 51 || len(addrs) != 50 {
		t.Errorf("%d attachments with %d addresses, want 51 with 50", len(all), len(addrs))
	}
	for i := range 50 {
		wg.Go(func() {
			if err := n.Detach(context.Background(), fmt.Sprintf("web-%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if after := leftovers(t, n); after != before {
		t.Errorf("after detaching:\n%s\nbefore:\n%s", after, before)
	}
}

func TestBridgeRemovedByHand(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	web := attach(t, n, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	publish(t, n, port("tcp", 80, target(web)))
	must(t, netlink.LinkDel(link(t, DefaultBridge)))
	all, err := n.Attachments(context.Background())
	must(t, err)
	if len(all) != 0 {
		t.Errorf("without the bridge these are said to be attached: %v", all)
	}
	other := attach(t, n, "other-0")
	if name, _ := ask(t, "", "127.0.0.1:80"); name != "web" {
		t.Errorf("published port answered by %s, want web", name)
	}
	if name, _ := ask(t, other.NetNS, web.Address+":8080"); name != "web" {
		t.Errorf("neighbour answered by %s, want web", name)
	}
	all, err = n.Attachments(context.Background())
	must(t, err)
	if len(all) != 2 {
		t.Errorf("attachments %v, want both", all)
	}
}

// After a reboot the address files are there and nothing else.
func TestAttachAfterReboot(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "state/attachments"), 0o700))
	for name, body := range map[string]string{
		"web-0.json":     `{"address":"10.231.0.9"}`,
		"torn.json":      ``,
		"twice.json":     `{"address":"10.231.0.9"}`,
		"foreign.json":   `{"address":"192.0.2.1"}`,
		"half.json.new":  `{"address":"10.2`,
		"leftover.json":  `{"address":"10.231.0.10"}`,
		"leftover2.json": `{"address":"10.231.0.11"}`,
	} {
		must(t, os.WriteFile(filepath.Join(dir, "state/attachments", name), []byte(body), 0o600))
	}
	// A run folder that is no tmpfs: the namespace's file without its mount.
	must(t, os.MkdirAll(filepath.Join(dir, "run/netns"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "run/netns/leftover"), nil, 0o444))
	n := newNetwork(t, testConfig(dir))
	all, err := n.Attachments(context.Background())
	must(t, err)
	if len(all) != 0 {
		t.Errorf("attached after a reboot: %v", all)
	}
	if a := attach(t, n, "leftover"); a.Address != "10.231.0.10" {
		t.Errorf("attached with %s, want the address on file", a.Address)
	}
	must(t, n.Sweep(context.Background(), map[string]bool{"leftover": true}))
	entries, err := os.ReadDir(n.pool.dir)
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "leftover.json" {
		t.Errorf("address files after sweep: %v", entries)
	}
}

func TestSubnetOverlapRefused(t *testing.T) {
	if !isolated(t) {
		return
	}
	outside(t)
	cfg := testConfig(t.TempDir())
	cfg.Subnet = netip.MustParsePrefix("198.51.100.128/25")
	n := newNetwork(t, cfg)
	_, infoErr := n.Info(context.Background())
	_, attachErr := n.Attach(context.Background(), "web-0", testNames)
	for what, err := range map[string]error{"info": infoErr, "attach": attachErr} {
		if err == nil || !strings.Contains(err.Error(), "set another subnet") {
			t.Errorf("%s with the node's own network: %v, want the remedy", what, err)
		}
	}
}

// Another subnet cuts nobody off: it counts once no instance is left when an
// agent begins. Then the bridge is known again, and what it had of the old one
// goes.
func TestSubnetChanges(t *testing.T) {
	if !isolated(t) {
		return
	}
	cfg, far := testConfig(t.TempDir()), outside(t)
	web := attach(t, newNetwork(t, cfg), "web-0")
	serve(t, web.NetNS, "web", ":8080")
	serve(t, far, "far", ":9000")
	cfg.Subnet = netip.MustParsePrefix("10.77.0.0/24")
	n := newNetwork(t, cfg)
	if same := attach(t, n, "web-0"); same != web {
		t.Errorf("attached as %+v, was %+v", same, web)
	}
	young := attach(t, n, "web-1")
	all, err := n.Attachments(context.Background())
	must(t, err)
	if !DefaultSubnet.Contains(netip.MustParseAddr(young.Address)) || len(all) != 2 {
		t.Errorf("a new one has %s, beside %v", young.Address, all)
	}
	publish(t, n, port("tcp", 80, target(web)))
	must(t, n.Sweep(context.Background(), map[string]bool{"web-0": true, "web-1": true}))
	if name, _ := ask(t, far, nodeAddress+":80"); name != "web" {
		t.Errorf("answered by %q", name)
	}
	if name, _ := ask(t, web.NetNS, outsideAddress+":9000"); name != "far" {
		t.Errorf("reaches %q", name)
	}
	info, err := n.Info(context.Background())
	must(t, err)
	if notes := strings.Join(info.Notes, "\n"); info.Subnet != DefaultSubnet.String() || !strings.Contains(notes, "10.77.0.0/24 and") {
		t.Errorf("info %+v: want the subnet in use and a note", info)
	}

	must(t, n.Sweep(context.Background(), nil))
	n = newNetwork(t, cfg)
	attach(t, n, "web-2")
	must(t, n.Sweep(context.Background(), map[string]bool{"web-2": true}))
	addrs, err := netlink.AddrList(link(t, DefaultBridge), netlink.FAMILY_ALL)
	must(t, err)
	for _, a := range addrs {
		p, _ := prefix(a.IPNet)
		if p.Addr() != n.cfg.gateway() && p.Addr() != n.cfg.gateway6() && !p.Addr().IsLinkLocalUnicast() {
			t.Errorf("address %s stays", p)
		}
	}
	routes, err := netlink.RouteList(link(t, DefaultBridge), netlink.FAMILY_V4)
	must(t, err)
	if len(routes) != 1 || routes[0].Dst.String() != "10.77.0.0/24" {
		t.Errorf("routes %v", routes)
	}
}

// An instance whose record is lost keeps the address that its namespace has.
func TestRecordFollowsTheNamespace(t *testing.T) {
	if !isolated(t) {
		return
	}
	cfg := testConfig(t.TempDir())
	n := newNetwork(t, cfg)
	web := attach(t, n, "web-0")
	must(t, os.WriteFile(n.pool.path("web-0"), []byte("{"), 0o600))
	n = newNetwork(t, cfg)
	if same := attach(t, n, "web-0"); same != web {
		t.Errorf("attached as %+v, was %+v", same, web)
	}
	if same := attach(t, newNetwork(t, cfg), "web-0"); same != web {
		t.Errorf("then attached as %+v, was %+v", same, web)
	}
	// Where another was given it meanwhile, that is said.
	must(t, os.Rename(n.pool.path("web-0"), n.pool.path("web-1")))
	if _, err := newNetwork(t, cfg).Attach(context.Background(), "web-0", testNames); err == nil || !strings.Contains(err.Error(), "restart both") {
		t.Errorf("an address that another has: %v", err)
	}
}

// Ids and settings become paths, link names and rules.
func TestAttack23HostileNames(t *testing.T) {
	n, err := New(testConfig(t.TempDir()))
	must(t, err)
	for _, id := range []string{"", ".", "..", "../x", "a/b", "A", "-a", "a\nb", strings.Repeat("a", 64), "a\x00"} {
		if _, err := n.Attach(context.Background(), id, testNames); !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("attach %q: %v, want invalid", id, err)
		}
		if err := n.Detach(context.Background(), id); !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("detach %q: %v, want invalid", id, err)
		}
	}
	good := n.cfg
	for name, change := range map[string]func(*Config){
		"bridge path": func(c *Config) { c.Bridge = "../eth0" },
		"bridge long": func(c *Config) { c.Bridge = "orpheus-bridge-0" },
		"table":       func(c *Config) { c.Table = "a b" },
		"ipv6":        func(c *Config) { c.Subnet = netip.MustParsePrefix("fd00::/64") },
		"tiny":        func(c *Config) { c.Subnet = netip.MustParsePrefix("10.0.0.0/30") },
		"loopback":    func(c *Config) { c.Subnet = netip.MustParsePrefix("127.0.0.0/24") },
		"host bits":   func(c *Config) { c.Subnet = netip.MustParsePrefix("10.0.0.1/24") },
		"mtu":         func(c *Config) { c.MTU = 1 },
		"relative":    func(c *Config) { c.StateDir = "state" },
		"ipv4 as 6":   func(c *Config) { c.Subnet6 = netip.MustParsePrefix("10.0.0.0/24") },
		"small ipv6":  func(c *Config) { c.Subnet6 = netip.MustParsePrefix("fd00::/120") },
		"link-local":  func(c *Config) { c.Subnet6 = netip.MustParsePrefix("fe80::/64") },
		"ipv6 mtu":    func(c *Config) { c.Subnet6, c.MTU = netip.MustParsePrefix("fd00::/64"), 1279 },
		"low ports":   func(c *Config) { c.HostPorts = [2]int{80, 90} },
		"port order":  func(c *Config) { c.HostPorts = [2]int{30000, 20000} },
		"high ports":  func(c *Config) { c.HostPorts = [2]int{65000, 66000} },
	} {
		bad := good
		change(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Two agents with one name for their bridges must not hurt each other.
func TestAnotherAgentsBridge(t *testing.T) {
	if !isolated(t) {
		return
	}
	mine, other := testNetwork(t), testNetwork(t)
	web := attach(t, mine, "web-0")
	serve(t, web.NetNS, "web", ":8080")
	publish(t, mine, port("tcp", 80, target(web)))
	_, attachErr := other.Attach(context.Background(), "web-1", testNames)
	_, infoErr := other.Info(context.Background())
	for what, err := range map[string]error{"attach": attachErr, "info": infoErr, "publish": other.Balance(context.Background(), runtime.Balancing{}), "teardown": other.Teardown(context.Background())} {
		if err == nil || !strings.Contains(err.Error(), "belongs to another agent") {
			t.Errorf("%s: %v, want a refusal", what, err)
		}
	}
	must(t, other.Sweep(context.Background(), nil))
	if name, _ := ask(t, "", "127.0.0.1:80"); name != "web" {
		t.Errorf("answered by %s, want web", name)
	}
}

// Without privileges every call says what it takes, and none breaks anything.
func TestWithoutPrivileges(t *testing.T) {
	if os.Geteuid() == 0 && !isolated(t) {
		return
	}
	n, err := New(testConfig(t.TempDir()))
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // never unlocked: the thread ends here
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
			return
		}
		_, infoErr := n.Info(context.Background())
		_, attachErr := n.Attach(context.Background(), "web-0", testNames)
		for what, err := range map[string]error{"info": infoErr, "attach": attachErr, "publish": n.Balance(context.Background(), runtime.Balancing{}), "teardown": n.Teardown(context.Background())} {
			if err == nil || !strings.Contains(err.Error(), "run the agent as root") {
				t.Errorf("%s: %v, want the remedy", what, err)
			}
		}
		if err := n.Sweep(context.Background(), nil); err != nil {
			t.Errorf("sweep: %v, want nothing to do", err)
		}
	}()
	<-done
}

func BenchmarkAttachDetach(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: makes network namespaces")
	}
	n := newNetwork(b, testConfig(b.TempDir()))
	attach(b, n, "first")
	defer func() {
		must(b, n.Sweep(context.Background(), nil))
		must(b, n.Teardown(context.Background()))
	}()
	b.Run("attach", func(b *testing.B) {
		for i := range b.N {
			attach(b, n, fmt.Sprint("web-", i))
			b.StopTimer()
			must(b, n.Detach(context.Background(), fmt.Sprint("web-", i)))
			b.StartTimer()
		}
	})
	b.Run("attached already", func(b *testing.B) {
		for range b.N {
			attach(b, n, "first")
		}
	})
	b.Run("detach", func(b *testing.B) {
		for i := range b.N {
			b.StopTimer()
			attach(b, n, fmt.Sprint("web-", i))
			b.StartTimer()
			must(b, n.Detach(context.Background(), fmt.Sprint("web-", i)))
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: writes nftables rules")
	}
	n := newNetwork(b, testConfig(b.TempDir()))
	ports := manyPorts(50, 3)
	b.Run("50 ports", func(b *testing.B) {
		for range b.N {
			publish(b, n, ports...)
			b.StopTimer()
			publish(b, n)
			b.StartTimer()
		}
	})
	b.Run("50 ports, same", func(b *testing.B) {
		publish(b, n, ports...)
		for range b.N {
			publish(b, n, ports...)
		}
	})
	b.Run("50 ports, one target changes", func(b *testing.B) {
		for i := range b.N {
			ports[10].Targets[0].Port = 1 + i%1000 // tcp
			publish(b, n, ports...)
		}
	})
	b.Run("50 ports, one udp target changes", func(b *testing.B) {
		for i := range b.N {
			ports[11].Targets[0].Port = 1 + i%1000
			publish(b, n, ports...)
		}
	})
	b.Run("50 ports, whole table", func(b *testing.B) {
		publish(b, n, ports...)
		for range b.N {
			must(b, n.rules.replace(n.rules.balances()))
		}
	})
	b.Run("1000 ports of 10, one target changes", func(b *testing.B) {
		var many []runtime.Front
		for p := range 1000 {
			var to []runtime.Target
			for i := range 10 {
				to = append(to, runtime.Target{Address: fmt.Sprintf("10.231.%d.%d", i, p%250), Port: 80})
			}
			many = append(many, port("tcp", 1000+p, to...))
		}
		publish(b, n, many...)
		b.ResetTimer()
		for i := range b.N {
			many[500].Targets[0].Port = 1 + i%1000
			publish(b, n, many...)
		}
	})
}
