package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// lan is a network that nodes and other hosts are plugged into: a bridge in a
// namespace of its own.
type lan struct {
	t      testing.TB
	wire   string // namespace of the bridge
	joined int
}

// lanHost is a machine on it. network is nil on one that is no node.
type lanHost struct {
	ns       string // "" = the test's own
	addr     [2]string
	network  *Network
	instance map[string]runtime.Attachment
}

const lanNet, lanNet6 = "198.51.100.0/24", "2001:db8:1::/64"

func newLAN(t testing.TB) *lan {
	l := &lan{t: t, wire: newHost(t, "wire")}
	within(t, l.wire, func() {
		must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "wire"}}))
		must(t, netlink.LinkSetUp(link(t, "wire")))
	})
	return l
}

// newHost makes a namespace.
func newHost(t testing.TB, name string) string {
	path := filepath.Join(t.TempDir(), name)
	must(t, inNewNamespace(func() error { return pinNamespace(path) }))
	t.Cleanup(func() { must(t, unpinNamespace(path)) })
	within(t, path, func() { must(t, netlink.LinkSetUp(link(t, "lo"))) })
	return path
}

// join plugs a namespace in: "" = the test's own.
func (l *lan) join(ns string) *lanHost {
	t := l.t
	l.joined++
	h := &lanHost{ns: ns, instance: map[string]runtime.Attachment{}}
	wire, err := os.Open(l.wire)
	must(t, err)
	defer wire.Close()
	plug := fmt.Sprintf("plug%d", l.joined)
	h.do(t, func() {
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: plug, PeerNamespace: netlink.NsFd(int(wire.Fd()))}))
		for k, p := range []string{lanNet, lanNet6} {
			network := netip.MustParsePrefix(p)
			addr := network.Addr()
			for range l.joined {
				addr = addr.Next()
			}
			h.addr[k] = addr.String()
			must(t, netlink.AddrAdd(link(t, "eth0"), &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, network.Bits())), Flags: unix.IFA_F_NODAD}))
		}
		must(t, netlink.LinkSetUp(link(t, "eth0")))
	})
	t.Cleanup(func() { h.do(t, func() { must(t, netlink.LinkDel(link(t, "eth0"))) }) })
	within(t, l.wire, func() {
		must(t, netlink.LinkSetMaster(link(t, plug), link(t, "wire")))
		must(t, netlink.LinkSetUp(link(t, plug)))
	})
	return h
}

// node plugs a node in, with a network of its own.
func (l *lan) node(ns string) *lanHost {
	h := l.join(ns)
	h.do(l.t, func() {
		n, err := New(testConfig(l.t.TempDir()))
		must(l.t, err)
		h.network = n
		l.t.Cleanup(func() { h.do(l.t, func() { leave(l.t, n) }) })
	})
	return h
}

// do runs f on the host.
func (h *lanHost) do(t testing.TB, f func()) {
	t.Helper()
	if h.ns == "" {
		f()
	} else {
		within(t, h.ns, f)
	}
}

// leave removes all there is: benchmarks share one namespace.
func leave(t testing.TB, n *Network) {
	t.Helper()
	must(t, n.Sweep(context.Background(), nil))
	must(t, n.Teardown(context.Background()))
}

func (h *lanHost) attach(t testing.TB, id string) runtime.Attachment {
	t.Helper()
	h.do(t, func() { h.instance[id] = attach(t, h.network, id) })
	return h.instance[id]
}

func (h *lanHost) balance(t testing.TB, b runtime.Balancing) {
	t.Helper()
	h.do(t, func() { must(t, h.network.Balance(context.Background(), b)) })
}

// versions runs a test over both families.
func versions(t *testing.T, f func(t *testing.T, v int)) {
	for v, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) { f(t, v) })
	}
}

// The ranges of service addresses, and some addresses in them.
var (
	serviceRanges = []string{"10.232.0.0/16", "fd6f:7270:6865:7573::/112"}
	web           = [2]string{"10.232.0.10", "fd6f:7270:6865:7573::a"}
	nobody        = [2]string{"10.232.0.99", "fd6f:7270:6865:7573::63"}
)

// to is a target: an instance of this node, or a host port of another.
func to(address string, port int) runtime.Target {
	return runtime.Target{Address: address, Port: port}
}

func address(a runtime.Attachment, v int) string { return []string{a.Address, a.Address6}[v] }

func at(address string, port int) string { return net.JoinHostPort(address, strconv.Itoa(port)) }

// service is fronts at both addresses, for tcp and udp.
func service(port int, targets ...runtime.Target) []runtime.Front {
	var all []runtime.Front
	for v := range web {
		for _, p := range []string{"tcp", "udp"} {
			all = append(all, runtime.Front{Kind: runtime.FrontService, Address: web[v], Port: port, Protocol: p, Targets: targets})
		}
	}
	return all
}

// fronts are one for tcp and one for udp.
func frontsOf(kind runtime.FrontKind, port int, targets ...runtime.Target) []runtime.Front {
	return []runtime.Front{
		{Kind: kind, Port: port, Protocol: "tcp", Targets: targets},
		{Kind: kind, Port: port, Protocol: "udp", Targets: targets},
	}
}

func inServices(fronts ...[]runtime.Front) runtime.Balancing {
	b := runtime.Balancing{Services: serviceRanges}
	for _, f := range fronts {
		b.Fronts = append(b.Fronts, f...)
	}
	return b
}

// echo answers TCP connections and UDP packets, over both families, with name
// and the address it sees, then with what it is sent.
func echo(t testing.TB, ns, name string, port int) (stop func()) {
	t.Helper()
	if ns == "" {
		ns = "/proc/self/ns/net"
	}
	var l net.Listener
	var p net.PacketConn
	within(t, ns, func() {
		var err error
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		must(t, err)
		p, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		must(t, err)
	})
	stop = func() { l.Close(); p.Close() }
	t.Cleanup(stop)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "%s %s\n", name, seen(c.RemoteAddr()))
				io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) // without the pipes of splicing
			}()
		}
	}()
	go func() {
		buf := make([]byte, 65536)
		for {
			k, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			answer := fmt.Appendf(nil, "%s %s\n", name, seen(from))
			if k > 100 {
				answer = append(answer, buf[:k]...)
			}
			p.WriteTo(answer, from)
		}
	}()
	return stop
}

func seen(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return netip.MustParseAddr(host).Unmap().String()
}

const patience = 30 * time.Second

// asks connects over tcp or udp and returns who answers, and whom it sees.
func asks(t testing.TB, ns, network, address string) (name, client string, err error) {
	t.Helper()
	c, err := dialWithin(t, patience, ns, network, address)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return askOver(c, network)
}

func askOver(c net.Conn, network string) (name, client string, err error) {
	c.SetDeadline(time.Now().Add(patience))
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	buf := make([]byte, 65536)
	k, err := c.Read(buf)
	if err != nil {
		return "", "", err
	}
	_, err = fmt.Sscanln(string(buf[:k]), &name, &client)
	return name, client, err
}

// reaches fails unless name answers and sees client; "" = whoever.
func reaches(t testing.TB, ns, network, address, name, client string) {
	t.Helper()
	n, c, err := asks(t, ns, network, address)
	if err != nil || n != name || client != "" && c != client {
		t.Errorf("%s %s from %q: %q saw %q (%v), want %q to see %q", network, address, filepath.Base(ns), n, c, err, name, client)
	}
}

// refuses fails unless connections or packets are refused.
func refuses(t testing.TB, ns, network, address string) {
	t.Helper()
	what := fmt.Sprintf("%s %s from %q", network, address, filepath.Base(ns))
	c, err := dialWithin(t, patience, ns, network, address)
	if err == nil {
		defer c.Close()
		isRefusedOver(t, c, network, what)
	} else if !isRefused(err) {
		t.Errorf("%s: %v, want connection refused", what, err)
	}
}

// isRefusedOver sends packets until one is refused: the kernel tells of few a
// second that nobody wants them.
func isRefusedOver(t testing.TB, c net.Conn, network, what string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c.SetDeadline(time.Now().Add(250 * time.Millisecond))
		if _, err = c.Write([]byte("?")); err == nil {
			_, err = c.Read(make([]byte, 100))
		}
		if err == nil || isRefused(err) || network == "tcp" {
			break
		}
	}
	if !isRefused(err) {
		t.Errorf("%s: %v, want connection refused", what, err)
	}
}

func unreachableAt(t testing.TB, ns, address string) {
	t.Helper()
	c, err := dialWithin(t, 300*time.Millisecond, ns, "tcp", address)
	if err == nil {
		c.Close()
		t.Errorf("dial %s from %q: connected, want nothing there", address, filepath.Base(ns))
	}
}

func routeVia(t testing.TB, dst, gateway string) {
	t.Helper()
	must(t, netlink.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(dst)), Gw: net.ParseIP(gateway)}))
}
