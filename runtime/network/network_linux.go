package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.Network = (*Network)(nil)

// Network implements runtime.Network with a bridge, veth pairs and nftables.
type Network struct {
	cfg   Config
	ids   keyed // one operation per instance at a time
	pool  pool
	rules rules
	flows flows
	paths paths
	// firewall is our rules in tables of other programs.
	firewall firewall

	// setup is held while bridge and table are looked at and repaired.
	setup sync.Mutex
	// host is made on first use and stays bound to the namespace it was made
	// in, also when it is used from a thread that has left it.
	host        *netlink.Handle
	bridgeIndex int // of the bridge as we last saw it whole; 0 = never
	noted       bool
	changed     string // why the subnets are others than configured; "" = they are not

	checked sync.Once
	support error // whether the kernel has all we need, after checked

	// crash is called after every step that leaves something behind; tests
	// kill the process in it. nil in production.
	crash func(step string)
}

// New checks the configuration and looks whether the host has IPv6, and whether
// instances have addresses of other subnets: those are kept then. It changes
// nothing: that is for the first call that needs it.
func New(cfg Config) (*Network, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	if !hostHasIPv6() {
		cfg.Subnet6 = netip.Prefix{}
	}
	cfg, changed, err := cfg.withSubnetsInUse()
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	if changed != "" {
		cfg.Log.Warn("network.subnet was changed: " + changed)
	}
	n := &Network{cfg: cfg, changed: changed}
	n.pool = pool{dir: filepath.Join(cfg.StateDir, "attachments"), subnet: cfg.Subnet, address6: cfg.address6, reserved: cfg.ReservedPorts}
	n.rules = rules{cfg: cfg}
	n.flows = flows{cfg: cfg}
	n.paths = paths{cfg: cfg}
	n.firewall = firewall{cfg: cfg, generation: n.ruleGeneration}
	return n, nil
}

// handle returns the netlink handle of the node's namespace.
func (n *Network) handle() (*netlink.Handle, error) {
	n.setup.Lock()
	defer n.setup.Unlock()
	return n.handleLocked()
}

func (n *Network) handleLocked() (*netlink.Handle, error) {
	if n.host != nil {
		return n.host, nil
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	n.host = h
	return h, nil
}

// ensure makes bridge, sysctls and table whole. When they are, it costs a few
// netlink questions.
func (n *Network) ensure(ctx context.Context) (*netlink.Handle, error) {
	if err := privileged(); err != nil {
		return nil, err
	}
	n.setup.Lock()
	defer n.setup.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, err := n.handleLocked()
	if err != nil {
		return nil, err
	}
	if err := n.noteSubnets(); err != nil {
		return nil, err
	}
	whole, err := n.ensureBridge(h)
	if err != nil {
		return nil, err
	}
	// The rules stand before the sysctl that needs them: packets to 127/8
	// from outside must be dropped when the kernel begins to route them.
	if err := n.rules.ensure(); err != nil {
		return nil, err
	}
	if err := n.ensureSysctls(); err != nil {
		return nil, err
	}
	if whole {
		return h, nil
	}
	if err := n.firewall.ensure(); err != nil {
		// Instances are better off without a way through than not at all.
		n.cfg.Log.Warn("another firewall may drop what instances send", "err", err)
	}
	return h, n.reconnect(h)
}

func (n *Network) step(name string) {
	if n.crash != nil {
		n.crash(name)
	}
}

// keyed is a mutex per key.
type keyed struct {
	mu   sync.Mutex
	held map[string]*holder
}

type holder struct {
	sync.Mutex
	users int
}

// lock waits for the key and returns what lets go of it.
func (k *keyed) lock(key string) func() {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*holder{}
	}
	h := k.held[key]
	if h == nil {
		h = &holder{}
		k.held[key] = h
	}
	h.users++
	k.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(k.held, key)
		}
	}
}

// dump repeats a netlink listing that the kernel says changed under it.
func dump[T any](list func() (T, error)) (T, error) {
	for try := 0; ; try++ {
		got, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == 20 {
			return got, err
		}
	}
}

func checkID(id string) error {
	if !instanceID.MatchString(id) {
		return fmt.Errorf("instance id %q: want 1 to 63 of a-z, 0-9, . and -: %w", id, runtime.ErrInvalid)
	}
	return nil
}
