package network

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The real firewalld, in both orders of start, and reloaded and restarted while
// ours runs.
func TestBesideFirewalld(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	start := needFirewalld(t)
	b := newBeside(t, "nft")
	inZone := func(n *Network, when string) {
		t.Helper()
		want := []string{"firewalld: orpheus0 is in zone trusted"}
		eventually(t, when+": the bridge in its zone", func() bool {
			info, err := n.Info(context.Background())
			must(t, err)
			return slices.Equal(info.ForeignRules, want)
		})
		b.passes(when)
		for v := range b.far.addr {
			unreachableAt(t, b.far.ns, at(b.here.addr[v], nodePort))
			unreachableAt(t, b.far.ns, at(b.here.addr[v], 53))
		}
	}
	// The chains that firewalld made for the zone stay, unused: they are its own.
	state := func() string {
		t.Helper()
		if rules := run(t, "nft", "list", "table", "inet", "firewalld"); strings.Contains(rules, "orpheus") {
			t.Errorf("firewalld's rules name our bridge:\n%s", rules)
		}
		return run(t, "firewall-cmd", "--list-all-zones")
	}

	// firewalld is first.
	d := start()
	before := state()
	n := b.setUp()
	inZone(n, "firewalld first")
	run(t, "firewall-cmd", "--reload")
	inZone(n, "reloaded")
	d.stop()
	b.passes("firewalld stopped")
	d = start()
	inZone(n, "restarted")
	b.tearDown(n)
	if after := state(); after != before {
		t.Errorf("torn down:\n%s\nbefore:\n%s", after, before)
	}

	// By hand.
	b.cfg.NoForeignRules = true
	n = b.setUp()
	unreachable(t, b.other.NetNS, at(b.far.addr[0], farPort))
	byHand(t, n)
	must(t, n.keep(context.Background()))
	b.passes("by hand")
	b.noted(n, "by hand", 0)
	b.tearDown(n)
	if zone := strings.TrimSpace(run(t, "firewall-cmd", "--get-zone-of-interface=orpheus0")); zone != "trusted" {
		t.Errorf("torn down: the bridge is in zone %q, want it where people put it", zone)
	}
	run(t, "firewall-cmd", "--permanent", "--zone=trusted", "--remove-interface=orpheus0")

	// Ours is first.
	b.cfg.NoForeignRules = false
	d.stop()
	n = b.setUp()
	b.passes("without firewalld")
	start()
	inZone(n, "firewalld second")
	b.tearDown(n)
	if after := state(); after != before {
		t.Errorf("torn down at last:\n%s\nbefore:\n%s", after, before)
	}
}

// needFirewalld gives the test copies of all that firewalld reads and writes,
// and what starts it, with a bus of its own.
func needFirewalld(t *testing.T) (start func() *daemon) {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, name := range []string{"firewalld", "firewall-cmd", "dbus-daemon"} {
		if _, err := findProgram(name); err != nil {
			t.Skipf("needs firewalld, %s: %v", name, err)
		}
	}
	privateRun(t)
	privately(t, "/etc/firewalld")
	must(t, os.Mkdir("/run/dbus", 0o755))
	log := filepath.Join(t.TempDir(), "firewalld")
	return func() *daemon {
		t.Helper()
		must(t, os.RemoveAll("/run/dbus/system_bus_socket"))
		d := startDaemon(t, log, `dbus-daemon --system --nofork --nopidfile --nosyslog & exec firewalld --nofork --nopid`)
		eventually(t, "answer of firewalld", func() bool {
			d.alive()
			return exec.Command("firewall-cmd", "--state").Run() == nil
		})
		return d
	}
}
