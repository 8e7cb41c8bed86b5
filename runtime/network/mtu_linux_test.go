package network

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/runtime"
)

func defaultRoute(t *testing.T) {
	t.Helper()
	must(t, netlink.RouteReplace(&netlink.Route{Gw: netip.MustParseAddr(outsideAddress).AsSlice()}))
}

func checkMTU(t *testing.T, n *Network, netns, id string, want int) {
	t.Helper()
	got := []int{link(t, DefaultBridge).Attrs().MTU, link(t, n.linkName(id)).Attrs().MTU}
	within(t, netns, func() { got = append(got, link(t, "eth0").Attrs().MTU) })
	for k, where := range []string{"bridge", "link", "eth0"} {
		if got[k] != want {
			t.Errorf("mtu of %s: %d, want %d", where, got[k], want)
		}
	}
}

func TestMTUFollowsDefaultRoute(t *testing.T) {
	if !isolated(t) {
		return
	}
	n := testNetwork(t)
	a := attach(t, n, "web-0")
	checkMTU(t, n, a.NetNS, "web-0", 1500) // nowhere to go
	outside(t)                             // its link carries 1400
	defaultRoute(t)
	// The next agent finds the way out, and tells who is there already.
	n = newNetwork(t, n.cfg)
	attach(t, n, "web-1")
	checkMTU(t, n, a.NetNS, "web-0", 1400)
	checkMTU(t, n, attach(t, n, "web-1").NetNS, "web-1", 1400)
	// As configured.
	cfg := n.cfg
	cfg.MTU = 1300
	n = newNetwork(t, cfg)
	attach(t, n, "web-2")
	checkMTU(t, n, a.NetNS, "web-0", 1300)
	// The way out is gone for a while: that tells nothing.
	must(t, netlink.RouteDel(&netlink.Route{Gw: netip.MustParseAddr(outsideAddress).AsSlice()}))
	cfg.MTU = 0
	n = newNetwork(t, cfg)
	attach(t, n, "web-2")
	checkMTU(t, n, a.NetNS, "web-0", 1300)
}

// Where a link on the way carries less than the instance's, its router says so
// to the node, and the instance hears it: what is larger passes, both ways.
func TestPathMTU(t *testing.T) {
	if !isolated(t) {
		return
	}
	n, far := testNetwork(t), behindNarrowLink(t)
	web := attach(t, n, "web-0")
	if mtu := link(t, DefaultBridge).Attrs().MTU; mtu != 1500 {
		t.Fatalf("mtu of the bridge %d, want 1500: wider than the way", mtu)
	}
	serve(t, far, "far", ":9000")
	serve(t, web.NetNS, "web", ":8080")
	publish(t, n, port("tcp", 80, runtime.Target{Address: web.Address, Port: 8080}))
	for _, c := range []struct{ what, from, address string }{
		{"instance to a host behind a narrow link", web.NetNS, "203.0.113.2:9000"},
		{"host behind a narrow link to a published port", far, nodeAddress + ":80"},
	} {
		conn, err := dial(t, c.from, "tcp4", c.address)
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		if err := echoes(conn, 256<<10); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		conn.Close()
	}
	// UDP, with a packet as large as the instance's link, which the kernel cuts
	// once it knows.
	serveUDPEcho(t, far, ":9001")
	eventually(t, "a large packet echoed", func() bool {
		conn, err := dial(t, web.NetNS, "udp4", "203.0.113.2:9001")
		must(t, err)
		defer conn.Close()
		sent := make([]byte, 4000)
		rand.Read(sent)
		if _, err := conn.Write(sent); err != nil {
			return false // the kernel tells that it knows now
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		got := make([]byte, 65536)
		k, err := conn.Read(got)
		return err == nil && bytes.Equal(got[:k], sent)
	})
}

// behindNarrowLink is a host three links away, the middle one of which carries
// 1300 bytes: node, router, narrow link, router, host.
func behindNarrowLink(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	names := []string{"near", "host"}
	for _, name := range names {
		must(t, inNewNamespace(func() error { return pinNamespace(filepath.Join(dir, name)) }))
		t.Cleanup(func() { must(t, unpinNamespace(filepath.Join(dir, name))) })
	}
	near, host := filepath.Join(dir, "near"), filepath.Join(dir, "host")
	join := func(name string, mtu int, peer string) {
		ns, err := os.Open(peer)
		must(t, err)
		defer ns.Close()
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}, PeerName: "up-" + name, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(int(ns.Fd()))}))
	}
	up := func(name, ip string) {
		l := link(t, name)
		must(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(ip))}))
		must(t, netlink.LinkSetUp(l))
	}
	route := func(by string) {
		must(t, netlink.RouteAdd(&netlink.Route{Gw: netip.MustParseAddr(by).AsSlice()}))
	}
	join("uplink", 1500, near)
	up("uplink", nodeAddress+"/24")
	within(t, near, func() {
		up("up-uplink", outsideAddress+"/24")
		join("narrow", 1300, host)
		up("narrow", "203.0.113.1/24")
		must(t, setSysctl("/proc/sys/net/ipv4/ip_forward", "1"))
	})
	within(t, host, func() {
		up("up-narrow", "203.0.113.2/24")
		// It believes that its way is as wide as any.
		must(t, netlink.RouteAdd(&netlink.Route{Gw: netip.MustParseAddr("203.0.113.1").AsSlice(), AdvMSS: 1460}))
	})
	route(outsideAddress)
	return host
}

// echoes sends so many bytes and reads the same.
func echoes(conn net.Conn, size int) error {
	greeting := make([]byte, 1)
	for greeting[0] != '\n' {
		if _, err := io.ReadFull(conn, greeting); err != nil {
			return err
		}
	}
	sent, got := make([]byte, size), make([]byte, size)
	rand.Read(sent)
	wrote := make(chan error, 1)
	go func() { _, err := conn.Write(sent); wrote <- err }()
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if err := <-wrote; err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// serveUDPEcho sends back what it gets.
func serveUDPEcho(t *testing.T, namespace, address string) {
	t.Helper()
	var c net.PacketConn
	within(t, namespace, func() {
		var err error
		c, err = net.ListenPacket("udp4", address)
		must(t, err)
	})
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			k, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:k], from)
		}
	}()
}
