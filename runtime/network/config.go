package network

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
)

// Defaults of Config.
const (
	DefaultBridge = "orpheus0"
	DefaultTable  = "orpheus"
)

// DefaultSubnet is where addresses of instances come from: a range that
// routers at home, clouds and other container engines do not hand out.
var DefaultSubnet = netip.MustParsePrefix("10.231.0.0/20")

// DefaultHostPorts lies below the ports that Linux gives to outgoing
// connections.
var DefaultHostPorts = [2]int{20000, 29999}

// Config says where the network lives. Two agents on one machine need
// different values for everything but HostPorts, Log and the switches.
type Config struct {
	Bridge string // name of the bridge; "" = DefaultBridge
	// Subnet is IPv4, /8 to /29; zero = DefaultSubnet. While instances have
	// addresses of another, that of a former configuration, it does not count.
	Subnet netip.Prefix
	// Subnet6 is where instances get their IPv6 addresses from, each at the
	// same place as its IPv4 address. Zero = one that follows from Subnet. New
	// makes it zero where there is to be no IPv6: NoIPv6, or a host that has
	// none.
	Subnet6 netip.Prefix
	NoIPv6  bool
	Table   string // name of the nftables tables; "" = DefaultTable
	MTU     int    // of bridge and links; 0 = that of the default route's link
	// HostPorts are the first and the last of the node's ports that lead to
	// instances; zero = DefaultHostPorts, without those that the kernel gives
	// to outgoing connections.
	HostPorts [2]int
	// ReservedPorts are ports of the agent itself: never host ports, whether or
	// not it listens there now.
	ReservedPorts []int

	// NoForeignRules leaves tables of other programs alone, also where they
	// drop what instances send and receive.
	NoForeignRules bool
	// NoNames says that no name server answers on the bridge: instances ask the
	// host's.
	NoNames bool

	StateDir string // absolute; one file per address, survives a reboot
	RunDir   string // absolute; mounts and files of what is attached

	// ResolvConf is the file that tells the host its name servers, "" =
	// /etc/resolv.conf. Where that names only a resolver on loopback,
	// UpstreamResolvConf is used, "" = systemd-resolved's.
	ResolvConf, UpstreamResolvConf string

	Log *slog.Logger // nil = discard
}

// Names end up in paths under /proc/sys and in kernel structures of 16 bytes.
var (
	bridgeName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,14}$`)
	tableName  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,31}$`)
	// instanceID is runtime.Workload's rule, and starts so that it can be
	// neither "." nor ".." nor an option.
	instanceID = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)
)

func (c Config) withDefaults() Config {
	if c.Bridge == "" {
		c.Bridge = DefaultBridge
	}
	if !c.Subnet.IsValid() {
		c.Subnet = DefaultSubnet
	}
	if c.Table == "" {
		c.Table = DefaultTable
	}
	if c.NoIPv6 {
		c.Subnet6 = netip.Prefix{}
	} else if !c.Subnet6.IsValid() {
		c.Subnet6 = subnet6Of(c.Subnet)
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.UpstreamResolvConf == "" {
		c.UpstreamResolvConf = "/run/systemd/resolve/resolv.conf"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	var faults []error
	if !bridgeName.MatchString(c.Bridge) {
		faults = append(faults, fmt.Errorf("bridge %q: want a letter, then at most 14 letters, digits, _ or -", c.Bridge))
	}
	if !tableName.MatchString(c.Table) {
		faults = append(faults, fmt.Errorf("table %q: want a letter, then at most 31 letters, digits or _", c.Table))
	}
	if !c.Subnet.Addr().Is4() || c.Subnet.Bits() < 8 || c.Subnet.Bits() > 29 || c.Subnet.Masked() != c.Subnet {
		faults = append(faults, fmt.Errorf("subnet %s: want an IPv4 network between /8 and /29, such as %s", c.Subnet, DefaultSubnet))
	} else if a := c.Subnet.Addr(); a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		faults = append(faults, fmt.Errorf("subnet %s: not for ordinary addresses, take one such as %s", c.Subnet, DefaultSubnet))
	}
	if c.Subnet6.IsValid() {
		faults = append(faults, c.subnet6Fault())
		if c.MTU != 0 && c.MTU < 1280 {
			faults = append(faults, fmt.Errorf("mtu %d: IPv6 needs 1280; take more, or switch IPv6 off for instances", c.MTU))
		}
	}
	if p := c.HostPorts; p != [2]int{} && (p[0] < 1024 || p[1] > 65535 || p[0] > p[1]) {
		faults = append(faults, fmt.Errorf("host ports %d-%d: want a range within 1024-65535, such as %d-%d", p[0], p[1], DefaultHostPorts[0], DefaultHostPorts[1]))
	}
	if c.MTU != 0 && (c.MTU < 576 || c.MTU > 65535) {
		faults = append(faults, fmt.Errorf("mtu %d: want 0, or 576 to 65535", c.MTU))
	}
	for name, dir := range map[string]string{"state": c.StateDir, "run": c.RunDir} {
		if !filepath.IsAbs(dir) {
			faults = append(faults, fmt.Errorf("%s folder %q: want an absolute path", name, dir))
		}
	}
	return errors.Join(faults...)
}

// hostPorts are the first and the last host port.
func (c Config) hostPorts() (first, last int) {
	if c.HostPorts == [2]int{} {
		return DefaultHostPorts[0], DefaultHostPorts[1]
	}
	return c.HostPorts[0], c.HostPorts[1]
}

// subnet6Fault says what is wrong with an IPv6 subnet; nil = nothing.
func (c Config) subnet6Fault() error {
	p := c.Subnet6
	if !p.Addr().Is6() || p.Addr().Is4In6() || p.Masked() != p || p.Bits() < 32 || p.Addr().Zone() != "" {
		return fmt.Errorf("IPv6 subnet %s: want an IPv6 network of at least /32, such as %s", p, subnet6Of(DefaultSubnet))
	}
	if a := p.Addr(); a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		return fmt.Errorf("IPv6 subnet %s: not for ordinary addresses, take one such as %s", p, subnet6Of(DefaultSubnet))
	}
	if host4, host6 := 32-c.Subnet.Bits(), 128-p.Bits(); c.Subnet.Addr().Is4() && host6 < host4 {
		return fmt.Errorf("IPv6 subnet %s has fewer addresses than %s: take a /64", p, c.Subnet)
	}
	return nil
}

// subnet6Of returns a unique local /64 that follows from an IPv4 subnet:
// fd6f:72, its length, its address. The default range of service addresses lies
// beside all of them: its fourth byte is no length of an IPv4 subnet.
func subnet6Of(subnet netip.Prefix) netip.Prefix {
	if !subnet.Addr().Is4() || subnet.Bits() < 0 {
		return netip.Prefix{}
	}
	a := [16]byte{0xfd, 0x6f, 0x72, byte(subnet.Bits())}
	copy(a[4:], subnet.Masked().Addr().AsSlice())
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// gateway is the bridge's address: the first of the subnet.
func (c Config) gateway() netip.Addr { return c.Subnet.Addr().Next() }

// gateway6 is the bridge's IPv6 address; invalid without IPv6.
func (c Config) gateway6() netip.Addr { return c.address6(c.gateway()) }

// address6 is the address in Subnet6 at the place that addr has in Subnet;
// invalid without IPv6.
func (c Config) address6(addr netip.Addr) netip.Addr {
	if !c.Subnet6.IsValid() {
		return netip.Addr{}
	}
	net4, place, all := c.Subnet.Addr().As4(), addr.As4(), c.Subnet6.Addr().As16()
	for k := range place {
		all[12+k] |= place[k] ^ net4[k] // the network's bits cancel out
	}
	return netip.AddrFrom16(all)
}
