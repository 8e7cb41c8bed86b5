//go:build linux

package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// The standard library's client, as programs have it, finds names by search
// domains, follows SRV records and asks again over TCP.
func TestClientOfTheStandardLibrary(t *testing.T) {
	z := shop()
	many := Service{Namespace: "default", Name: "many", Headless: true}
	for i := range 200 {
		many.Addresses = append(many.Addresses, fmt.Sprintf("10.232.9.%d", i))
	}
	z.Services = append(z.Services, many)
	_, addr := served(t, z)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if got, err := r.LookupHost(ctx, "web.shop.orpheus.internal."); err != nil || !slices.Equal(got, []string{"10.232.0.20"}) {
		t.Errorf("host: %v %v", got, err)
	}
	if got, err := r.LookupHost(ctx, "many.default.orpheus.internal."); err != nil || len(got) != 200 {
		t.Errorf("many: %d %v", len(got), err)
	}
	if _, got, err := r.LookupSRV(ctx, "sql", "tcp", "db.shop.orpheus.internal."); err != nil || len(got) != 2 {
		t.Errorf("srv: %v %v", got, err)
	}
	if got, err := r.LookupAddr(ctx, "10.232.0.20"); err != nil || !slices.Equal(got, []string{"web.shop.orpheus.internal."}) {
		t.Errorf("addr: %v %v", got, err)
	}
	if _, err := r.LookupHost(ctx, "nope.shop.orpheus.internal."); err == nil || !err.(*net.DNSError).IsNotFound {
		t.Errorf("no such name: %v", err)
	}
}

// A zone is served as soon as it is written; one that cannot be read changes
// nothing, and is told.
func TestZoneFile(t *testing.T) {
	s, addr := served(t, shop())
	path := filepath.Join(s.dir, ZoneFile)
	has := func(want int) func() bool {
		return func() bool {
			m := asked(t, "udp", addr, question(t, "new.default.orpheus.internal.", dnsmessage.TypeA))
			return len(m.Answers) == want
		}
	}
	told := func(word string) func() bool {
		return func() bool { return strings.Contains(strings.Join(s.health().Faults, "\n"), word) }
	}
	z := shop()
	z.Listen = []string{addr}
	z.Services = append(z.Services, Service{Namespace: "default", Name: "new", Addresses: []string{"10.232.7.7"}})
	write := func(z Zone) {
		t.Helper()
		if err := Write(path, z); err != nil {
			t.Fatal(err)
		}
	}
	write(z)
	eventually(t, "a new service", has(1))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why   string
		spoil func() error
		word  string
	}{
		{"torn", func() error { return os.WriteFile(path, good[:len(good)/2], 0o600) }, "unexpected end"},
		{"garbled", func() error { return os.WriteFile(path, []byte("\x00\xff{{{"), 0o600) }, "invalid character"},
		{"empty", func() error { return os.WriteFile(path, nil, 0o600) }, "unexpected end"},
		{"too large", func() error { return os.Truncate(path, maxZoneSize+1) }, "more than"},
		{"gone", func() error { return os.Remove(path) }, "no such file"},
		{"a folder", func() error { return os.Mkdir(path, 0o700) }, "not a regular file"},
	} {
		if err := c.spoil(); err != nil {
			t.Fatal(err)
		}
		eventually(t, c.why+" is told", told(c.word))
		if !has(1)() {
			t.Errorf("%s: the last good zone is not served", c.why)
		}
	}
	os.Remove(path)
	write(shop()) // without an address to listen on
	eventually(t, "the sockets are closed", func() bool { return len(s.health().Listening) == 0 })
	write(z)
	eventually(t, "and open again", func() bool { return len(s.health().Listening) == 1 && len(s.health().Faults) == 0 })
	eventually(t, "with the names", has(1))
}

// Write leaves a file with the same content alone, and nothing behind.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), ZoneFile)
	var infos []os.FileInfo
	for _, z := range []Zone{shop(), shop(), {Listen: []string{"127.0.0.1:53"}}} {
		if err := Write(path, z); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	if !os.SameFile(infos[0], infos[1]) || os.SameFile(infos[1], infos[2]) {
		t.Error("the same zone was written, or another was not")
	}
	if err := Write(path, Zone{Listen: []string{strings.Repeat("x", maxZoneSize)}}); err == nil {
		t.Error("a zone that no server reads was written")
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

// An address that somebody else has is told with the remedy, and taken when it
// is free.
func TestAddressInUse(t *testing.T) {
	busy, err := net.ListenPacket("udp", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := served(t, shop())
	z := shop()
	z.Listen = []string{busy.LocalAddr().String()}
	if err := Write(filepath.Join(s.dir, ZoneFile), z); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is told", func() bool {
		return strings.Contains(strings.Join(s.health().Faults, "\n"), "another program answers there")
	})
	busy.Close()
	eventually(t, "it is taken", func() bool { return len(s.health().Listening) == 1 })
}

// A connection answers many questions; too many connections of one source are
// refused, and others still answered.
func TestStreams(t *testing.T) {
	s, addr := served(t, shop())
	msg := question(t, "web.default.orpheus.internal.", dnsmessage.TypeA)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	works := func(c net.Conn) bool {
		c.SetDeadline(time.Now().Add(time.Minute))
		for range 3 {
			if _, err := c.Write(framed(msg)); err != nil {
				return false
			}
			if _, err := readFrame(c, maxReply); err != nil {
				return false
			}
		}
		return true
	}
	for range maxStreamsOne {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if !works(c) {
			t.Fatal("no answer")
		}
	}
	extra, err := net.Dial("tcp", addr)
	if err == nil && works(extra) {
		t.Errorf("more than %d connections are answered", maxStreamsOne)
	}
	conns[0].Close()
	eventually(t, "a place is free again", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		defer c.Close()
		return works(c)
	})
	// A frame larger than any question ends the connection.
	if _, err := conns[1].Write([]byte{0xff, 0xff, 0}); err != nil {
		t.Fatal(err)
	}
	conns[1].SetDeadline(time.Now().Add(time.Minute))
	if n, err := conns[1].Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("read %d, %v", n, err)
	}
	if m := asked(t, "udp", addr, msg); len(m.Answers) != 1 {
		t.Error("UDP is not answered")
	}
	if len(s.health().Listening) != 1 {
		t.Error("not listening")
	}
}

// inOwnNetwork runs the rest of the test in a network namespace of its own. It
// returns false in the outer process, where the test is done then.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	const env = "ORPHEUS_RESOLVER_TEST_NETWORK"
	if os.Getenv(env) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs iproute2")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in its own network: %v\n%s", err, out)
	}
	return false
}

// The server may be there before its bridge, and outlives it.
func TestBridgeComesAndGoes(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
	dir := t.TempDir()
	z := shop()
	z.Listen = []string{"10.231.0.1:53", "[fd00:231::1]:53"}
	if err := Write(filepath.Join(dir, ZoneFile), z); err != nil {
		t.Fatal(err)
	}
	s := newServer(dir, "test", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if !s.look() {
		t.Fatalf("cannot listen before there is a bridge: %v", s.health().Faults)
	}
	s.serve()
	defer s.close()
	ip("link set lo up")
	msg := question(t, "web.default.orpheus.internal.", dnsmessage.TypeA)
	for range 3 {
		ip("link add br0 type bridge")
		ip("addr add 10.231.0.1/20 dev br0")
		ip("addr add fd00:231::1/64 dev br0 nodad")
		ip("link set br0 up")
		for _, addr := range z.Listen {
			for _, network := range []string{"udp", "tcp"} {
				eventually(t, network+" "+addr, func() bool {
					out, err := exchangeOnce(network, addr, msg, time.Second)
					return err == nil && len(unpack(t, out).Answers) == 1
				})
			}
		}
		ip("link del br0")
	}
}

// Who may not ask does not take the places of streams either.
func TestStreamsOfOthersAreClosed(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	k := slices.IndexFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().IsGlobalUnicast()
	})
	if k < 0 {
		t.Skip("needs an address besides loopback: there everybody may ask")
	}
	own := netip.MustParsePrefix(addrs[k].String()).Addr()
	s, err := listen(netip.AddrPortFrom(own, 0))
	if err != nil {
		t.Fatal(err)
	}
	h := handlerOf(shop())
	s.serve(h, slog.New(slog.DiscardHandler))
	defer s.close()
	defer s.pause()
	begun := time.Now()
	for range maxStreamsOne {
		c, err := net.Dial("tcp", s.tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read %d bytes, %v; want the connection closed", n, err)
		}
	}
	if h.count.refused.Load() != maxStreamsOne {
		t.Errorf("%d connections refused in %s, want all %d", h.count.refused.Load(), time.Since(begun), maxStreamsOne)
	}
}
