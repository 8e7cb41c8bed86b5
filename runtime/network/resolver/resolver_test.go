//go:build linux

package resolver

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The test binary is also the program that a Helper starts, and an agent that
// has one.
const (
	helperVerb = "resolver-under-test"
	agentVerb  = "agent-under-test"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == helperVerb {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if Main(ctx, os.Args[3], echoPart, slowPart) != nil {
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == agentVerb {
		agentUnderTest(os.Args[2], os.Args[3])
		return
	}
	os.Exit(m.Run())
}

// echoPart says in a file of its own that it runs, and in which process.
var echoPart = Part{Name: "echo", File: "echo.json", Serve: func(ctx context.Context, dir string, _ *slog.Logger) error {
	f, err := os.OpenFile(filepath.Join(dir, "echo.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.WriteString(f, "begin\n"); err != nil {
		return err
	}
	<-ctx.Done()
	_, err = io.WriteString(f, "end\n")
	return err
}}

// slowPart takes its time to end: connections of its own stand.
var slowPart = Part{Name: "slow", File: "slow.json", Serve: func(ctx context.Context, dir string, _ *slog.Logger) error {
	<-ctx.Done()
	for {
		if _, err := os.Stat(filepath.Join(dir, "slow.json")); err != nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}}

// eventually polls until ok, with a deadline that also a busy machine keeps.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// exchangeOnce sends a message and returns the answer, over "udp" or "tcp".
func exchangeOnce(network, addr string, msg []byte, timeout time.Duration) ([]byte, error) {
	conn, err := net.DialTimeout(network, addr, timeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(timeout))
	if network == "tcp" {
		if _, err := conn.Write(framed(msg)); err != nil {
			return nil, err
		}
		return readFrame(conn, maxReply)
	}
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, maxReply)
	n, err := conn.Read(buf)
	return buf[:n], err
}

// asked asks and unpacks.
func asked(t testing.TB, network, addr string, msg []byte) dnsmessage.Message {
	t.Helper()
	out, err := exchangeOnce(network, addr, msg, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return unpack(t, out)
}

// freeAddress is an address on loopback that nobody listens on, udp nor tcp, and
// that no client is given as its own: those have 127.0.0.1 and higher ports.
func freeAddress(t testing.TB) string {
	t.Helper()
	for {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(10 + rand.IntN(200)), byte(rand.IntN(256)), 1}), uint16(10_000+rand.IntN(10_000))).String()
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		l.Close()
		if p, err := net.ListenPacket("udp", addr); err == nil {
			p.Close()
			return addr
		}
	}
}

// served runs a server on a zone within this process. It returns its address.
func served(t testing.TB, z Zone) (*server, string) {
	t.Helper()
	addr := freeAddress(t)
	z.Listen = []string{addr}
	dir := t.TempDir()
	if err := Write(filepath.Join(dir, ZoneFile), z); err != nil {
		t.Fatal(err)
	}
	s := newServer(dir, "test", slog.New(slog.NewTextHandler(t.Output(), nil)))
	if !s.look() {
		t.Fatal(s.health().Faults)
	}
	s.serve()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { s.follow(ctx) })
	t.Cleanup(func() {
		cancel()
		work.Wait()
		s.close()
	})
	return s, addr
}

// upstream is a name server that answers as answer says; nil = not at all.
type upstream struct {
	addr  string
	asked atomic.Int64
}

func newUpstream(t testing.TB, answer func(query dnsmessage.Message, stream bool) []byte) *upstream {
	t.Helper()
	u := &upstream{addr: freeAddress(t)}
	packets, err := net.ListenPacket("udp", u.addr)
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", u.addr)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() {
		packets.Close()
		streams.Close()
		work.Wait()
	})
	reply := func(msg []byte, stream bool) []byte {
		u.asked.Add(1)
		var m dnsmessage.Message
		if m.Unpack(msg) != nil {
			return nil
		}
		return answer(m, stream)
	}
	work.Go(func() {
		buf := make([]byte, maxQuery)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			if out := reply(buf[:n], false); out != nil {
				packets.WriteTo(out, from)
			}
		}
	})
	work.Go(func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(time.Minute))
			if msg, err := readFrame(conn, maxQuery); err == nil {
				if out := reply(msg, true); out != nil {
					conn.Write(framed(out))
				}
			}
			conn.Close()
		}
	})
	return u
}

// answered makes an answer to a question: so many addresses.
func answered(q dnsmessage.Message, code dnsmessage.RCode, addrs int) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true, RCode: code}, Questions: q.Questions}
	for i := range addrs {
		m.Answers = append(m.Answers, addressRecord(q.Questions[0].Name, netip.AddrFrom4([4]byte{192, 0, byte(2 + i/250), byte(i % 250)})))
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}
