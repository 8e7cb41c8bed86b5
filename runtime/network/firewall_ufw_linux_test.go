package network

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBesideUFWWithNFT(t *testing.T)    { testBesideUFW(t, "nft") }
func TestBesideUFWWithLegacy(t *testing.T) { testBesideUFW(t, "legacy") }

// The real ufw, which denies what comes in and what is routed, in both orders of
// start, and through what it does while ours runs.
func testBesideUFW(t *testing.T, variant string) {
	if !isolatedBeside(t) {
		return
	}
	needUFW(t)
	b := newBeside(t, variant)
	run(t, "ufw", "allow", "22/tcp")
	ufw := func(args ...string) { t.Helper(); run(t, "ufw", args...) }
	// One rule for what is forwarded, one for what asks for names.
	rules := 2
	if hostHasIPv6() {
		rules = 4
	}

	// ufw is first. It tells its default for what is routed only where anything
	// is: a new namespace has this of the machine, which may be either.
	must(t, setSysctl("/proc/sys/net/ipv4/ip_forward", "1"))
	ufw("--force", "enable")
	before := filterRules(t, variant)
	if status := run(t, "ufw", "status", "verbose"); !strings.Contains(status, "deny (incoming), allow (outgoing), deny (routed)") {
		t.Fatalf("ufw does not deny by default:\n%s", status)
	}
	n := b.setUp()
	b.works("ufw first", rules)
	ufw("reload")
	b.becomes(rules, "ufw reloaded")
	b.works("ufw reloaded", rules)
	ufw("disable")
	b.passes("ufw disabled")
	ufw("--force", "enable")
	b.becomes(rules, "ufw enabled again")
	b.works("ufw enabled again", rules)
	b.tearDown(n)
	if after := filterRules(t, variant); after != before {
		t.Errorf("torn down:\n%s\nbefore:\n%s", after, before)
	}

	// By hand.
	kept := map[string][]byte{"/etc/ufw/after.rules": nil, "/etc/ufw/after6.rules": nil}
	for file := range kept {
		text, err := os.ReadFile(file)
		must(t, err)
		kept[file] = text
	}
	b.cfg.NoForeignRules = true
	n = b.setUp()
	unreachable(t, b.far.ns, at(b.here.addr[0], localPort))
	byHand(t, n)
	if got := b.ours(); got != 0 {
		t.Errorf("foreign rules forbidden: %d rules of ours", got)
	}
	b.passes("by hand")
	b.noted(n, "by hand", 0)
	ufw("reload")
	b.passes("by hand, reloaded")
	b.noted(n, "by hand, reloaded", 0)
	b.guarded("by hand, reloaded")
	b.cfg.NoForeignRules = false // what people did is enough
	b.halt()
	b.setUp()
	b.passes("by hand, allowed again")
	if got := b.ours(); got != 0 {
		t.Errorf("by hand, allowed again: %d rules of ours, want none beside that of people", got)
	}
	b.tearDown(n)
	for file, text := range kept {
		must(t, os.WriteFile(file, text, 0o640))
	}

	// Ours is first.
	ufw("disable")
	n = b.setUp()
	b.passes("without ufw")
	ufw("--force", "enable")
	b.becomes(rules, "ufw second")
	b.works("ufw second", rules)
	b.tearDown(n)
	if after := filterRules(t, variant); after != before {
		t.Errorf("torn down at last:\n%s\nbefore:\n%s", after, before)
	}
	b.guarded("torn down")
}

// works fails unless ours and ufw do their parts.
func (b *beside) works(when string, rules int) {
	b.t.Helper()
	if got := b.ours(); got != rules {
		b.t.Errorf("%s: %d rules of ours, want %d:\n%s", when, got, rules, filterRules(b.t, b.variant))
	}
	b.passes(when)
	b.guarded(when)
}

// guarded fails unless the node's own ports are closed to others and instances,
// but for the one that ufw was told to open.
func (b *beside) guarded(when string) {
	b.t.Helper()
	var waits sync.WaitGroup
	closed := func(ns, address string) {
		waits.Go(func() {
			if c, err := dialWithin(b.t, 300*time.Millisecond, ns, "tcp", address); err == nil {
				c.Close()
				b.t.Errorf("%s: %s is open to %q", when, address, filepath.Base(ns))
			}
		})
	}
	for v := range b.far.addr {
		closed(b.far.ns, at(b.here.addr[v], nodePort))
		closed(b.far.ns, at(b.here.addr[v], 53))
		if b.stop != nil {
			closed(b.other.NetNS, at(b.here.addr[v], nodePort))
			closed(b.other.NetNS, at([]string{b.other.Gateway, b.other.Gateway6}[v], nodePort))
		}
		reaches(b.t, b.far.ns, "tcp", at(b.here.addr[v], 22), "ssh", b.far.addr[v])
	}
	waits.Wait()
}

// needUFW gives the test copies of all that ufw reads and writes.
func needUFW(t *testing.T) {
	t.Helper()
	if _, err := findProgram("ufw"); err != nil {
		t.Skipf("needs ufw: %v", err)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	privateRun(t)
	privately(t, "/etc/ufw")
	privately(t, "/etc/default/ufw")
	for _, dir := range []string{"/lib/ufw", "/var/lib/ufw"} {
		if _, err := os.Stat(dir); err == nil {
			privately(t, dir)
		}
	}
	config, err := os.ReadFile("/etc/ufw/ufw.conf")
	must(t, err)
	if !strings.Contains(string(config), "ENABLED=no") {
		t.Skip("needs a machine that does not use ufw itself: its rules are not ours to try")
	}
	if out, err := exec.Command("ufw", "version").CombinedOutput(); err != nil {
		t.Skipf("needs an ufw that runs: %v: %s", err, out)
	}
	echo(t, "", "ssh", 22)
}
