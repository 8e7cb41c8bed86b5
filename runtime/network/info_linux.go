package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Info implements runtime.Network. It changes nothing on the node.
func (n *Network) Info(ctx context.Context) (runtime.NetworkInfo, error) {
	first, last := n.cfg.hostPorts()
	info := runtime.NetworkInfo{Bridge: n.cfg.Bridge, Subnet: n.cfg.Subnet.String(), Subnet6: shown(n.cfg.Subnet6), HostPorts: fmt.Sprintf("%d-%d", first, last)}
	if err := errors.Join(ctx.Err(), privileged()); err != nil {
		return info, err
	}
	n.checked.Do(func() { n.support = inNewNamespace(n.tryRules) })
	if n.support != nil {
		return info, n.support
	}
	h, err := n.handle()
	if err != nil {
		return info, err
	}
	if link, err := h.LinkByName(n.cfg.Bridge); isNotFound(err) {
		if err := n.checkOverlap(h); err != nil {
			return info, err
		}
	} else if err != nil {
		return info, fmt.Errorf("bridge %s: %w", n.cfg.Bridge, err)
	} else if err := n.checkOwner(link); err != nil {
		return info, err
	} else {
		info.MTU = link.Attrs().MTU
	}
	if info.MTU == 0 {
		info.MTU = n.wantedMTU(h, ethernet)
	}
	for _, note := range []func() (string, error){n.subnetNote, n.ipv6Note, n.forwardingNote, n.nameNote, n.portNote} {
		text, err := note()
		if err != nil {
			return info, err
		}
		if text != "" {
			info.Notes = append(info.Notes, text)
		}
	}
	rules, notes, blocking := n.firewall.info()
	info.ForeignRules, info.Blocking, info.Notes = rules, blocking, append(append(info.Notes, notes...), blocking...)
	return info, nil
}

func (n *Network) subnetNote() (string, error) { return n.changed, nil }

func (n *Network) ipv6Note() (string, error) {
	if n.cfg.Subnet6.IsValid() {
		return "", nil
	}
	if n.cfg.NoIPv6 {
		return "instances have IPv4 only: network.subnet6 says so", nil
	}
	return "instances have IPv4 only: the kernel has no IPv6, or net.ipv6.conf.all.disable_ipv6 or net.ipv6.conf.default.disable_ipv6 switches it off (the agent looks when it starts)", nil
}

// tryRules writes the whole table into the calling thread's namespace, which
// is thrown away: the one sure way to know that the kernel takes it.
func (n *Network) tryRules() error {
	sample, _, err := new(memory).parse(n.cfg.families(), runtime.Balancing{Services: []string{"192.0.2.0/24", "2001:db8::/112"}, Fronts: []runtime.Front{
		{Port: 1, Protocol: "tcp", Targets: []runtime.Target{{Address: "192.0.2.1", Port: 1}, {Address: "192.0.2.2", Port: 1}}},
		{Port: 2, Protocol: "tcp", Affinity: true, Targets: []runtime.Target{{Address: "192.0.2.1", Port: 1}, {Address: "2001:db8::1", Port: 1}}},
		{Port: 1, Protocol: "udp"},
	}})
	if err != nil {
		return err
	}
	tx, err := openNFTables()
	if err != nil {
		return err
	}
	if err := n.rules.write(tx, sample); err != nil {
		return err
	}
	if err := tx.Flush(); err != nil {
		return fmt.Errorf("try nftables: %w", explain(err))
	}
	return nil
}

func (n *Network) forwardingNote() (string, error) {
	var notes []string
	for _, s := range []struct {
		name, path, mark string
		wanted           bool
	}{
		{"net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward", forwardingMark, true},
		{"net.ipv6.conf.all.forwarding", confIPv6 + "all/forwarding", forwardingMark6, n.cfg.Subnet6.IsValid()},
	} {
		if _, err := os.Lstat(filepath.Join(n.cfg.StateDir, s.mark)); err == nil {
			notes = append(notes, s.name+" was off and was switched on for instances; it stays on")
			continue
		}
		if !s.wanted {
			continue
		}
		on, err := sysctl(s.path)
		if err != nil {
			return "", err
		}
		if on == "0" {
			notes = append(notes, s.name+" is off and will be switched on with the first instance")
		}
	}
	return strings.Join(notes, "; "), nil
}

// privileged reports what the process lacks to make namespaces and links.
func privileged() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	const need = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN
	if caps[0].Effective&need != need {
		return errors.New("the node's network needs CAP_NET_ADMIN and CAP_SYS_ADMIN: run the agent as root, or services with host networking on the process driver only")
	}
	return nil
}
