package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/gitsync/trust"
	"github.com/orpheus-cd/orpheus/planner"
)

// soon bounds every wait: much longer than anything takes on a loaded machine.
const soon = 20 * time.Second

// identity is a key with its certificate.
type identity struct {
	node planner.NodeName
	key  string
	cert tls.Certificate
}

func newIdentity(t testing.TB, node planner.NodeName) identity {
	t.Helper()
	key, err := trust.LoadOrCreateKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := key.TLSCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return identity{node, key.Public(), cert}
}

// member is a running node of a test.
type member struct {
	*Peers
	identity
	logs *logs
	stop func() // ends it and waits
}

// run starts a node that listens at an address, "127.0.0.1:0" for any.
func run(t testing.TB, who identity, listen string) *member {
	t.Helper()
	m := &member{identity: who, logs: &logs{}}
	var err error
	m.Peers, err = New(Config{
		Node: who.node, Listen: listen, Certificate: who.cert, KeyOf: trust.KeyOfCertificate,
		Log:      slog.New(slog.NewTextHandler(m.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Interval: 100 * time.Millisecond, // a caller may speak twenty times a second
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", who.node, err)
		}
	})
	t.Cleanup(m.stop)
	if listen != "" {
		eventually(t, "it listens", func() bool { return m.Address() != "" || m.Stats().Problem != "" })
	}
	return m
}

func start(t testing.TB, node planner.NodeName) *member {
	return run(t, newIdentity(t, node), "127.0.0.1:0")
}

// peer is the node as its peers reach it.
func (m *member) peer() fleet.Peer {
	return fleet.Peer{Node: m.node, Address: m.Address(), Key: m.key}
}

// knowing is the keys of nodes, as Watch takes them.
func knowing(ids ...identity) map[string]planner.NodeName {
	known := map[string]planner.NodeName{}
	for _, id := range ids {
		known[id.key] = id.node
	}
	return known
}

// awaits takes sightings until one is as wanted.
func (m *member) awaits(t testing.TB, want fleet.Sighting) {
	t.Helper()
	var last []fleet.Sighting
	for deadline := time.After(soon); ; {
		select {
		case s := <-m.Sightings():
			last = append(last, s)
			if s.Node == want.Node && same(s, want) {
				return
			}
		case <-deadline:
			t.Fatalf("%s never sees %+v, but %+v; log:\n%s", m.node, want, last, m.logs)
		}
	}
}

func up(n planner.NodeName, suspects ...planner.NodeName) fleet.Sighting {
	return fleet.Sighting{Node: n, State: planner.ProbeUp, Suspects: suspects}
}

func down(n planner.NodeName) fleet.Sighting {
	return fleet.Sighting{Node: n, State: planner.ProbeDown}
}

func receives(t testing.TB, what string, c <-chan planner.NodeName, want planner.NodeName) {
	t.Helper()
	select {
	case got := <-c:
		if got != want {
			t.Errorf("%s: from %s, want %s", what, got, want)
		}
	case <-time.After(soon):
		t.Fatalf("%s: nothing comes", what)
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never comes to be that %s", what)
		}
	}
}

// logs is a log that can be read while it is written.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestPeersTalk: a probes b. Both learn what the other says; b learns that it
// is probed.
func TestPeersTalk(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	b.Watch(nil, knowing(a.identity))
	a.Watch([]fleet.Peer{b.peer()}, knowing(b.identity))
	a.awaits(t, up("b"))
	receives(t, "probed", b.Probed(), "a")
	b.Say([]planner.NodeName{"c", "d"}, true)
	a.awaits(t, fleet.Sighting{Node: "b", State: planner.ProbeUp, Suspects: []planner.NodeName{"c", "d"}, Blind: true})
	a.Say([]planner.NodeName{"e"}, false)
	b.awaits(t, fleet.Sighting{Node: "a", Suspects: []planner.NodeName{"e"}})
	if s := b.Stats(); s.Probes != 0 || s.Problem != "" {
		t.Errorf("b, which probes nobody: %+v", s)
	}
	// a does not watch b any more, and b forgets what a said.
	a.Watch(nil, knowing(b.identity))
	a.awaits(t, fleet.Sighting{Node: "b", Suspects: []planner.NodeName{"c", "d"}, Blind: true})
	a.awaits(t, fleet.Sighting{Node: "b"})
	b.awaits(t, fleet.Sighting{Node: "a"})
}

// TestPeersDownAndUp: three misses in a row, and the first answer.
func TestPeersDownAndUp(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	address := b.Address()
	b.Watch(nil, knowing(a.identity))
	a.Watch([]fleet.Peer{b.peer()}, nil)
	a.awaits(t, up("b"))
	missed := a.Stats().Missed
	b.stop()
	a.awaits(t, down("b"))
	if n := a.Stats().Missed - missed; n < missesForDown {
		t.Errorf("down after %d misses", n)
	}
	b = run(t, b.identity, address)
	b.Watch(nil, knowing(a.identity))
	a.awaits(t, up("b"))
	if text := a.logs.String(); strings.Count(text, "peer does not answer") != 1 || strings.Count(text, "peer answers again") != 1 {
		t.Errorf("log:\n%s", text)
	}
	// It moves: the state stays until the new address has shown something.
	other := run(t, newIdentity(t, "other"), "127.0.0.1:0")
	a.Watch([]fleet.Peer{{Node: "b", Address: other.Address(), Key: b.key}}, nil)
	a.awaits(t, down("b"))
}

// TestPeersSilence: a machine that takes connections and says nothing is down
// after three probes of a second each.
func TestPeersSilence(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // connections wait in its queue
	a := start(t, "a")
	began := time.Now() // the first probe begins with Watch
	a.Watch([]fleet.Peer{{Node: "b", Address: silent.Addr().String(), Key: newIdentity(t, "b").key}}, nil)
	a.awaits(t, down("b"))
	if s, took := a.Stats(), time.Since(began); s.Missed != missesForDown || took < missesForDown*timeout {
		t.Errorf("down after %v and %+v", took, s)
	}
}

func TestPeersPoke(t *testing.T) {
	a, b, c := start(t, "a"), start(t, "b"), start(t, "c")
	for _, m := range []*member{b, c} {
		m.Watch(nil, knowing(a.identity))
	}
	a.Watch([]fleet.Peer{b.peer()}, nil)
	a.awaits(t, up("b"))
	// One that is probed, one that is not, and those that cannot be poked.
	gone := fleet.Peer{Node: "gone", Address: "127.0.0.1:1", Key: c.key}
	a.Poke([]fleet.Peer{b.peer(), gone, c.peer(), {Node: "nat", Key: c.key}, a.peer()})
	receives(t, "poke over the kept connection", b.Pokes(), "a")
	receives(t, "poke over a new connection", c.Pokes(), "a")
	// Many at once are few, and the last one arrives after all that was asked.
	for range 1000 {
		a.Poke([]fleet.Peer{b.peer(), c.peer()})
	}
	receives(t, "pokes", b.Pokes(), "a")
	receives(t, "pokes", c.Pokes(), "a")
	eventually(t, "the errands are done", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.errands.runners == 0
	})
	if s := a.Stats(); s.Pokes > 1000 {
		t.Errorf("%d pokes sent", s.Pokes)
	}
	if c.Stats().Poked == 0 || len(c.Probed()) != 0 {
		t.Error("a poke is no probe")
	}
}

// TestPeersPort: a port that is taken is said, tried again, and keeps nobody
// from probing.
func TestPeersPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, "b")
	a := run(t, newIdentity(t, "a"), taken.Addr().String())
	if s := a.Stats(); !strings.Contains(s.Problem, taken.Addr().String()) || !strings.Contains(s.Problem, "in use") {
		t.Errorf("problem: %q", s.Problem)
	}
	b.Watch(nil, knowing(a.identity))
	a.Watch([]fleet.Peer{b.peer()}, knowing(b.identity))
	a.awaits(t, up("b"))
	taken.Close()
	eventually(t, "the port is open", func() bool { return a.Address() != "" })
	if s := a.Stats(); s.Problem != "" {
		t.Errorf("problem: %q", s.Problem)
	}
	b.Watch([]fleet.Peer{a.peer()}, knowing(a.identity))
	b.awaits(t, up("a"))
	if text := a.logs.String(); strings.Count(text, "peer port cannot be opened") != 1 || strings.Count(text, "open again") != 1 {
		t.Errorf("log:\n%s", text)
	}
}

// TestPeersForgotten: who is no node any more, its connection ends.
func TestPeersForgotten(t *testing.T) {
	a, b := start(t, "a"), start(t, "b")
	b.Watch(nil, knowing(a.identity))
	a.Watch([]fleet.Peer{b.peer()}, nil)
	a.awaits(t, up("b"))
	b.Watch(nil, nil)
	a.awaits(t, down("b"))
	b.Watch(nil, knowing(a.identity))
	a.awaits(t, up("b"))
}

// TestPeersMany: a fleet in which everybody probes everybody; one dies, and
// all others hear from all others that they see it.
func TestPeersMany(t *testing.T) {
	var all []*member
	var ids []identity
	for i := range 6 {
		m := start(t, planner.NodeName(fmt.Sprintf("n%d", i)))
		all, ids = append(all, m), append(ids, m.identity)
	}
	for _, m := range all {
		var others []fleet.Peer
		for _, o := range all {
			others = append(others, o.peer()) // itself is left out
		}
		m.Watch(others, knowing(ids...))
	}
	dead, alive := all[5], all[:5]
	for _, m := range alive {
		m.awaits(t, up(dead.node))
	}
	dead.stop()
	for _, m := range alive {
		m.awaits(t, down(dead.node))
	}
	for _, m := range alive {
		m.Say([]planner.NodeName{dead.node}, false)
	}
	for _, m := range alive {
		missing := slices.DeleteFunc(slices.Clone(alive), func(o *member) bool { return o == m })
		for len(missing) > 0 {
			select {
			case s := <-m.Sightings():
				missing = slices.DeleteFunc(missing, func(o *member) bool {
					return o.node == s.Node && slices.Contains(s.Suspects, dead.node)
				})
			case <-time.After(soon):
				t.Fatalf("%s does not hear from %d others", m.node, len(missing))
			}
		}
	}
}

func TestNew(t *testing.T) {
	id := newIdentity(t, "a")
	good := Config{Node: "a", Certificate: id.cert, KeyOf: trust.KeyOfCertificate, Log: slog.New(slog.DiscardHandler)}
	for name, spoil := range map[string]func(*Config){
		"no node":           func(c *Config) { c.Node = "" },
		"no certificate":    func(c *Config) { c.Certificate = tls.Certificate{} },
		"no keys":           func(c *Config) { c.KeyOf = nil },
		"no log":            func(c *Config) { c.Log = nil },
		"negative interval": func(c *Config) { c.Interval = -1 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	p, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	// Without Listen, it runs and serves nobody; a second Run is refused.
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	eventually(t, "it runs", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.ctx != nil })
	if err := p.Run(ctx); err == nil {
		t.Error("runs twice")
	}
	cancel()
	if err := <-ended; err != nil || p.Address() != "" {
		t.Errorf("%v, at %q", err, p.Address())
	}
	// After the end nothing starts.
	p.Watch([]fleet.Peer{{Node: "b", Address: "127.0.0.1:1", Key: "k"}}, nil)
	p.Poke([]fleet.Peer{{Node: "c", Address: "127.0.0.1:1", Key: "k"}})
	if s := p.Stats(); s.Probes != 0 || s.Pokes != 0 {
		t.Errorf("%+v", s)
	}
}

// BenchmarkProbe is one probe and its answer, both ends: at three nodes a
// second this must stay below a thousandth of a core.
func BenchmarkProbe(b *testing.B) {
	one, two := start(b, "a"), start(b, "b")
	two.Watch(nil, knowing(one.identity))
	for key := range two.callers {
		two.callers[key].bucket = bucket{rate: 1e9, burst: 1e9}
	}
	l := line{peers: one.Peers, peer: two.peer()}
	defer l.close()
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.ask(ctx, *one.frame.Load()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnect is what a new connection costs.
func BenchmarkConnect(b *testing.B) {
	one, two := start(b, "a"), start(b, "b")
	two.Watch(nil, knowing(one.identity))
	for key := range two.callers {
		two.callers[key].bucket = bucket{rate: 1e9, burst: 1e9}
	}
	ctx := context.Background()
	for b.Loop() {
		l := line{peers: one.Peers, peer: two.peer()}
		if _, err := l.ask(ctx, *one.frame.Load()); err != nil {
			b.Fatal(err)
		}
		l.close()
	}
}
