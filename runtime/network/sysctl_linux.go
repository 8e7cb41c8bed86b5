package network

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// forwardingMark remembers that it was us who made the host a router.
const forwardingMark = "ip_forward-was-off"

// ensureSysctls lets the kernel route for instances: between links at all, and
// connections from 127.0.0.1 to published ports over the bridge.
func (n *Network) ensureSysctls() error {
	const forward = "/proc/sys/net/ipv4/ip_forward"
	if on, err := sysctl(forward); err != nil {
		return err
	} else if on == "0" {
		if err := n.note(forwardingMark); err != nil {
			return err
		}
		if err := setSysctl(forward, "1"); err != nil {
			return err
		}
		n.cfg.Log.Info("ip forwarding switched on", "sysctl", "net.ipv4.ip_forward")
	}
	if err := setSysctl("/proc/sys/net/ipv4/conf/"+n.cfg.Bridge+"/route_localnet", "1"); err != nil {
		return err
	}
	if !n.cfg.Subnet6.IsValid() {
		return nil
	}
	return n.ensureForwarding6()
}

// note remembers on disk that it was us who switched something on.
func (n *Network) note(mark string) error {
	if err := os.MkdirAll(n.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("note that forwarding was off: %w", err)
	}
	if err := os.WriteFile(filepath.Join(n.cfg.StateDir, mark), nil, 0o600); err != nil {
		return fmt.Errorf("note that forwarding was off: %w", err)
	}
	return nil
}

func sysctl(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// setSysctl writes the value unless it stands.
func setSysctl(path, value string) error {
	have, err := sysctl(path)
	if err != nil || have == value {
		return err
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set sysctl: %w (is /proc/sys read-only? set it to %s from outside)", err, value)
	}
	return nil
}
