//go:build linux

package resolver

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestForwarding(t *testing.T) {
	fine := func(q dnsmessage.Message, _ bool) []byte { return answered(q, 0, 2) }
	code := func(code dnsmessage.RCode) func(dnsmessage.Message, bool) []byte {
		return func(q dnsmessage.Message, _ bool) []byte { return answered(q, code, 0) }
	}
	long := func(q dnsmessage.Message, stream bool) []byte {
		if !stream {
			out := answered(q, 0, 0)
			out[2] |= 0x02
			return out
		}
		return answered(q, 0, 300)
	}
	type answerer = func(dnsmessage.Message, bool) []byte
	for _, c := range []struct {
		why     string
		servers []answerer // nil = does not answer
		network string
		code    dnsmessage.RCode
		answers int
		cut     bool
	}{
		{"the first answers", []answerer{fine, code(3)}, "udp", 0, 2, false},
		{"over TCP as well", []answerer{fine}, "tcp", 0, 2, false},
		{"that there is no such name is an answer", []answerer{code(3), fine}, "udp", 3, 0, false},
		{"the first is in trouble", []answerer{code(2), fine}, "udp", 0, 2, false},
		{"the first refuses", []answerer{code(5), fine}, "udp", 0, 2, false},
		{"all are in trouble", []answerer{code(2), code(5)}, "udp", 5, 0, false},
		{"the first is silent", []answerer{nil, fine}, "udp", 0, 2, false},
		{"nobody answers", []answerer{nil}, "udp", 2, 0, false},
		{"an answer too long for UDP", []answerer{long}, "tcp", 0, 300, false},
		{"and for the client", []answerer{long}, "udp", 0, 0, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			z := shop()
			for _, a := range c.servers {
				if a == nil {
					a = func(dnsmessage.Message, bool) []byte { return nil }
				}
				z.Upstream = append(z.Upstream, newUpstream(t, a).addr)
			}
			_, addr := served(t, z)
			m := asked(t, c.network, addr, question(t, "Example.com.", dnsmessage.TypeA))
			if m.ID != 4711 || m.RCode != c.code || len(m.Answers) != c.answers || m.Truncated != c.cut || m.Questions[0].Name.String() != "Example.com." {
				t.Errorf("got %+v, %d answers", m.Header, len(m.Answers))
			}
		})
	}
}

// Names of ours never leave the node, whatever is asked.
func TestOwnNamesAreNotForwarded(t *testing.T) {
	u := newUpstream(t, func(q dnsmessage.Message, _ bool) []byte { return answered(q, 0, 1) })
	z := shop()
	z.Upstream = []string{u.addr}
	_, addr := served(t, z)
	for _, name := range []string{"nope.orpheus.internal.", "a.b.c.d.orpheus.internal.", "orpheus.internal.", "example.com.default.ORPHEUS.internal.", "9.9.232.10.in-addr.arpa."} {
		asked(t, "udp", addr, question(t, name, dnsmessage.TypeA))
	}
	if got := u.asked.Load(); got != 0 {
		t.Errorf("%d questions left the node", got)
	}
	// Names that only look alike are somebody else's.
	for _, name := range []string{"notorpheus.internal.", "orpheus.internal.example.com.", "web."} {
		asked(t, "udp", addr, question(t, name, dnsmessage.TypeA))
	}
	if got := u.asked.Load(); got != 3 {
		t.Errorf("%d of 3 other questions were asked on", got)
	}
}

// What a client sends beside its question stays here, and the id that is asked
// with is another.
func TestForwardedQuestionsAreOurs(t *testing.T) {
	var mu sync.Mutex
	var seen []dnsmessage.Message
	u := newUpstream(t, func(q dnsmessage.Message, _ bool) []byte {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, q)
		return answered(q, 0, 1)
	})
	z := shop()
	z.Upstream = []string{u.addr}
	_, addr := served(t, z)
	secret := func(m *dnsmessage.Message) {
		h := dnsmessage.ResourceHeader{}
		_ = h.SetEDNS0(4096, 0, true)
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h,
			Body: &dnsmessage.OPTResource{Options: []dnsmessage.Option{{Code: 8, Data: []byte("client-subnet")}}}})
	}
	for range 8 {
		asked(t, "udp", addr, question(t, "example.com.", dnsmessage.TypeA, secret))
	}
	mu.Lock()
	defer mu.Unlock()
	ids := map[uint16]bool{}
	for _, q := range seen {
		ids[q.ID] = true
		if len(q.Additionals) != 1 || len(q.Additionals[0].Body.(*dnsmessage.OPTResource).Options) != 0 || !q.Additionals[0].Header.DNSSECAllowed() {
			t.Errorf("asked on with %v", q.Additionals)
		}
	}
	if len(ids) < 6 {
		t.Errorf("8 questions had %d ids", len(ids))
	}
}

// Answers to other questions, or with another id, do not count.
func TestForgedAnswers(t *testing.T) {
	other := dnsmessage.MustNewName("other.example.")
	for why, forge := range map[string]func(q dnsmessage.Message) []byte{
		"another id": func(q dnsmessage.Message) []byte { q.ID++; return answered(q, 0, 5) },
		"another name": func(q dnsmessage.Message) []byte {
			q.Questions = []dnsmessage.Question{{Name: other, Type: q.Questions[0].Type, Class: 1}}
			return answered(q, 0, 5)
		},
		"another type": func(q dnsmessage.Message) []byte {
			q.Questions = []dnsmessage.Question{{Name: q.Questions[0].Name, Type: dnsmessage.TypeTXT, Class: 1}}
			return answered(q, 0, 5)
		},
		"a question":      func(q dnsmessage.Message) []byte { out := answered(q, 0, 5); out[2] &^= 0x80; return out },
		"not even a head": func(dnsmessage.Message) []byte { return []byte("hello") },
	} {
		t.Run(why, func(t *testing.T) {
			// A server that sends the forged answer and then the right one.
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() {
				buf := make([]byte, maxQuery)
				for {
					n, from, err := conn.ReadFrom(buf)
					if err != nil {
						return
					}
					var q dnsmessage.Message
					if q.Unpack(bytes.Clone(buf[:n])) == nil {
						conn.WriteTo(forge(q), from)
						conn.WriteTo(answered(q, 0, 1), from)
					}
				}
			}()
			z := shop()
			z.Upstream = []string{conn.LocalAddr().String()}
			_, addr := served(t, z)
			if m := asked(t, "udp", addr, question(t, "example.com.", dnsmessage.TypeA)); len(m.Answers) != 1 {
				t.Errorf("%d answers", len(m.Answers))
			}
		})
	}
}

// A server that was silent is asked last for a while.
func TestSilentServersAreAskedLast(t *testing.T) {
	a, b, c := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.3:53")
	var f forwarder
	now := time.Now()
	f.note(a, false, now)
	if got := f.order([]netip.AddrPort{a, b, c}, now); got[0] != b || got[1] != c || got[2] != a {
		t.Errorf("order %v", got)
	}
	if got := f.order([]netip.AddrPort{a, b, c}, now.Add(shunTime)); got[0] != a {
		t.Errorf("later %v", got)
	}
	f.note(a, true, now)
	if got := f.order([]netip.AddrPort{a, b, c}, now); got[0] != a {
		t.Errorf("after an answer %v", got)
	}
}
