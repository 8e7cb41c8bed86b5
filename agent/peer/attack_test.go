package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// call connects to a node as whoever holds a key; from is a local address, ""
// = any.
func call(t *testing.T, from string, to *member, as *identity) (*tls.Conn, error) {
	t.Helper()
	dialer := net.Dialer{Timeout: soon}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial("tcp", to.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(soon))
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}
	if as != nil {
		config.Certificates = []tls.Certificate{as.cert}
	}
	secure := tls.Client(conn, config)
	return secure, secure.Handshake()
}

// ended reports whether the other end hangs up without a word.
func ended(conn net.Conn) bool {
	conn.SetDeadline(time.Now().Add(soon))
	n, err := conn.Read(make([]byte, 1))
	timedOut, ok := err.(net.Error)
	return n == 0 && err != nil && !(ok && timedOut.Timeout())
}

// elsewhere is a second loopback address, so that strangers do not share ours.
func elsewhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("this system has no second loopback address")
	}
	l.Close()
	return "127.0.0.2"
}

// pair is two nodes, of which a probes b.
func pair(t *testing.T) (a, b *member) {
	a, b = start(t, "a"), start(t, "b")
	b.Watch(nil, knowing(a.identity))
	a.Watch([]fleet.Peer{b.peer()}, knowing(b.identity))
	a.awaits(t, up("b"))
	return a, b
}

// TestAttackStranger: without a key of the fleet nobody gets an answer, with
// no certificate, an unknown key, or another protocol.
func TestAttackStranger(t *testing.T) {
	_, b := pair(t)
	stranger := newIdentity(t, "a") // the name says nothing
	for name, as := range map[string]*identity{"unknown key": &stranger, "no key": nil} {
		conn, err := call(t, "", b, as)
		if err == nil {
			conn.Write(encode(message{Poke: true}))
			if !ended(conn) {
				t.Errorf("%s: was not refused", name)
			}
		}
	}
	plain, err := net.Dial("tcp", b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	io.WriteString(plain, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	if _, err := io.Copy(io.Discard, plain); err != nil {
		t.Logf("plain: %v", err) // a reset will do as well
	}
	eventually(t, "all are counted", func() bool { return b.Stats().Refused == 3 })
	if b.Stats().Poked != 0 {
		t.Error("a stranger has poked")
	}
}

// TestAttackFlood: strangers that come in numbers, greet slowly or fail, keep
// nobody away: not those connected, not a peer that comes anew.
func TestAttackFlood(t *testing.T) {
	from := elsewhere(t)
	a, b := pair(t)
	for range 2 * maxGreetings {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", b.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte{22, 3, 1}) // a handshake begins
	}
	c := start(t, "c")
	b.Watch(nil, knowing(a.identity, c.identity))
	c.Watch([]fleet.Peer{b.peer()}, nil)
	c.awaits(t, up("b"))
	// Those that fail again and again are not greeted any more.
	stranger := newIdentity(t, "x")
	eventually(t, "the stranger's address is refused", func() bool {
		conn, err := call(t, from, b, &stranger)
		conn.Close()
		return err != nil && !strings.Contains(err.Error(), "tls:")
	})
	if c.Stats().Missed+a.Stats().Missed > 0 {
		t.Errorf("probes missed: a %d, c %d", a.Stats().Missed, c.Stats().Missed)
	}
}

// TestAttackPeer: a node of the fleet that sends junk, too much, or too fast
// loses its connection or waits; others see nothing of it.
func TestAttackPeer(t *testing.T) {
	a, b := pair(t)
	evil := newIdentity(t, "evil")
	b.Watch(nil, knowing(a.identity, evil))
	header := func(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
	for name, junk := range map[string][]byte{
		"no JSON":       append(header(4), "junk"...),
		"empty":         header(0),
		"oversized":     append(header(maxFrame), bytes.Repeat([]byte{' '}, maxFrame)...),
		"a forged name": append(header(len(`{"suspects":["a\u001b[2J"]}`)), `{"suspects":["a\u001b[2J"]}`...),
	} {
		conn, err := call(t, "", b, &evil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn.Write(junk)
		if !ended(conn) {
			t.Errorf("%s: was not hung up on", name)
		}
	}
	// More connections than it needs: the oldest end.
	first, err := call(t, "", b, &evil)
	if err != nil {
		t.Fatal(err)
	}
	first.Write(encode(message{}))
	readFrame(first, nil)
	for range callerLines {
		if _, err := call(t, "", b, &evil); err != nil {
			t.Fatal(err)
		}
	}
	if !ended(first) {
		t.Error("it has as many connections as it likes")
	}
	if a.Stats().Missed > 0 {
		t.Errorf("%d probes of another node missed", a.Stats().Missed)
	}
}

// TestAttackPokeFlood: what a peer says is read no faster than it may speak.
func TestAttackPokeFlood(t *testing.T) {
	_, b := pair(t)
	evil := newIdentity(t, "evil")
	b.Watch(nil, knowing(evil))
	conn, err := call(t, "", b, &evil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, err := conn.Write(encode(message{Poke: true})); err == nil; {
			_, err = conn.Write(encode(message{Poke: true}))
		}
	}()
	go io.Copy(io.Discard, conn)
	began := time.Now()
	eventually(t, "the burst is used up", func() bool { return b.Stats().Poked > callerBurst+callerRate })
	took := time.Since(began)
	if n := b.Stats().Poked; float64(n) > callerBurst+callerRate*(took.Seconds()+1) {
		t.Errorf("%d pokes in %v", n, took)
	}
	conn.Close()
}

// TestAttackReplay: what was recorded of a connection is worth nothing on
// another one.
func TestAttackReplay(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	b.Watch(nil, knowing(a.identity))
	tap := newTap(t, b.Address())
	a.Poke([]fleet.Peer{{Node: "b", Address: tap.listener.Addr().String(), Key: b.key}})
	receives(t, "poke", b.Pokes(), "a")
	poked := b.Stats().Poked
	conn, err := net.Dial("tcp", b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write(tap.recorded())
	conn.SetDeadline(time.Now().Add(soon))
	io.Copy(io.Discard, conn)
	eventually(t, "the replay is refused", func() bool { return b.Stats().Refused == 1 })
	if b.Stats().Poked != poked {
		t.Error("a poke was replayed")
	}
}

// tap passes connections on and records what the caller sends.
type tap struct {
	listener net.Listener
	mu       sync.Mutex
	sent     bytes.Buffer
}

func newTap(t *testing.T, to string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{listener: listener}
	var running sync.WaitGroup
	running.Go(func() {
		in, err := listener.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer out.Close()
		running.Go(func() { io.Copy(in, out); in.Close() })
		io.Copy(out, io.TeeReader(in, p))
	})
	t.Cleanup(func() { listener.Close(); running.Wait() })
	return p
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.Write(b)
}

func (p *tap) recorded() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.sent.Bytes())
}

// TestAttackImpostor: at a peer's address another machine answers, even one of
// the fleet: it is not the peer, and hears nothing.
func TestAttackImpostor(t *testing.T) {
	a, b, c := start(t, "a"), newIdentity(t, "b"), start(t, "c")
	c.Watch(nil, knowing(a.identity))
	a.Say([]planner.NodeName{"d"}, true)
	a.Watch([]fleet.Peer{{Node: "b", Address: c.Address(), Key: b.key}}, knowing(b, c.identity))
	a.awaits(t, down("b"))
	a.Poke([]fleet.Peer{{Node: "b", Address: c.Address(), Key: b.key}})
	misses := a.Stats().Missed
	eventually(t, "it is probed on", func() bool { return a.Stats().Missed > misses+3 })
	if text := a.logs.String(); strings.Count(text, "another machine answers in the place of a peer") != 1 || !strings.Contains(text, "another key than the node's record") {
		t.Errorf("log:\n%s", text)
	}
	if s := c.Stats(); s.Poked > 0 || len(c.Probed()) > 0 {
		t.Errorf("the impostor was told something: %+v", s)
	}
}

// TestAttackMute: a peer that never ends a message is left after a second, and
// keeps Run from ending no longer than that.
func TestAttackMute(t *testing.T) {
	b := newIdentity(t, "b")
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{b.cert}, NextProtos: []string{protocol}, ClientAuth: tls.RequireAnyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for _, err := conn.Write([]byte{0, 200, '{'}); err == nil; _, err = conn.Write([]byte{' '}) {
					time.Sleep(100 * time.Millisecond) // drip
				}
			}()
		}
	}()
	a := start(t, "a")
	a.Watch([]fleet.Peer{{Node: "b", Address: listener.Addr().String(), Key: b.key}}, nil)
	a.awaits(t, down("b"))
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	go func() { a.stop(); cancel() }()
	<-ctx.Done()
	if ctx.Err() == context.DeadlineExceeded {
		t.Error("Run does not end")
	}
}
