package resolver

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestHostileMessages(t *testing.T) {
	const none = -1
	fine := question(t, "web.default.orpheus.internal.", dnsmessage.TypeA)
	edited := func(edit func(msg []byte)) []byte {
		msg := bytes.Clone(fine)
		edit(msg)
		return msg
	}
	options := question(t, "web.default.orpheus.internal.", dnsmessage.TypeA, withEDNS(1232))
	for _, c := range []struct {
		why  string
		msg  []byte
		code int
	}{
		{"nothing", nil, none},
		{"less than a header", fine[:11], none},
		{"an answer", edited(func(m []byte) { m[2] |= 0x80 }), none},
		{"a header alone", fine[:12], 1},
		{"a question cut off", fine[:len(fine)-3], 1},
		{"a name that points at itself", edited(func(m []byte) { m[12], m[13] = 0xc0, 12 }), 1},
		{"two questions", edited(func(m []byte) { m[5] = 2 }), 1},
		{"no question", edited(func(m []byte) { m[5] = 0 }), 1},
		{"answers in a question", edited(func(m []byte) { m[7] = 1 }), 1},
		{"65,535 additional records that are not there", edited(func(m []byte) { m[10], m[11] = 0xff, 0xff }), 1},
		{"an update", edited(func(m []byte) { m[2] |= 5 << 3 }), 4},
		{"a notification", edited(func(m []byte) { m[2] |= 4 << 3 }), 4},
		{"another class", edited(func(m []byte) { m[len(m)-1] = 3 }), 5},
		{"any class", edited(func(m []byte) { m[len(m)-1] = 255 }), 5},
		{"options twice", question(t, "web.default.orpheus.internal.", dnsmessage.TypeA, withEDNS(1232), withEDNS(512)), 1},
		{"options of a later version", func() []byte { m := bytes.Clone(options); m[len(m)-5] = 1; return m }(), 16},
		{"bytes behind it", append(bytes.Clone(fine), 1, 2, 3), 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			out, task := handlerOf(shop()).handle(c.msg, instance, false, nil)
			if task != nil {
				t.Fatal("others are asked")
			}
			if out == nil || c.code == none {
				if out != nil || c.code != none {
					t.Errorf("answer %x, want code %d", out, c.code)
				}
				return
			}
			m := unpack(t, out)
			code := m.RCode
			for _, r := range m.Additionals {
				if r.Header.Type == dnsmessage.TypeOPT {
					code = r.Header.ExtendedRCode(m.RCode)
				}
			}
			if int(code) != c.code || m.ID != 4711 {
				t.Errorf("code %d, id %d; want code %d", code, m.ID, c.code)
			}
		})
	}
}

// Nobody but this machine and its instances is answered, with not a byte.
func TestOnlyOwnNetworksAreAnswered(t *testing.T) {
	z := shop()
	z.Listen = []string{"10.240.0.1:53"}
	h := handlerOf(z)
	msg := question(t, "web.default.orpheus.internal.", dnsmessage.TypeA)
	for from, want := range map[string]bool{
		"10.231.0.7": true, "::ffff:10.231.0.7": true, "127.0.0.1": true, "::1": true, "10.240.0.1": true,
		"10.240.0.2": false, "192.0.2.1": false, "10.231.16.1": false, "fd00::1": false,
	} {
		if out, _ := h.handle(msg, netip.MustParseAddr(from), false, nil); (out != nil) != want {
			t.Errorf("%s is answered: %v", from, out != nil)
		}
	}
}

// One instance that asks as fast as it can is slowed; its neighbour is not.
func TestFloodOfOneSource(t *testing.T) {
	h := handlerOf(shop())
	msg := question(t, "web.default.orpheus.internal.", dnsmessage.TypeA)
	begun := time.Now()
	answered := 0
	const asked = 30_000
	for range asked {
		if out, _ := h.handle(msg, instance, false, nil); out != nil {
			answered++
		}
	}
	if most := burst + int(time.Since(begun).Seconds()*perSecond) + 1; answered > most || answered < burst {
		t.Errorf("%d of %d answered, want %d to %d", answered, asked, burst, most)
	}
	if out, _ := h.handle(msg, instance.Next(), false, nil); out == nil {
		t.Error("its neighbour has no answer")
	}
	if got := h.count.read(); got.Limited != uint64(asked-answered) {
		t.Errorf("counted: %+v", got)
	}
}

// One instance cannot have all places among the questions that wait for others.
func TestForwardingIsBounded(t *testing.T) {
	z := shop()
	z.Upstream = []string{"192.0.2.1:53"}
	h := handlerOf(z)
	msg := question(t, "example.com.", dnsmessage.TypeA)
	var waiting []*task
	from := instance
	for range 2 * maxForwarded / maxForwardOne {
		for range maxForwardOne + 5 {
			out, task := h.handle(msg, from, false, nil)
			if task != nil {
				waiting = append(waiting, task)
			} else if m := unpack(t, out); m.RCode != dnsmessage.RCodeServerFailure {
				t.Fatalf("%+v", m.Header)
			}
		}
		from = from.Next()
	}
	if len(waiting) != maxForwarded {
		t.Errorf("%d wait, want %d", len(waiting), maxForwarded)
	}
	for _, task := range waiting {
		task.leave()
	}
	if _, task := h.handle(msg, instance, false, nil); task == nil {
		t.Error("places are not given back")
	}
}

// Sources beyond what is told apart share one allowance, and memory stays
// bounded.
func TestSourcesAreBounded(t *testing.T) {
	var s sources
	now := time.Now()
	addr := netip.MustParseAddr("fd00::1")
	for range 3 * maxSources {
		s.allow(addr, now)
		addr = addr.Next()
	}
	if len(s.all) > maxSources+1 {
		t.Errorf("%d sources are kept", len(s.all))
	}
	later := now.Add(2 * forgetAfter)
	s.allow(addr, later)
	if len(s.all) > 3 {
		t.Errorf("%d sources are kept after they are gone", len(s.all))
	}
}

func FuzzHandle(f *testing.F) {
	for _, name := range []string{"web.default.orpheus.internal.", "_sql._tcp.db.shop.", "31.0.232.10.in-addr.arpa.", ".", strings.Repeat("a.", 120)} {
		f.Add(question(f, name, dnsmessage.TypeA), false)
		f.Add(question(f, name, dnsmessage.TypeALL, withEDNS(4096)), true)
	}
	f.Fuzz(func(t *testing.T, msg []byte, stream bool) {
		z := shop()
		z.Upstream = []string{"192.0.2.1:53"}
		out, task := handlerOf(z).handle(msg, instance, stream, nil)
		if out != nil && task != nil {
			t.Fatal("answered, and others are asked")
		}
		if task != nil {
			task.leave()
			if strings.HasSuffix(task.name, Domain+".") {
				t.Fatalf("%q leaves the node", task.name)
			}
			if _, err := forwarded(&task.query); err != nil {
				t.Fatalf("cannot be asked on: %v", err)
			}
		}
		if out == nil {
			return
		}
		m := unpack(t, out)
		if !m.Response || m.ID != uint16(msg[0])<<8|uint16(msg[1]) || msg[2]&0x80 != 0 {
			t.Fatalf("answer to %x: %+v", msg, m.Header)
		}
		if !stream && len(out) > ednsSize {
			t.Fatalf("%d bytes", len(out))
		}
	})
}
