package relay

import (
	"io"
	"net"
	"strconv"
	"testing"
)

// Each benchmark measures a direct connection beside one through the relay, in
// the same run: only their ratio says something about another machine.

func BenchmarkConnection(b *testing.B) {
	both(b, func(b *testing.B, at string) {
		for b.Loop() {
			if _, err := call(at); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRoundTrip(b *testing.B) {
	both(b, func(b *testing.B, at string) {
		c := dialEcho(b, at)
		buf := make([]byte, 64)
		for b.Loop() {
			if _, err := c.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkThroughput sends and receives at once.
func BenchmarkThroughput(b *testing.B) {
	const chunk = 1 << 20
	both(b, func(b *testing.B, at string) {
		c := dialEcho(b, at)
		b.SetBytes(chunk)
		go func() {
			buf := make([]byte, chunk)
			for {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		}()
		buf := make([]byte, chunk)
		for b.Loop() {
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func both(b *testing.B, f func(b *testing.B, at string)) {
	s := newStage(b)
	one := s.backend(1)
	front, at := s.service("tcp", one.target)
	s.relay()
	s.balance(front)
	b.Run("direct", func(b *testing.B) { f(b, net.JoinHostPort(one.target.Address, strconv.Itoa(one.target.Port))) })
	b.Run("relay", func(b *testing.B) { f(b, at) })
}

func dialEcho(b *testing.B, at string) net.Conn {
	c, err := net.Dial("tcp", at)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	return c
}
