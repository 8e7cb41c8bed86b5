package network

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestAddressesAreReusedLate(t *testing.T) {
	cfg := Config{Subnet: netip.MustParsePrefix("10.9.8.0/28")}.withDefaults() // 13 instances
	p := pool{dir: t.TempDir(), subnet: cfg.Subnet, address6: cfg.address6}
	seen := map[netip.Addr]bool{}
	for i := range 13 {
		r, err := p.take(fmt.Sprint("i-", i))
		must(t, err)
		last := r.Address.As4()[3]
		if seen[r.Address] || !cfg.Subnet.Contains(r.Address) || last < 2 || last > 14 {
			t.Errorf("address %s: seen before %v", r.Address, seen[r.Address])
		}
		if r.Address6 != cfg.address6(r.Address) || !cfg.Subnet6.Contains(r.Address6) || r.Address6.As16()[15] != last&15 {
			t.Errorf("address %s beside %s", r.Address6, r.Address)
		}
		seen[r.Address] = true
		must(t, p.release(fmt.Sprint("i-", i)))
	}
	for i := range 13 {
		if _, err := p.take(fmt.Sprint("i-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.take("one-more"); err == nil || !strings.Contains(err.Error(), "larger subnet") {
		t.Errorf("14th of 13 addresses: %v, want the remedy", err)
	}
}

// A record that cannot be read for now is that of an instance that may run: its
// address must not go to another.
func TestUnreadableRecordStays(t *testing.T) {
	cfg := Config{Subnet: netip.MustParsePrefix("10.9.8.0/28")}.withDefaults()
	p := pool{dir: t.TempDir(), subnet: cfg.Subnet, address6: cfg.address6}
	path := p.path("web-0")
	must(t, os.Mkdir(path, 0o700)) // reading it fails, whoever asks
	if _, err := p.take("web-1"); err == nil {
		t.Error("an address was given while one is not known to be free")
	}
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, []byte(`{"address":"10.9.8.7"}`), 0o600))
	if r, err := p.take("web-0"); err != nil || r.Address != netip.MustParseAddr("10.9.8.7") {
		t.Errorf("%v (%v), want the address on file", r.Address, err)
	}
}

// IPv6 addresses follow from the IPv4 ones, and no default range meets another.
func TestIPv6Places(t *testing.T) {
	services := netip.MustParsePrefix("fd6f:7270:6865:7573::/112")
	for _, c := range []struct{ subnet, subnet6, addr, addr6 string }{
		{"10.231.0.0/20", "", "10.231.0.1", "fd6f:7214:ae7::1"},
		{"10.231.0.0/20", "", "10.231.15.254", "fd6f:7214:ae7::ffe"},
		{"10.0.0.0/8", "", "10.255.1.2", "fd6f:7208:a00::ff:102"},
		{"192.168.7.248/29", "", "192.168.7.250", "fd6f:721d:c0a8:7f8::2"},
		{"10.231.16.0/20", "2001:db8:1:2:8000::/108", "10.231.17.2", "2001:db8:1:2:8000::102"},
	} {
		cfg := Config{Subnet: netip.MustParsePrefix(c.subnet)}
		if c.subnet6 != "" {
			cfg.Subnet6 = netip.MustParsePrefix(c.subnet6)
		}
		cfg = cfg.withDefaults()
		if got := cfg.address6(netip.MustParseAddr(c.addr)); got.String() != c.addr6 || !cfg.Subnet6.Contains(got) {
			t.Errorf("%s of %s: %s in %s, want %s", c.addr, c.subnet, got, cfg.Subnet6, c.addr6)
		}
		if cfg.Subnet6.Overlaps(services) {
			t.Errorf("%s overlaps the service addresses", cfg.Subnet6)
		}
	}
	if cfg := (Config{NoIPv6: true}).withDefaults(); cfg.Subnet6.IsValid() || cfg.gateway6().IsValid() {
		t.Errorf("without IPv6: %s, %s", cfg.Subnet6, cfg.gateway6())
	}
}
