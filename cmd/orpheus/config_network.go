//go:build linux

package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/runtime/network"
)

// networkConfig is the node's network.
type networkConfig struct {
	Bridge    string `json:"bridge"`
	Subnet    string `json:"subnet"`
	Subnet6   string `json:"subnet6"` // "" = one that follows from subnet, "none" = no IPv6
	Table     string `json:"table"`
	MTU       int    `json:"mtu"`
	HostPorts string `json:"hostPorts"` // FIRST-LAST; "" = 20000-29999
	// ForeignRules allows one rule in other firewalls; nil = true.
	ForeignRules *bool `json:"foreignRules"`
}

const noIPv6 = "none"

func (c networkConfig) faults() []error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Subnet != "" {
		if _, err := netip.ParsePrefix(c.Subnet); err != nil {
			fault("network.subnet: %q is no subnet; write one such as 10.231.0.0/20", c.Subnet)
		}
	}
	if c.Subnet6 != "" && c.Subnet6 != noIPv6 {
		if p, err := netip.ParsePrefix(c.Subnet6); err != nil || p.Addr().Is4() {
			fault("network.subnet6: %q is no IPv6 subnet; write one such as fd00:1:2:3::/64, or none", c.Subnet6)
		}
	}
	if _, err := c.hostPorts(); err != nil {
		fault("network.hostPorts: %q is no range of ports; write one such as 20000-29999", c.HostPorts)
	}
	return faults
}

// hostPortFaults says which of the agent's own ports are in the range that is
// written: the kernel would lead the fleet's other nodes on to an instance.
func (c *config) hostPortFaults(fault func(format string, args ...any)) {
	ports, _ := c.Network.hostPorts() // faults tells
	for _, own := range c.ownPorts() {
		if own.port >= ports[0] && own.port <= ports[1] {
			fault("network.hostPorts: %s holds port %d of %s; write a range without it, such as 20000-29999", c.Network.HostPorts, own.port, own.field)
		}
	}
}

// hostPorts are the first and the last; zero where there is nothing written.
func (c networkConfig) hostPorts() (ports [2]int, err error) {
	if c.HostPorts == "" {
		return ports, nil
	}
	first, last, _ := strings.Cut(c.HostPorts, "-")
	for k, text := range []string{first, last} {
		port, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
		if err != nil {
			return [2]int{}, err
		}
		ports[k] = int(port)
	}
	return ports, nil
}

// network is the configuration of the node's network; c is valid.
func (c *config) network(log *slog.Logger) network.Config {
	n := network.Config{
		Bridge: c.Network.Bridge, Table: c.Network.Table, MTU: c.Network.MTU,
		NoIPv6: c.Network.Subnet6 == noIPv6, NoForeignRules: c.Network.ForeignRules != nil && !*c.Network.ForeignRules,
		StateDir: filepath.Join(c.StateDir, "network"), RunDir: filepath.Join(c.RunDir, "network"), Log: log,
	}
	if c.Network.Subnet != "" {
		n.Subnet = netip.MustParsePrefix(c.Network.Subnet)
	}
	if c.Network.Subnet6 != "" && !n.NoIPv6 {
		n.Subnet6 = netip.MustParsePrefix(c.Network.Subnet6)
	}
	n.HostPorts, _ = c.Network.hostPorts()
	for _, own := range c.ownPorts() {
		n.ReservedPorts = append(n.ReservedPorts, own.port)
	}
	return n
}
