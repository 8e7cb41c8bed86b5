package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// patience bounds every wait: the machine may be busy.
const patience = time.Minute

// stage is a folder with relays that serve it.
type stage struct {
	testing.TB
	client Client
}

func newStage(t testing.TB) *stage { return &stage{t, Client{Dir: t.TempDir()}} }

// serving is one relay.
type serving struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// relay begins to serve, and returns once its control socket answers.
func (s *stage) relay() *serving {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &serving{cancel, make(chan struct{})}
	before, _ := os.Stat(s.client.Dir + "/" + socketFile)
	go func() {
		defer close(r.ended)
		if err := Serve(ctx, s.client.Dir, slog.New(slog.DiscardHandler)); err != nil {
			s.Errorf("serve: %v", err)
		}
	}()
	s.Cleanup(func() {
		cancel()
		r.wait(s)
	})
	s.eventually("the relay serves", func() bool {
		now, err := os.Stat(s.client.Dir + "/" + socketFile)
		return err == nil && (before == nil || !os.SameFile(before, now))
	})
	return r
}

func (r *serving) wait(s *stage) {
	select {
	case <-r.ended:
	case <-time.After(patience):
		s.Error("the relay does not end")
	}
}

func (s *stage) eventually(what string, is func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func (s *stage) balance(fronts ...runtime.Front) {
	s.Helper()
	if err := s.client.Balance(s.Context(), runtime.Balancing{Fronts: fronts}); err != nil {
		s.Fatal(err)
	}
}

// backend is an instance on 127.0.0.1 that says its number and what it hears.
type backend struct {
	target runtime.Target
	number byte
	seen   atomic.Int64
	close  func()
}

func (s *stage) backend(number byte) *backend {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	b := &backend{target: targetOf(l.Addr()), number: number, close: func() { l.Close() }}
	s.Cleanup(b.close)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.seen.Add(1)
			go func() {
				defer c.Close()
				if _, err := c.Write([]byte{number}); err == nil {
					io.Copy(c, c)
				}
			}()
		}
	}()
	return b
}

func targetOf(a net.Addr) runtime.Target {
	host, port, _ := net.SplitHostPort(a.String())
	n, _ := strconv.Atoi(port)
	return runtime.Target{Address: host, Port: n}
}

var octet atomic.Int32

// service is a front of kind service at an address of its own, and where it is
// served.
func (s *stage) service(protocol string, targets ...runtime.Target) (runtime.Front, string) {
	address := fmt.Sprintf("10.232.%d.%d", os.Getpid()%250, octet.Add(1))
	return runtime.Front{
		Kind: runtime.FrontService, Service: planner.ServiceID{Name: "web"}, Address: address, Port: 5432, Protocol: protocol, Targets: targets,
	}, net.JoinHostPort(Address(address), "5432")
}

// call makes a connection, says something and returns who answered.
func call(address string) (byte, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("hello")); err != nil {
		return 0, err
	}
	c.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(c)
	if err == nil && (len(answer) != 6 || string(answer[1:]) != "hello") {
		err = fmt.Errorf("answer %q", answer)
	}
	if err != nil {
		return 0, err
	}
	return answer[0], nil
}

func TestConnectionsAreSpread(t *testing.T) {
	s := newStage(t)
	one, two, three := s.backend(1), s.backend(2), s.backend(3)
	front, at := s.service("tcp", one.target, two.target, three.target)
	s.balance(front)
	s.relay()
	count := map[byte]int{}
	for range 300 {
		who, err := call(at)
		if err != nil {
			t.Fatal(err)
		}
		count[who]++
	}
	if count[1] != 100 || count[2] != 100 || count[3] != 100 {
		t.Errorf("connections per target: %v, want 100 each", count)
	}
	// By the client's address they all go to one, also after another has left.
	front.Affinity = true
	s.balance(front)
	who, err := call(at)
	for range 30 {
		if again, err := call(at); err != nil || again != who {
			t.Fatalf("%d instead of %d, %v", again, who, err)
		}
	}
	for i, b := range []*backend{one, two, three} {
		if b.number != who {
			front.Targets = append(front.Targets[:i:i], front.Targets[i+1:]...)
			break
		}
	}
	s.balance(front)
	if again, err := call(at); err != nil || again != who {
		t.Errorf("%d instead of %d after another target left, %v", again, who, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	seen, err := s.client.Traffic(t.Context())
	if err != nil || len(seen) == 0 || seen[0].Answered < 0 || seen[0].Refused >= 0 {
		t.Errorf("traffic %+v, %v", seen, err)
	}
	// Without targets connections are refused at once.
	front.Targets = nil
	s.balance(front)
	if _, err := call(at); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without targets: %v", err)
	}
}

// A target that refuses costs its clients nothing, and is told of.
func TestRefusingTargetIsPassedOver(t *testing.T) {
	s := newStage(t)
	one, gone := s.backend(1), s.backend(2)
	gone.close()
	front, at := s.service("tcp", one.target, gone.target)
	s.relay()
	s.balance(front)
	for range 50 {
		if who, err := call(at); err != nil || who != 1 {
			t.Fatalf("%d answered, %v", who, err)
		}
	}
	seen, err := s.client.Traffic(t.Context())
	told := false
	for _, tr := range seen {
		told = told || tr.Target == gone.target && tr.Refused >= 0 && tr.Answered < 0
	}
	if !told || err != nil {
		t.Errorf("traffic %+v, %v", seen, err)
	}
	one.close()
	s.eventually("all refuse", func() bool { _, err := call(at); return err != nil })
	if c, err := net.Dial("tcp", at); err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, io.EOF) {
			t.Errorf("the end of a connection that reached nobody looks like one that did: %v", err)
		}
	}
}

// What is cut off on one side must not look whole on the other.
func TestResetIsPassedOn(t *testing.T) {
	s := newStage(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("half of an ans"))
			c.Read(make([]byte, 4))
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
	front, at := s.service("tcp", targetOf(l.Addr()))
	s.relay()
	s.balance(front)
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, 14)); err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("more"))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %v, want a reset", err)
	}
}

func TestStandingConnectionsStay(t *testing.T) {
	s := newStage(t)
	one, two := s.backend(1), s.backend(2)
	front, at := s.service("tcp", one.target)
	old := s.relay()
	s.balance(front)
	standing, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	standing.SetDeadline(time.Now().Add(2 * patience))
	echo := func(what string) {
		t.Helper()
		standing.Write([]byte("ping"))
		if _, err := io.ReadFull(standing, make([]byte, 4)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	io.ReadFull(standing, make([]byte, 1))
	echo("at first")
	front.Targets = []runtime.Target{two.target}
	s.balance(front)
	if who, err := call(at); err != nil || who != 2 {
		t.Fatalf("%d answered, %v", who, err)
	}
	echo("after its target has left")
	s.balance()
	if _, err := call(at); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("a front that is gone: %v", err)
	}
	echo("after its front is gone")
	s.balance(front)
	s.relay()
	old.cancel()
	if who, err := call(at); err != nil || who != 2 {
		t.Fatalf("%d answered, %v", who, err)
	}
	echo("after another relay has taken over")
	select {
	case <-old.ended:
		t.Fatal("the relay before has ended with a connection standing")
	default:
	}
	standing.Close()
	old.wait(s)
}

// While targets, fronts and relays come and go, no connection fails.
func TestNoConnectionFailsMeanwhile(t *testing.T) {
	s := newStage(t)
	backends := []*backend{s.backend(1), s.backend(2), s.backend(3)}
	front, at := s.service("tcp", backends[0].target)
	other, _ := s.service("tcp", backends[0].target)
	s.balance(front)
	last := s.relay()
	var done atomic.Bool
	var made atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for !done.Load() {
				if _, err := call(at); err != nil {
					t.Errorf("connection %d: %v", made.Load(), err)
					return
				}
				made.Add(1)
			}
		})
	}
	for round := range 12 {
		from := made.Load()
		front.Targets = []runtime.Target{backends[round%3].target, backends[(round+1)%3].target}
		if round%2 == 0 {
			s.balance(front, other)
		} else {
			s.balance(front)
		}
		if round%3 == 2 {
			next := s.relay()
			last.cancel()
			last.wait(s)
			last = next
		}
		s.eventually("connections go on", func() bool { return made.Load() >= from+50 || t.Failed() })
	}
	done.Store(true)
	clients.Wait()
	t.Logf("%d connections, 12 changes, 4 relays", made.Load())
}

// A relay that is killed leaves a socket that nobody answers on.
func TestRelayThatDiedIsReplaced(t *testing.T) {
	s := newStage(t)
	one := s.backend(1)
	front, at := s.service("tcp", one.target)
	first := s.relay()
	s.balance(front)
	first.cancel()
	first.wait(s)
	if err := s.client.Balance(t.Context(), runtime.Balancing{Fronts: []runtime.Front{front}}); err != nil {
		t.Errorf("balance without a relay: %v", err)
	}
	if seen, err := s.client.Traffic(t.Context()); err != nil || len(seen) > 0 {
		t.Errorf("traffic without a relay: %v, %v", seen, err)
	}
	s.relay()
	if who, err := call(at); err != nil || who != 1 {
		t.Errorf("%d answered, %v", who, err)
	}
}

func TestTakenPortIsReportedAndOpenedLater(t *testing.T) {
	s := newStage(t)
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	one := s.backend(1)
	front, at := s.service("tcp", one.target)
	s.relay()
	published := runtime.Front{Service: front.Service, Port: port, Protocol: "tcp", Targets: front.Targets}
	err = s.client.Balance(t.Context(), runtime.Balancing{Fronts: []runtime.Front{published, front}})
	if left, is := errors.AsType[runtime.LeftOutError](err); !is || len(left) != 1 || left[0].Front.Port != port {
		t.Errorf("a taken port: %v", err)
	}
	if _, err := call(at); err != nil {
		t.Errorf("the other front: %v", err)
	}
	l.Close()
	s.eventually("the port is opened", func() bool {
		who, err := call(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err == nil && who == 1
	})
	s.balance(published, front)
	// A file that is no table changes nothing.
	if err := write(s.client.Dir, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if st, err := askStatus(t.Context(), s.client.Dir); err != nil || st.Fault == "" {
		t.Errorf("a spoiled file: %+v, %v", st, err)
	}
	if _, err := call(at); err != nil {
		t.Errorf("after the file was spoiled: %v", err)
	}
}

// A full relay accepts no more until a connection ends.
func TestConnectionsAreBounded(t *testing.T) {
	s := newStage(t)
	one := s.backend(1)
	front, at := s.service("tcp", one.target)
	r := newServer(s.client.Dir, slog.New(slog.DiscardHandler))
	r.places = make(chan struct{}, 3)
	defer r.end()
	s.balance(front)
	r.look()
	var standing []net.Conn
	for range 10 {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		standing = append(standing, c)
	}
	s.eventually("three are led", func() bool { return one.seen.Load() == 3 })
	var answered atomic.Int64
	for _, c := range standing {
		go func() {
			c.SetDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				answered.Add(1)
			}
			c.Close()
		}()
	}
	s.eventually("all have their turn", func() bool { return answered.Load() == 10 })
}

// udpBackend echoes packets with its number before them.
func (s *stage) udpBackend(number byte) runtime.Target {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, maxPacket)
		for {
			n, from, err := c.ReadFrom(buf[1:])
			if err != nil {
				return
			}
			buf[0] = number
			c.WriteTo(buf[:n+1], from)
		}
	}()
	return targetOf(c.LocalAddr())
}

// ask sends a packet until it is answered.
func (s *stage) ask(c net.Conn, size int) byte {
	s.Helper()
	packet, buf := bytes.Repeat([]byte{7}, size), make([]byte, maxPacket)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c.Write(packet)
		c.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := c.Read(buf); err == nil && n == size+1 && bytes.Equal(buf[1:n], packet) {
			return buf[0]
		}
	}
	s.Fatal("no answer")
	return 0
}

func TestUDP(t *testing.T) {
	s := newStage(t)
	one, two := s.udpBackend(1), s.udpBackend(2)
	front, at := s.service("udp", one)
	l, err := net.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	published := front
	published.Kind, published.Address, published.Port = runtime.FrontPublished, "", l.LocalAddr().(*net.UDPAddr).Port
	l.Close()
	s.relay()
	s.balance(front, published)
	// A connected socket takes answers only from the address it sent to.
	for _, to := range []string{at, net.JoinHostPort("127.5.6.7", strconv.Itoa(published.Port))} {
		c, err := net.Dial("udp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, size := range []int{0, 1, 1472, 1473, 60000} {
			if who := s.ask(c, size); who != 1 {
				t.Errorf("%d answered", who)
			}
		}
		front.Targets, published.Targets = []runtime.Target{two}, []runtime.Target{two}
		s.balance(front, published)
		if who := s.ask(c, 10); who != 2 {
			t.Errorf("after its target has left, %d answered", who)
		}
		front.Targets, published.Targets = []runtime.Target{one}, []runtime.Target{one}
		s.balance(front, published)
	}
	// A hand-over moves the flow, and it goes on.
	c, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.ask(c, 10)
	s.relay()
	s.ask(c, 10)
}

// Sessions are bounded: a further client takes the place of a silent one.
func TestManyUDPClientsAreBounded(t *testing.T) {
	s := newStage(t)
	front, _ := s.service("udp", s.udpBackend(1))
	r := newServer(s.client.Dir, slog.New(slog.DiscardHandler))
	r.places = make(chan struct{}, 500)
	defer r.end()
	s.balance(front)
	r.look()
	var f *udpFront
	for _, fronts := range r.fronts {
		f = fronts[0].(*udpFront)
	}
	f.mu.Lock()
	for n := range cap(r.places) {
		up, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
		if err != nil {
			f.mu.Unlock()
			t.Fatal(err)
		}
		c := client{to: f.sock.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), from: addrPort(n)}
		f.sessions[c] = &session{front: f, client: c, upstream: up, target: f.choice.Load().targets[0]}
		r.sessions.Add(1)
	}
	f.mu.Unlock()
	c, err := net.Dial("udp", f.sock.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.ask(c, 10)
	if n := r.sessions.Load(); n != int64(cap(r.places)) {
		t.Errorf("%d sessions, want %d", n, cap(r.places))
	}
	f.expire()
	if n := r.sessions.Load(); n != 1 {
		t.Errorf("%d sessions after those that were silent for a minute have ended, want 1", n)
	}
}

func addrPort(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 1000)
}
