//go:build linux

package resolver

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A client may have name servers of its own for what is not ours: they are asked
// from the next question on, and nobody in their place.
func TestServersOfClients(t *testing.T) {
	answers := func(n int) *upstream {
		return newUpstream(t, func(q dnsmessage.Message, _ bool) []byte { return answered(q, 0, n) })
	}
	node, own := answers(1), answers(2)
	z := shop()
	z.Upstream, z.Servers = []string{node.addr}, t.TempDir()
	_, addr := served(t, z)
	file := filepath.Join(z.Servers, "127.0.0.1") // as which we ask
	for _, c := range []struct {
		name, file, question string
		code                 dnsmessage.RCode
		answers              int
	}{
		{"without a file", "", "example.com.", 0, 1},
		{"with one", own.addr + "\n", "example.com.", 0, 2},
		{"itself is none", addr + "\n" + own.addr + "\n", "example.com.", 0, 2},
		{"with names of ours", own.addr + "\n", "web.shop.orpheus.internal.", 0, 1},
		{"with what is no server", "here\n", "example.com.", dnsmessage.RCodeServerFailure, 0},
		{"with nothing", "\n", "example.com.", dnsmessage.RCodeServerFailure, 0},
		{"without a file again", "", "example.com.", 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.file == "" {
				_ = os.Remove(file)
			} else if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, network := range []string{"udp", "tcp"} {
				m := asked(t, network, addr, question(t, c.question, dnsmessage.TypeA))
				if m.RCode != c.code || len(m.Answers) != c.answers {
					t.Errorf("%s: %s, %d answers; want %s and %d", network, m.RCode, len(m.Answers), c.code, c.answers)
				}
			}
		})
	}
}
