package devfleet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses in the fleet's network, by the last byte.
const (
	hubHost    = 1
	firstNode  = 11
	uplinkHost = 254
	// MaxNodes is how many nodes a Cluster can have.
	MaxNodes = uplinkHost - firstNode
)

// PeerPort is where nodes with a network of their own wait for each other.
const PeerPort = 7718

// candidates are the networks a fleet chooses from: a private range that
// routers at home and container engines seldom hand out.
var candidates = netip.MustParsePrefix("10.213.0.0/16")

// network is a bridge in this program's network namespace and a link from it
// to each node.
type network struct {
	bridge string
	subnet netip.Prefix // a /24
	mtu    int          // 0 = the kernel's choice
	uplink bool         // the way to the world is at uplinkHost
}

// choosing keeps two fleets of this program from choosing the same network.
var choosing sync.Mutex

// newNetwork makes the bridge, with the hub's address.
func newNetwork(name string, subnet netip.Prefix, mtu int) (*network, error) {
	choosing.Lock()
	defer choosing.Unlock()
	if !subnet.IsValid() {
		var err error
		if subnet, err = FreeSubnet(); err != nil {
			return nil, err
		}
	}
	if !subnet.Addr().Is4() || subnet.Bits() != 24 || subnet.Masked() != subnet {
		return nil, fmt.Errorf("network of the fleet: %s is no IPv4 network of 24 bits", subnet)
	}
	n := &network{bridge: name, subnet: subnet, mtu: mtu}
	attrs := netlink.LinkAttrs{Name: name, MTU: mtu, HardwareAddr: hardware(n.host(hubHost))}
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("make bridge %s: %w", name, err)
	}
	err := netlink.AddrAdd(bridge, n.address(hubHost))
	if err == nil {
		err = netlink.LinkSetUp(bridge)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up bridge %s: %w", name, err), n.close())
	}
	return n, nil
}

// FreeSubnet finds a network for a fleet that this network namespace does not
// reach in another way.
func FreeSubnet() (netip.Prefix, error) {
	taken, err := reached()
	if err != nil {
		return netip.Prefix{}, err
	}
	for third := range 256 {
		bytes := candidates.Addr().As4()
		bytes[2] = byte(third)
		subnet := netip.PrefixFrom(netip.AddrFrom4(bytes), 24)
		free := true
		for _, t := range taken {
			free = free && !t.Overlaps(subnet)
		}
		if free {
			return subnet, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("all of %s is in use on this machine", candidates)
}

// reached lists the networks this namespace has routes to, but for the default
// route, and addresses in.
func reached() ([]netip.Prefix, error) {
	var taken []netip.Prefix
	add := func(n *net.IPNet) {
		if n == nil {
			return
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		if bits, _ := n.Mask.Size(); ok && bits > 0 {
			taken = append(taken, netip.PrefixFrom(addr.Unmap(), bits))
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		add(r.Dst)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		add(a.IPNet)
	}
	return taken, nil
}

// host is an address by its last byte.
func (n *network) host(last int) netip.Addr {
	bytes := n.subnet.Addr().As4()
	bytes[3] = byte(last)
	return netip.AddrFrom4(bytes)
}

func (n *network) node(index int) netip.Addr { return n.host(firstNode + index) }

func (n *network) address(last int) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: n.host(last).AsSlice(), Mask: net.CIDRMask(n.subnet.Bits(), 32)}}
}

// hardware is the link address that goes with an address: the same after each
// boot, as a machine's is, so that nobody remembers a wrong one.
func hardware(addr netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x0f}, addr.AsSlice()...)
}

// port is the name of the bridge's end of a link.
func (n *network) port(last int) string { return fmt.Sprintf("%s-%d", n.bridge, last) }

// plugIn links a namespace to the bridge. Inside, the link is called name.
func (n *network) plugIn(ns *os.File, last int, name string) error {
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: n.port(last), MTU: n.mtu, MasterIndex: bridge.Attrs().Index},
		PeerName:  name, PeerNamespace: netlink.NsFd(int(ns.Fd())), PeerHardwareAddr: hardware(n.host(last)), PeerMTU: uint32(n.mtu),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make link %s: %w", n.port(last), err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("bring up link %s: %w", n.port(last), err)
	}
	err = inNetwork(ns, func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.AddrAdd(link, n.address(last))
		}
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err == nil && n.uplink && last != uplinkHost {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: n.host(uplinkHost).AsSlice()})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("set up the other end of link %s: %w", n.port(last), err)
	}
	return nil
}

// unplug takes a link away, with both its ends.
func (n *network) unplug(last int) error { return deleteLink(n.port(last)) }

// close takes the bridge away.
func (n *network) close() error { return deleteLink(n.bridge) }

// deleteLink removes a link by name; that there is none is success.
func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}

// dump repeats a netlink listing that the kernel says changed under it: links
// of other fleets come and go.
func dump[T any](list func() (T, error)) (T, error) {
	for try := 0; ; try++ {
		got, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == 20 {
			return got, err
		}
	}
}
