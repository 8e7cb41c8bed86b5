package network

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// maxResolvConf bounds what is read of the host's resolv.conf.
const maxResolvConf = 64 << 10

func (n *Network) names(id string) string { return filepath.Join(n.cfg.RunDir, "etc", id) }

// writeNames makes the instance's hosts and resolv.conf.
func (n *Network) writeNames(id, hostname string, addr netip.Addr) error {
	dir := n.names(id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make name files: %w", err)
	}
	resolv, _, err := n.resolvConf()
	if err != nil {
		return err
	}
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost\n%s\t%s\n", addr, hostname)
	for name, body := range map[string]string{"hosts": hosts, "resolv.conf": resolv} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			return fmt.Errorf("write name file: %w", err)
		}
		if err := os.Chmod(path, 0o644); err != nil { // whatever the umask is
			return fmt.Errorf("write name file: %w", err)
		}
	}
	return nil
}

func (n *Network) hasNames(id string) bool {
	for _, name := range []string{"hosts", "resolv.conf"} {
		if st, err := os.Lstat(filepath.Join(n.names(id), name)); err != nil || !st.Mode().IsRegular() {
			return false
		}
	}
	return true
}

func (n *Network) removeNames(id string) error {
	if err := os.RemoveAll(n.names(id)); err != nil {
		return fmt.Errorf("remove name files: %w", err)
	}
	return nil
}

// resolvConf is the host's, without the name servers that an instance cannot
// reach. note says what is missing, for people.
func (n *Network) resolvConf() (content, note string, err error) {
	for _, path := range []string{n.cfg.ResolvConf, n.cfg.UpstreamResolvConf} {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("read the host's name servers: %w", err)
		}
		body, err := io.ReadAll(io.LimitReader(f, maxResolvConf))
		f.Close()
		if err != nil {
			return "", "", fmt.Errorf("read the host's name servers: %w", err)
		}
		usable, servers := reachableResolvConf(body)
		if servers > 0 {
			return usable, "", nil
		}
		if content == "" {
			content = usable
		}
	}
	return content, fmt.Sprintf("instances resolve no names: neither %s nor %s names an IPv4 name server outside loopback", n.cfg.ResolvConf, n.cfg.UpstreamResolvConf), nil
}

// reachableResolvConf drops name servers on loopback, which is another one
// inside a namespace, and on IPv6, which is off there.
func reachableResolvConf(body []byte) (content string, servers int) {
	var out strings.Builder
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";") {
			continue
		}
		if fields[0] == "nameserver" {
			if len(fields) < 2 {
				continue
			}
			addr, err := netip.ParseAddr(fields[1])
			if err != nil || !addr.Is4() || addr.IsLoopback() || addr.IsUnspecified() {
				continue
			}
			servers++
		}
		out.WriteString(strings.Join(fields, " ") + "\n")
	}
	return out.String(), servers
}
