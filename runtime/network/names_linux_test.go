package network

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// namesNetwork has the host's resolv.conf and systemd-resolved's as given.
func namesNetwork(t *testing.T, noNames bool, resolvConf, upstream string) *Network {
	t.Helper()
	dir := t.TempDir()
	cfg := testConfig(dir)
	cfg.NoNames = noNames
	cfg.ResolvConf, cfg.UpstreamResolvConf = filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "upstream")
	for path, body := range map[string]string{cfg.ResolvConf: resolvConf, cfg.UpstreamResolvConf: upstream} {
		if body != "" {
			must(t, os.WriteFile(path, []byte(body), 0o644))
		}
	}
	return newNetwork(t, cfg)
}

func readNames(t *testing.T, path string) string {
	t.Helper()
	body, err := os.ReadFile(path)
	must(t, err)
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o644 {
		t.Errorf("%s: mode %v", path, st.Mode())
	}
	return string(body)
}

func TestNameFiles(t *testing.T) {
	if !isolated(t) {
		return
	}
	withoutIPv6(t)
	n := namesNetwork(t, false, "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad ndots:5 timeout:3\nsearch example.com corp.example.com\n", "")
	a := attach(t, n, "web-0")
	for path, want := range map[string]string{
		a.ResolvConf: "nameserver 10.231.0.1\nsearch shop.orpheus.internal orpheus.internal example.com corp.example.com\noptions ndots:1 edns0 timeout:3\n",
		a.Hosts:      "127.0.0.1\tlocalhost\n" + a.Address + "\thost\n",
	} {
		if got := readNames(t, path); got != want {
			t.Errorf("%s: %q, want %q", filepath.Base(path), got, want)
		}
	}
	if got := n.Upstream(); !slices.Equal(got, []string{"127.0.0.53:53"}) {
		t.Errorf("upstream %v", got)
	}
	info, err := n.Info(context.Background())
	must(t, err)
	if notes := strings.Join(info.Notes, "\n"); strings.Contains(notes, "names") {
		t.Errorf("notes: %s", notes)
	}
}

// The manifest's lines follow those that every instance has; the node is the
// bridge, in each family that the instance has.
func TestHostAliases(t *testing.T) {
	n := namesNetwork(t, false, "", "")
	names := testNames
	names.Aliases = []planner.HostAlias{
		{IP: "192.0.2.7", Hostnames: []string{"db", "db.example.com"}},
		{IP: planner.NodeHost, Hostnames: []string{"host.docker.internal"}},
		{IP: "2001:db8::7", Hostnames: []string{"six"}},
	}
	r := record{Address: netip.MustParseAddr("10.231.0.9")}
	const first, last = "10.231.0.9\thost\n192.0.2.7\tdb db.example.com\n10.231.0.1\thost.docker.internal\n", "2001:db8::7\tsix\n"
	if got := n.hosts(names, r); got != "127.0.0.1\tlocalhost\n"+first+last {
		t.Errorf("without IPv6: %q", got)
	}
	if !n.cfg.Subnet6.IsValid() {
		return
	}
	r.Address6 = n.cfg.gateway6().Next()
	if got := n.hosts(names, r); !strings.HasSuffix(got, "\n10.231.0.1\thost.docker.internal\n"+n.cfg.gateway6().String()+"\thost.docker.internal\n"+last) {
		t.Errorf("with IPv6: %q", got)
	}
}

// What the manifest says of domains and options stands in the place of what the
// host says, each for itself, and never in that of the fleet's domains.
func TestNamesOfTheManifest(t *testing.T) {
	const host = "nameserver 192.0.2.53\nsearch example.com\noptions timeout:3 ndots:5 trust-ad\n"
	n, direct := namesNetwork(t, false, host, ""), namesNetwork(t, true, host, "")
	r := record{Address: netip.MustParseAddr("10.231.0.9")}
	const own = "nameserver 10.231.0.1\nsearch shop.orpheus.internal orpheus.internal"
	for _, c := range []struct {
		name         string
		dns          planner.DNS
		want, direct string
	}{
		{"nothing", planner.DNS{}, own + " example.com\noptions ndots:1 timeout:3\n", "nameserver 192.0.2.53\nsearch example.com\noptions timeout:3 ndots:5 trust-ad\n"},
		{"domains", planner.DNS{Search: []string{"a.example", "b.example"}}, own + " a.example b.example\noptions ndots:1 timeout:3\n",
			"nameserver 192.0.2.53\nsearch a.example b.example\noptions timeout:3 ndots:5 trust-ad\n"},
		{"no domains", planner.DNS{Search: []string{planner.NoSearch}}, own + "\noptions ndots:1 timeout:3\n", "nameserver 192.0.2.53\noptions timeout:3 ndots:5 trust-ad\n"},
		{"options", planner.DNS{Options: []string{"use-vc", "trust-ad"}}, own + " example.com\noptions ndots:1 use-vc trust-ad\n",
			"nameserver 192.0.2.53\nsearch example.com\noptions use-vc trust-ad\n"},
		{"ndots", planner.DNS{Options: []string{"ndots:4"}}, own + " example.com\noptions ndots:4\n", "nameserver 192.0.2.53\nsearch example.com\noptions ndots:4\n"},
		{"servers", planner.DNS{Servers: []string{"1.1.1.1", "2001:db8::1"}}, own + " example.com\noptions ndots:1 timeout:3\n",
			"nameserver 1.1.1.1\nnameserver 2001:db8::1\nsearch example.com\noptions timeout:3 ndots:5 trust-ad\n"},
	} {
		names := testNames
		names.DNS = c.dns
		for network, want := range map[*Network]string{n: c.want, direct: c.direct} {
			if got, err := network.resolvConf(names, r); err != nil || got != want {
				t.Errorf("%s: %q, %v; want %q", c.name, got, err, want)
			}
		}
	}
}

// Which name servers are asked for an instance is known as long as it is there,
// and never by what had its address before.
func TestServersOfInstances(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := namesNetwork(t, false, "", "")
	names := testNames
	names.DNS.Servers = []string{"1.1.1.1", "2001:db8::1", "127.0.0.1"}
	files := func() (all []string) {
		entries, _ := os.ReadDir(n.ServersDir())
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	a, err := n.Attach(context.Background(), "web-0", names)
	must(t, err)
	want := []string{a.Address}
	if a.Address6 != "" {
		want = append(want, a.Address6)
	}
	if got := files(); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	for range 2 { // and again when they are lost
		for _, address := range want {
			text, err := os.ReadFile(filepath.Join(n.ServersDir(), address))
			if err != nil || string(text) != "1.1.1.1:53\n[2001:db8::1]:53\n" {
				t.Errorf("%s: %q, %v", address, text, err)
			}
		}
		must(t, os.RemoveAll(n.ServersDir()))
		_, err = n.Attach(context.Background(), "web-0", names)
		must(t, err)
	}
	b := attach(t, n, "web-1")
	if got := files(); !slices.Equal(got, want) {
		t.Errorf("files %q with an instance that has none, want %q", got, want)
	}
	must(t, n.Detach(context.Background(), "web-0"))
	if got := files(); len(got) != 0 {
		t.Errorf("files %q without the instance", got)
	}
	// As a crash leaves it to the next that has the address.
	must(t, os.WriteFile(filepath.Join(n.ServersDir(), b.Address), []byte("192.0.2.1:53\n"), 0o600))
	must(t, os.RemoveAll(n.names("web-1")))
	attach(t, n, "web-1")
	if got := files(); len(got) != 0 {
		t.Errorf("files %q of one that had the address before", got)
	}
}

// The name server's own address is in the host's resolv.conf where somebody
// wants services resolved on the host: it does not ask itself.
func TestUpstreamIsNeverOurselves(t *testing.T) {
	n := namesNetwork(t, false, "nameserver 10.231.0.1\nnameserver fd6f:7214:ae7::1\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n", "")
	want := []string{"[2001:db8::53]:53"}
	if !n.cfg.Subnet6.IsValid() {
		want = []string{"[fd6f:7214:ae7::1]:53", "[2001:db8::53]:53"}
	}
	if got := n.Upstream(); !slices.Equal(got, want) {
		t.Errorf("upstream %v, want %v", got, want)
	}
	none := namesNetwork(t, false, "", "")
	if got := none.Upstream(); len(got) != 0 {
		t.Errorf("upstream %v without resolv.conf", got)
	}
}

func TestResolverReadsWhatLibrariesRead(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"", ""},
		{"nameserver\nnameserver web\nnameserver 0.0.0.0\n", ""},
		// Comments begin lines; fields may stand apart.
		{"; one\n# two\n  nameserver \t 192.0.2.1  \n", "nameserver 192.0.2.1\n"},
		// The last of search and domain counts.
		{"search a b\ndomain c\n", "search c\n"},
		{"domain c\nsearch a b\n", "search a b\n"},
		{strings.Repeat("nameserver 192.0.2.1\n", 5), strings.Repeat("nameserver 192.0.2.1\n", 3)},
		{"options a\noptions b\n", "options a b\n"},
	} {
		if got := parseResolver([]byte(c.body)).String(); got != c.want {
			t.Errorf("%q: %q, want %q", c.body, got, c.want)
		}
	}
	r := resolver{search: []string{"a", "b"}}
	r.addSearch([]string{"a", ".", "c", "d", "e", "f", "g"})
	if want := []string{"a", "b", "c", "d", "e", "f"}; !slices.Equal(r.search, want) {
		t.Errorf("search %v, want %v", r.search, want)
	}
	r.search = r.search[:2]
	r.addSearch([]string{strings.Repeat("x", 253)})
	if len(r.search) != 2 {
		t.Errorf("search of %d characters", len(strings.Join(r.search, " ")))
	}
}

// Without a name server on the bridge, instances ask the host's.
func TestNameFilesWithoutOurServer(t *testing.T) {
	if !isolated(t) {
		return
	}
	withoutIPv6(t)
	n := namesNetwork(t, true, "# stub\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0\nsearch example.com\n",
		"nameserver 192.0.2.53\nnameserver fe80::1\nsearch example.com\n")
	a := attach(t, n, "web-0")
	if got, want := readNames(t, a.ResolvConf), "nameserver 192.0.2.53\nsearch example.com\n"; got != want {
		t.Errorf("resolv.conf: %q, want %q", got, want)
	}
	// Nobody to ask: said, not invented.
	must(t, os.Remove(n.cfg.UpstreamResolvConf))
	info, err := n.Info(context.Background())
	must(t, err)
	if notes := strings.Join(info.Notes, "\n"); !strings.Contains(notes, "resolve no names") {
		t.Errorf("notes: %s", notes)
	}
	b := attach(t, n, "web-1")
	if got, want := readNames(t, b.ResolvConf), "search example.com\noptions edns0\n"; got != want {
		t.Errorf("resolv.conf without servers: %q, want %q", got, want)
	}
}
