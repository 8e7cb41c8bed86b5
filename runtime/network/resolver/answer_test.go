package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// shop is a zone with one of everything.
func shop() Zone {
	return Zone{
		Allow:   []string{"10.231.0.0/20"},
		Reverse: []string{"10.231.0.0/20", "10.232.0.0/16", "fd6f:7270:6865:7573::/112"},
		Services: []Service{
			{Namespace: "default", Name: "web", Addresses: []string{"10.232.0.10", "fd6f:7270:6865:7573::a"},
				Ports: []Port{{"http", "tcp", 80}, {"", "tcp", 81}},
				Slots: []Slot{
					{Name: "0", Addresses: []string{"10.232.0.11"}},
					{Name: "1", Addresses: []string{"10.232.0.12", "fd6f:7270:6865:7573::c"}},
				}},
			{Namespace: "shop", Name: "web", Addresses: []string{"10.232.0.20"}},
			{Namespace: "shop", Name: "db", Headless: true, Addresses: []string{"10.232.0.31", "10.232.0.33"},
				Slots: []Slot{
					{Name: "0", Addresses: []string{"10.232.0.31"}, Ready: true, Ports: []Port{{"sql", "tcp", 5432}}},
					{Name: "1", Addresses: []string{"10.232.0.32"}, Ports: []Port{{"sql", "tcp", 5432}}},
					{Name: "2", Addresses: []string{"10.232.0.33"}, Ready: true, Ports: []Port{{"sql", "tcp", 5433}}},
				}},
			{Namespace: "shop", Name: "queue", Headless: true,
				Slots: []Slot{{Name: "0", Addresses: []string{"10.232.0.41"}, Ports: []Port{{"amqp", "tcp", 5672}}}}},
			{Namespace: "sys", Name: "log", Addresses: []string{"10.232.0.50"},
				Slots: []Slot{{Name: "node-1.example.com", Addresses: []string{"10.232.0.51"}}}},
		},
	}
}

// handlerOf answers by a zone.
func handlerOf(z Zone) *handler {
	h := &handler{}
	h.index.Store(newIndex(z, 7))
	return h
}

// question makes a message; edit changes it before it is packed.
func question(t testing.TB, name string, kind dnsmessage.Type, edit ...func(*dnsmessage.Message)) []byte {
	t.Helper()
	n, err := dnsmessage.NewName(name)
	if err != nil {
		t.Fatal(err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}},
	}
	for _, e := range edit {
		e(&m)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// withEDNS says what the client takes over UDP.
func withEDNS(size int) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) {
		h := dnsmessage.ResourceHeader{}
		_ = h.SetEDNS0(size, 0, false)
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
	}
}

func unpack(t testing.TB, msg []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("answer %x: %v", msg, err)
	}
	return m
}

// told are records in words.
func told(records []dnsmessage.Resource) []string {
	var out []string
	for _, r := range records {
		text := r.Header.Name.String()
		switch b := r.Body.(type) {
		case *dnsmessage.AResource:
			text = netip.AddrFrom4(b.A).String()
		case *dnsmessage.AAAAResource:
			text = netip.AddrFrom16(b.AAAA).String()
		case *dnsmessage.SRVResource:
			text = fmt.Sprintf("%s:%d", b.Target, b.Port)
		case *dnsmessage.PTRResource:
			text = b.PTR.String()
		case *dnsmessage.SOAResource:
			text = fmt.Sprintf("SOA %s %d", r.Header.Name, b.MinTTL)
		case *dnsmessage.OPTResource:
			continue
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

var instance = netip.MustParseAddr("10.231.0.7")

func TestAnswers(t *testing.T) {
	const (
		a, aaaa, srv, ptr = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV, dnsmessage.TypePTR
		soa               = "SOA orpheus.internal. 5"
	)
	for _, c := range []struct {
		why   string
		name  string
		kind  dnsmessage.Type
		code  dnsmessage.RCode
		want  string // answers
		extra string // authorities and additionals
	}{
		{"a service's address", "web.default.orpheus.internal.", a, 0, "10.232.0.10", ""},
		{"and its IPv6 one", "web.default.orpheus.internal.", aaaa, 0, "fd6f:7270:6865:7573::a", ""},
		{"whatever the case", "WEB.Default.ORPHEUS.internal.", a, 0, "10.232.0.10", ""},
		{"the same name in another namespace", "web.shop.orpheus.internal.", a, 0, "10.232.0.20", ""},
		{"without the domain", "web.shop.", a, 0, "10.232.0.20", ""},
		{"a service without IPv6 exists", "web.shop.orpheus.internal.", aaaa, 0, "", soa},
		{"also without the domain: nobody else is asked", "web.shop.", aaaa, 0, "", soa},
		{"another type", "web.shop.orpheus.internal.", dnsmessage.TypeMX, 0, "", soa},
		{"any type", "web.default.orpheus.internal.", dnsmessage.TypeALL, 0, "10.232.0.10 fd6f:7270:6865:7573::a", ""},
		{"no such service", "nope.default.orpheus.internal.", a, 3, "", soa},
		{"no such namespace", "web.nope.orpheus.internal.", a, 3, "", soa},
		{"a namespace exists", "shop.orpheus.internal.", a, 0, "", soa},
		{"so does the domain", "orpheus.internal.", a, 0, "", soa},
		{"with its SOA", "orpheus.internal.", dnsmessage.TypeSOA, 0, soa, ""},
		{"below a service there are only slots", "x.web.default.orpheus.internal.", a, 3, "", soa},
		{"search domains applied to a public name", "example.com.default.orpheus.internal.", a, 3, "", soa},

		{"a slot", "0.web.default.orpheus.internal.", a, 0, "10.232.0.11", ""},
		{"a slot without the domain", "1.web.default.", aaaa, 0, "fd6f:7270:6865:7573::c", ""},
		{"a slot that is not ready", "1.db.shop.orpheus.internal.", a, 0, "10.232.0.32", ""},
		{"a slot with a node's name", "Node-1.Example.com.log.sys.orpheus.internal.", a, 0, "10.232.0.51", ""},
		{"the way to it", "example.com.log.sys.orpheus.internal.", a, 0, "", soa},

		{"a named port", "_http._tcp.web.default.orpheus.internal.", srv, 0, "web.default.orpheus.internal.:80", "10.232.0.10 fd6f:7270:6865:7573::a"},
		{"without the domain", "_http._tcp.web.default.", srv, 0, "web.default.orpheus.internal.:80", "10.232.0.10 fd6f:7270:6865:7573::a"},
		{"of another protocol", "_http._udp.web.default.orpheus.internal.", srv, 3, "", soa},
		{"the way to it", "_tcp.web.default.orpheus.internal.", srv, 0, "", soa},
		{"a port's name has no address", "_http._tcp.web.default.orpheus.internal.", a, 0, "", soa},
		{"a headless service: each ready slot", "_sql._tcp.db.shop.orpheus.internal.", srv, 0, "0.db.shop.orpheus.internal.:5432 2.db.shop.orpheus.internal.:5433", "10.232.0.31 10.232.0.33"},

		{"the ready slots of a headless service", "db.shop.orpheus.internal.", a, 0, "10.232.0.31 10.232.0.33", ""},
		{"none is ready", "queue.shop.orpheus.internal.", a, 0, "", soa},
		{"nor is its port", "_amqp._tcp.queue.shop.orpheus.internal.", srv, 0, "", soa},

		{"the name of a service's address", "10.0.232.10.in-addr.arpa.", ptr, 0, "web.default.orpheus.internal.", ""},
		{"of a slot's", "31.0.232.10.in-addr.arpa.", ptr, 0, "0.db.shop.orpheus.internal.", ""},
		{"of one of IPv6", "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.7.5.7.5.6.8.6.0.7.2.7.F.6.d.f.IP6.arpa.", ptr, 0, "web.default.orpheus.internal.", ""},
		{"an address in our networks without a name", "9.9.231.10.in-addr.arpa.", ptr, 3, "", ""},
		{"another type", "10.0.232.10.in-addr.arpa.", a, 0, "", ""},

		{"a copy of the zone", "orpheus.internal.", dnsmessage.TypeAXFR, 5, "", ""},
		{"of somebody else's", "example.com.", dnsmessage.TypeAXFR, 5, "", ""},
		{"others are asked, and there is nobody", "example.com.", a, 2, "", ""},
		{"a single label is not ours", "web.", a, 2, "", ""},
		{"nor is a namespace alone", "shop.", a, 2, "", ""},
		{"nor addresses elsewhere", "1.1.1.1.in-addr.arpa.", ptr, 2, "", ""},
	} {
		t.Run(c.why, func(t *testing.T) {
			h := handlerOf(shop())
			out, task := h.handle(question(t, c.name, c.kind, withEDNS(1232)), instance, false, nil)
			if task != nil || out == nil {
				t.Fatalf("answer %x, task %v", out, task)
			}
			m := unpack(t, out)
			if m.ID != 4711 || !m.Response || m.RCode != c.code || m.Truncated || !m.RecursionDesired || !m.RecursionAvailable {
				t.Errorf("header %+v, want code %d", m.Header, c.code)
			}
			if len(m.Questions) != 1 || m.Questions[0].Name.String() != c.name {
				t.Errorf("the question came back as %v", m.Questions)
			}
			if ours := c.code == 0 || c.code == 3; m.Authoritative != ours {
				t.Errorf("authoritative: %v", m.Authoritative)
			}
			if got := strings.Join(told(m.Answers), " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := strings.Join(told(append(m.Authorities, m.Additionals...)), " "); got != c.extra {
				t.Errorf("besides: %q, want %q", got, c.extra)
			}
			for _, r := range slices.Concat(m.Answers, m.Authorities) {
				if r.Header.TTL > answerTTL {
					t.Errorf("%s may be kept for %d s", r.Header.Name, r.Header.TTL)
				}
			}
		})
	}
}

// Each of the first places goes to all slots of a headless service alike.
func TestHeadlessAnswersRotate(t *testing.T) {
	h := handlerOf(shop())
	first := map[string]int{}
	for range 400 {
		out, _ := h.handle(question(t, "db.shop.orpheus.internal.", dnsmessage.TypeA), instance, false, nil)
		first[told(unpack(t, out).Answers[:1])[0]]++
	}
	// 200 each, with a standard deviation of 10.
	if len(first) != 2 || first["10.232.0.31"] < 120 || first["10.232.0.33"] < 120 {
		t.Errorf("first answers: %v", first)
	}
}

// What does not fit is cut off whole records at a time, and said to be.
func TestTruncation(t *testing.T) {
	z := Zone{Services: []Service{{Namespace: "default", Name: "many", Headless: true}}}
	s := &z.Services[0]
	for i := range 500 {
		addr := netip.AddrFrom4([4]byte{10, 232, byte(i / 250), byte(i % 250)}).String()
		s.Addresses = append(s.Addresses, addr)
		s.Slots = append(s.Slots, Slot{Name: fmt.Sprint(i), Addresses: []string{addr}, Ready: true, Ports: []Port{{"http", "tcp", 80}}})
	}
	h := handlerOf(z)
	local := netip.MustParseAddr("127.0.0.1")
	for _, c := range []struct {
		why    string
		name   string
		kind   dnsmessage.Type
		edns   int // 0 = none
		stream bool
		limit  int
		want   int // answers
	}{
		{"without EDNS", "many.default.orpheus.internal.", dnsmessage.TypeA, 0, false, 512, 29},
		{"a size below the smallest", "many.default.orpheus.internal.", dnsmessage.TypeA, 100, false, 512, 28},
		{"with EDNS", "many.default.orpheus.internal.", dnsmessage.TypeA, 1232, false, 1232, 73},
		{"no more than passes everywhere", "many.default.orpheus.internal.", dnsmessage.TypeA, 65535, false, 1232, 73},
		{"over TCP", "many.default.orpheus.internal.", dnsmessage.TypeA, 0, true, 65535, 500},
		{"SRV over TCP, with addresses", "_http._tcp.many.default.orpheus.internal.", dnsmessage.TypeSRV, 0, true, 65535, 500},
	} {
		t.Run(c.why, func(t *testing.T) {
			var edit []func(*dnsmessage.Message)
			if c.edns > 0 {
				edit = append(edit, withEDNS(c.edns))
			}
			out, _ := h.handle(question(t, c.name, c.kind, edit...), local, c.stream, nil)
			m := unpack(t, out)
			if len(out) > c.limit || len(m.Answers) != c.want || m.Truncated != (c.want < 500) {
				t.Errorf("%d bytes, %d answers, truncated %v; want %d in %d", len(out), len(m.Answers), m.Truncated, c.want, c.limit)
			}
			if options := slices.ContainsFunc(m.Additionals, func(r dnsmessage.Resource) bool { return r.Header.Type == dnsmessage.TypeOPT }); options != (c.edns > 0) {
				t.Errorf("options in the answer: %v", options)
			}
		})
	}
}

// Zones come from the agent; what it may have got wrong costs only itself.
func TestZoneWithFaults(t *testing.T) {
	z := shop()
	z.Listen = []string{"10.231.0.1:53", "nonsense", "10.231.0.1:53"}
	z.Upstream = []string{"10.231.0.1:53", "0.0.0.0:53", "192.0.2.1:53", "192.0.2.2"}
	z.Allow = append(z.Allow, "10.0.0.0/99")
	z.Services = append(z.Services,
		Service{Namespace: "default", Name: "web", Addresses: []string{"10.9.9.9"}},
		Service{Namespace: "default", Name: "a.b"},
		Service{Namespace: "", Name: "c"},
		Service{Namespace: "default", Name: "fine", Addresses: []string{"x", "10.232.1.1", "fe80::1%eth0"},
			Ports: []Port{{"bad port", "tcp", 1}, {"p", "sctp", 1}, {"q", "tcp", 65536}, {"ok", "TCP", 1}},
			Slots: []Slot{{Name: "_x"}, {Name: strings.Repeat("y.", 120) + "y"}, {Name: "0"}, {Name: "0"}}})
	x := newIndex(z, 1)
	if x.services != 6 || x.left != 16 || len(x.faults) != maxTold {
		t.Errorf("%d services, %d faults, told %q", x.services, x.left, x.faults)
	}
	if len(x.listen) != 1 || len(x.upstream) != 1 || x.upstream[0].String() != "192.0.2.1:53" {
		t.Errorf("listen %v, upstream %v", x.listen, x.upstream)
	}
	if e := x.names["web.default"]; e.addrs[0].String() != "10.232.0.10" {
		t.Errorf("the second of a name won: %v", e.addrs)
	}
	if e := x.names["fine.default"]; len(e.addrs) != 1 {
		t.Errorf("addresses of fine: %v", e.addrs)
	}
	if e := x.names["_ok._tcp.fine.default"]; e == nil || len(e.targets) != 1 {
		t.Errorf("port of fine: %v", e)
	}
}
