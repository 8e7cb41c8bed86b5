//go:build linux

package resolver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// largeZone has 1,000 services of 10 slots.
func largeZone() Zone {
	z := Zone{Reverse: []string{"10.232.0.0/16"}}
	for i := range 1000 {
		at := func(n int) string { return fmt.Sprintf("10.232.%d.%d", (11*i+n)/256, (11*i+n)%256) }
		s := Service{Namespace: fmt.Sprintf("team-%d", i%20), Name: fmt.Sprintf("service-%d", i), Addresses: []string{at(0)}, Ports: []Port{{"http", "tcp", 80}}}
		for n := range 10 {
			s.Slots = append(s.Slots, Slot{Name: fmt.Sprint(n), Addresses: []string{at(n + 1)}, Ports: []Port{{"http", "tcp", 8080}}})
		}
		z.Services = append(z.Services, s)
	}
	return z
}

// How long a zone takes to be written, and to be read and made ready.
func BenchmarkZone(b *testing.B) {
	z := largeZone()
	path := filepath.Join(b.TempDir(), ZoneFile)
	b.Run("write", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			z.Services[0].Addresses[0] = fmt.Sprintf("10.232.255.%d", i%250)
			if err := Write(path, z); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			z, err := readZone(path)
			if err != nil {
				b.Fatal(err)
			}
			if x := newIndex(z, 1); x.services != 1000 || x.left != 0 {
				b.Fatal(x.faults)
			}
		}
	})
}

// One question without a socket.
func BenchmarkHandle(b *testing.B) {
	h := handlerOf(largeZone())
	msg := question(b, "service-7.team-7.orpheus.internal.", dnsmessage.TypeA, withEDNS(1232))
	x := h.index.Load()
	buf := make([]byte, 0, maxQuery)
	b.ReportAllocs()
	for b.Loop() {
		q, _, _ := parseQuery(msg)
		if out := x.answer(&q, 0).pack(&q, q.size, buf); len(out) < 50 {
			b.Fatal(out)
		}
	}
}

// Questions over UDP to the helper's process, by clients that ask one after the
// other, each from an address of its own.
func BenchmarkHelper(b *testing.B) {
	h, addr := newHelper(b, largeZone())
	health := ensured(b, h)
	msg := question(b, "service-7.team-7.orpheus.internal.", dnsmessage.TypeA, withEDNS(1232))
	var took []time.Duration
	var source atomic.Int64
	ask := func(conn net.Conn, buf []byte) time.Duration {
		begun := time.Now()
		if _, err := conn.Write(msg); err != nil {
			b.Fatal(err)
		}
		if n, err := conn.Read(buf); err != nil || n < 50 {
			b.Fatal(n, err)
		}
		return time.Since(begun)
	}
	open := func() net.Conn {
		// The allowance of one source is below what a benchmark asks.
		n := source.Add(1)
		from := &net.UDPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n))}
		to, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			b.Fatal(err)
		}
		conn, err := net.DialUDP("udp", from, to)
		if err != nil {
			b.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		return conn
	}
	const perSource = burst / 2
	buf := make([]byte, maxQuery)
	b.Run("one", func(b *testing.B) {
		took = took[:0]
		var conn net.Conn
		for i := 0; b.Loop(); i++ {
			if i%perSource == 0 {
				conn = open()
				defer conn.Close()
			}
			took = append(took, ask(conn, buf))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "us-median")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "us-p99")
	})
	b.Run("sixteen", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			buf := make([]byte, maxQuery)
			var conn net.Conn
			for i := 0; pb.Next(); i++ {
				if i%perSource == 0 {
					conn = open()
					defer conn.Close()
				}
				ask(conn, buf)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
	})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", health.PID))
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("the helper afterwards:\n%s", memoryOf(string(status)))
}

// memoryOf picks what a process has in memory out of its status.
func memoryOf(status string) string {
	var out string
	for line := range strings.Lines(status) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "Rss") {
			out += line
		}
	}
	return out
}
