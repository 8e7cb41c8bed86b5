package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// ServersDir is where the name server on the bridge finds, before an instance can
// ask anything, which name servers are asked for it: a file for each of its
// addresses, called as that is, with a server on each line.
func (n *Network) ServersDir() string { return filepath.Join(n.cfg.RunDir, "servers") }

// serverFiles are those of an instance's addresses.
func (n *Network) serverFiles(r record) []string {
	var names []string
	for _, a := range []netip.Addr{r.Address, r.Address6} {
		if a.IsValid() {
			names = append(names, filepath.Join(n.ServersDir(), a.String()))
		}
	}
	return names
}

// writeServers says whom to ask for an instance. Without servers it takes away
// what its addresses had, whosever they were.
func (n *Network) writeServers(servers []string, r record) error {
	var text strings.Builder
	for _, s := range addresses(servers) {
		fmt.Fprintln(&text, netip.AddrPortFrom(s, 53))
	}
	for _, name := range n.serverFiles(r) {
		if text.Len() == 0 || n.cfg.NoNames {
			if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove name servers: %w", err)
			}
			continue
		}
		if err := os.MkdirAll(n.ServersDir(), 0o700); err != nil {
			return fmt.Errorf("write name servers: %w", err)
		}
		if err := os.WriteFile(name+".new", []byte(text.String()), 0o600); err != nil {
			return fmt.Errorf("write name servers: %w", err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			return fmt.Errorf("write name servers: %w", err)
		}
	}
	return nil
}

// addresses are those of texts that are any. On loopback this machine is another
// one than the instance.
func addresses(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil && !addr.IsLoopback() {
			out = append(out, addr.Unmap())
		}
	}
	return out
}
