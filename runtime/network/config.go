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

// Config says where the network lives. Two agents on one machine need
// different values for everything but Log.
type Config struct {
	Bridge string       // name of the bridge; "" = DefaultBridge
	Subnet netip.Prefix // IPv4, /8 to /29; zero = DefaultSubnet
	Table  string       // name of the nftables table, family ip; "" = DefaultTable
	MTU    int          // of bridge and links; 0 = that of the default route's link

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

// gateway is the bridge's address: the first of the subnet.
func (c Config) gateway() netip.Addr { return c.Subnet.Addr().Next() }
