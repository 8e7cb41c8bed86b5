package resolver

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxServersSize bounds what is read of the file of a client.
const maxServersSize = 4 << 10

// upstreamOf are the name servers that are asked for a client: its own where it
// has a file, and no others if that cannot be read.
func (x *index) upstreamOf(client netip.Addr) []netip.AddrPort {
	if x.servers == "" {
		return x.upstream
	}
	f, err := os.Open(filepath.Join(x.servers, client.String()))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return x.upstream
		}
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxServersSize))
	if err != nil {
		return nil
	}
	var own []netip.AddrPort
	for line := range strings.Lines(string(text)) {
		server, err := netip.ParseAddrPort(strings.TrimSpace(line))
		if err == nil && !x.ours(server) && !slices.Contains(own, server) && len(own) < maxUpstream {
			own = append(own, server)
		}
	}
	return own
}
