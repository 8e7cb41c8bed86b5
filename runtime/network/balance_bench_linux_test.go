package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// manyServices are so many services at both addresses, each with so many
// endpoints, half of them on another node.
func manyServices(services, endpoints int) runtime.Balancing {
	b := runtime.Balancing{Services: serviceRanges, Fleet: []string{"198.51.100.2"}}
	for s := range services {
		var targets []runtime.Target
		for e := range endpoints {
			if e%2 == 0 {
				targets = append(targets, to(fmt.Sprintf("10.231.%d.%d", s%16, 2+e+s/16%100), 8080), to(fmt.Sprintf("fd6f:7214:ae7::%x:%x", s, e), 8080))
			} else {
				targets = append(targets, to(fmt.Sprintf("198.51.100.%d", 2+e), 20000+s), to(fmt.Sprintf("2001:db8:1::%x", 2+e), 20000+s))
			}
		}
		for _, address := range []string{fmt.Sprintf("10.232.%d.%d", 1+s/250, 1+s%250), fmt.Sprintf("fd6f:7270:6865:7573::%x", 256+s)} {
			b.Fronts = append(b.Fronts, runtime.Front{Kind: runtime.FrontService, Service: serviceID(s), Address: address, Port: 80, Protocol: "tcp", Targets: targets})
		}
	}
	return b
}

// With 1,000 services of 10 endpoints, one of which becomes ready or ceases to
// be: over IPv4 and IPv6.
func BenchmarkBalanceOneEndpoint(b *testing.B) {
	if !isolated(b) {
		return
	}
	n := newNetwork(b, testConfig(b.TempDir()))
	b.Cleanup(func() { leave(b, n) })
	all := manyServices(1000, 10)
	all.Fronts = append(all.Fronts, frontsOf(runtime.FrontPublished, 80, to("10.231.0.2", 80))...)
	must(b, n.Balance(context.Background(), all))
	full := all.Fronts[1000].Targets
	var took []time.Duration
	b.ResetTimer()
	for i := range b.N {
		for _, f := range []int{1000, 1001} {
			all.Fronts[f].Targets = full
			if i%2 == 0 {
				all.Fronts[f].Targets = full[2:]
			}
		}
		start := time.Now()
		must(b, n.Balance(context.Background(), all))
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms/max")
}

// Everything anew, and what a new process does that finds all of it.
func BenchmarkBalanceWhole(b *testing.B) {
	if !isolated(b) {
		return
	}
	n := newNetwork(b, testConfig(b.TempDir()))
	b.Cleanup(func() { leave(b, n) })
	all := manyServices(1000, 10)
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"write", func() { must(b, n.rules.replace(n.rules.balances())) }},
		{"nothing changes", func() { must(b, n.Balance(context.Background(), all)) }},
		{"restart", func() { must(b, newNetwork(b, n.cfg).Balance(context.Background(), all)) }},
	} {
		must(b, n.Balance(context.Background(), all))
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				c.do()
			}
		})
	}
}

func serviceID(s int) planner.ServiceID {
	return planner.ServiceID{Namespace: "default", Name: fmt.Sprintf("web-%d", s)}
}

func addAddress(t testing.TB, dev, cidr string) {
	t.Helper()
	must(t, netlink.AddrAdd(link(t, dev), &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(cidr))}))
}

// pair is a client on one node and an instance on another.
type pair struct {
	here, there *lanHost
	client      runtime.Attachment
}

// newPair has the instance at web on port 80 (echo) and 81 (takes all), beside
// so many other services. The other node is reached plainly on 8080 and 8081.
func newPair(b testing.TB) pair {
	l := newLAN(b)
	p := pair{here: l.node(""), there: l.node(newHost(b, "there"))}
	p.client = p.here.attach(b, "client")
	instance := p.there.attach(b, "web-0")
	fronts := append(frontsOf(runtime.FrontHost, 20001, to(instance.Address, 8080)), frontsOf(runtime.FrontHost, 20002, to(instance.Address, 8081))...)
	p.there.balance(b, runtime.Balancing{Fleet: p.here.addr[:], Fronts: fronts})
	pingPong(b, instance.NetNS, 8080)
	sink(b, instance.NetNS, 8081)
	// Plain routing: between the same namespaces over the same kinds of links,
	// but bridges that our tables know nothing of.
	p.here.plug(b, p.client.NetNS, "10.98.0.1", "10.98.0.2")
	p.there.plug(b, instance.NetNS, "10.99.0.1", "10.99.0.2")
	p.here.do(b, func() { routeVia(b, "10.99.0.0/24", p.there.addr[0]) })
	p.there.do(b, func() { routeVia(b, "10.98.0.0/24", p.here.addr[0]) })
	within(b, p.client.NetNS, func() { routeVia(b, "10.99.0.0/24", "10.98.0.1") })
	within(b, instance.NetNS, func() { routeVia(b, "10.98.0.0/24", "10.99.0.1") })
	return p
}

// plug joins a namespace to the host by a bridge beside ours.
func (h *lanHost) plug(b testing.TB, ns, gateway, address string) {
	inside, err := os.Open(ns)
	must(b, err)
	defer inside.Close()
	h.do(b, func() {
		must(b, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "plain0"}}))
		addAddress(b, "plain0", gateway+"/24")
		must(b, netlink.LinkSetUp(link(b, "plain0")))
		must(b, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "plain1"}, PeerName: "plain", PeerNamespace: netlink.NsFd(int(inside.Fd()))}))
		must(b, netlink.LinkSetMaster(link(b, "plain1"), link(b, "plain0")))
		must(b, netlink.LinkSetUp(link(b, "plain1")))
	})
	b.Cleanup(func() { h.do(b, func() { must(b, netlink.LinkDel(link(b, "plain0"))) }) })
	within(b, ns, func() {
		addAddress(b, "plain", address+"/24")
		must(b, netlink.LinkSetUp(link(b, "plain")))
	})
}

func (p pair) lead(b testing.TB, services int) {
	all := manyServices(services-1, 10)
	all.Fleet = nil
	for _, port := range []int{80, 81} {
		all.Fronts = append(all.Fronts, runtime.Front{Kind: runtime.FrontService, Address: web[0], Port: port, Protocol: "tcp", Targets: []runtime.Target{to(p.there.addr[0], 20001+port-80)}})
	}
	p.here.balance(b, all)
}

func pingPong(b testing.TB, ns string, port int) {
	listenEach(b, ns, port, func(c net.Conn) { io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) })
}

func sink(b testing.TB, ns string, port int) {
	listenEach(b, ns, port, func(c net.Conn) {
		n, _ := io.Copy(io.Discard, struct{ io.Reader }{c})
		fmt.Fprintln(c, n)
	})
}

func listenEach(b testing.TB, ns string, port int, serve func(net.Conn)) {
	var l net.Listener
	within(b, ns, func() {
		var err error
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		must(b, err)
	})
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
}

// roundTrip is the median of so many of 64 bytes.
func (p pair) roundTrip(b testing.TB, c net.Conn, count int) time.Duration {
	buf := make([]byte, 64)
	took := make([]time.Duration, 0, count)
	c.SetDeadline(time.Now().Add(time.Minute))
	for range count {
		start := time.Now()
		_, err := c.Write(buf)
		must(b, err)
		_, err = io.ReadFull(c, buf)
		must(b, err)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[count/2]
}

// throughput is bytes a second of one stream.
func (p pair) throughput(b testing.TB, address string, size int) float64 {
	c, err := dialWithin(b, patience, p.client.NetNS, "tcp", address)
	must(b, err)
	defer c.Close()
	chunk := make([]byte, 256<<10)
	start := time.Now()
	for sent := 0; sent < size; sent += len(chunk) {
		_, err := c.Write(chunk)
		must(b, err)
	}
	must(b, c.(*net.TCPConn).CloseWrite())
	_, err = io.Copy(io.Discard, c)
	must(b, err)
	return float64(size) / time.Since(start).Seconds()
}

// A service address that leads to an instance on another node, beside plain
// routing between the same two namespaces, by turns.
func BenchmarkServiceAddress(b *testing.B) {
	if !isolated(b) {
		return
	}
	p := newPair(b)
	p.lead(b, 1)
	plain, led := dialOne(b, p, "10.99.0.2:8080"), dialOne(b, p, at(web[0], 80))
	const rounds = 15
	var rtt, speed [2][]float64
	for range rounds {
		for k, c := range []net.Conn{plain, led} {
			rtt[k] = append(rtt[k], float64(p.roundTrip(b, c, 1500).Nanoseconds())/1000)
		}
		for k, address := range []string{"10.99.0.2:8081", at(web[0], 81)} {
			speed[k] = append(speed[k], p.throughput(b, address, 128<<20)/1e9*8)
		}
	}
	for k := range 2 {
		slices.Sort(rtt[k])
		slices.Sort(speed[k])
	}
	for b.Loop() {
		p.roundTrip(b, led, 1)
	}
	m := rounds / 2
	b.ReportMetric(rtt[0][m], "µs/plain")
	b.ReportMetric(rtt[1][m], "µs/service")
	b.ReportMetric(rtt[1][m]/rtt[0][m], "rtt-ratio")
	b.ReportMetric(speed[0][m], "Gbit/s-plain")
	b.ReportMetric(speed[1][m], "Gbit/s-service")
	b.ReportMetric(speed[1][m]/speed[0][m], "throughput-ratio")
}

// New connections and round trips through a service address, with 1,000
// services of 10 endpoints and with one, by turns.
func BenchmarkManyServices(b *testing.B) {
	if !isolated(b) {
		return
	}
	p := newPair(b)
	const rounds = 9
	var rtt, connect [2][]float64
	for range rounds {
		for k, services := range []int{1, 1000} {
			p.lead(b, services)
			c := dialOne(b, p, at(web[0], 80))
			rtt[k] = append(rtt[k], float64(p.roundTrip(b, c, 1500).Nanoseconds())/1000)
			c.Close()
			connect[k] = append(connect[k], float64(p.connect(b, at(web[0], 80), 200).Nanoseconds())/1000)
		}
	}
	for k := range 2 {
		slices.Sort(rtt[k])
		slices.Sort(connect[k])
	}
	for b.Loop() {
		p.connect(b, at(web[0], 80), 1)
	}
	m := rounds / 2
	b.ReportMetric(rtt[0][m], "µs/1-service")
	b.ReportMetric(rtt[1][m], "µs/1000-services")
	b.ReportMetric(rtt[1][m]/rtt[0][m], "rtt-ratio")
	b.ReportMetric(connect[1][m]/connect[0][m], "connect-ratio")
}

// connect is the median of so many connections and their first answer.
func (p pair) connect(b testing.TB, address string, count int) time.Duration {
	took := make([]time.Duration, 0, count)
	within(b, p.client.NetNS, func() {
		for range count {
			start := time.Now()
			c, err := net.DialTimeout("tcp", address, patience)
			must(b, err)
			p.roundTrip(b, c, 1)
			took = append(took, time.Since(start))
			c.Close()
		}
	})
	slices.Sort(took)
	return took[count/2]
}

func dialOne(b testing.TB, p pair, address string) net.Conn {
	c, err := dialWithin(b, patience, p.client.NetNS, "tcp", address)
	must(b, err)
	b.Cleanup(func() { c.Close() })
	return c
}
