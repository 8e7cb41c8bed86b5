package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// linkPrefix begins the name of every link of ours.
const linkPrefix = "orph"

// Attach implements runtime.Network.
//
// The steps are: address record, name files, namespace, links, and last the
// alias of the host's link. The alias is the mark of a whole attachment: what
// has none is taken apart and made again, with the same address.
func (n *Network) Attach(ctx context.Context, id string, names runtime.Names) (runtime.Attachment, error) {
	if err := checkID(id); err != nil {
		return runtime.Attachment{}, err
	}
	defer n.ids.lock(id)()
	h, err := n.ensure(ctx)
	if err != nil {
		return runtime.Attachment{}, fmt.Errorf("set up the node's network: %w", err)
	}
	if n.attached(h, id) {
		r, err := n.recorded(id)
		if err == nil && !n.hasNames(id, names, r) {
			err = n.writeNames(id, names, r)
		}
		if err != nil {
			return runtime.Attachment{}, fmt.Errorf("attach %s: %w", id, err)
		}
		return n.attachment(id, r), nil
	}
	if _, err := n.pool.take(id); err != nil {
		return runtime.Attachment{}, fmt.Errorf("attach %s: %w", id, err)
	}
	n.step("address")
	r, err := n.pool.renew(id)
	if err == nil {
		err = n.attach(h, id, names, r)
	}
	if err != nil {
		return runtime.Attachment{}, errors.Join(fmt.Errorf("attach %s: %w", id, err), n.detach(h, id))
	}
	return n.attachment(id, r), nil
}

func (n *Network) attach(h *netlink.Handle, id string, names runtime.Names, r record) error {
	if err := n.takeApart(h, id); err != nil {
		return err
	}
	if err := n.writeNames(id, names, r); err != nil {
		return err
	}
	n.step("names")
	bridge, err := h.LinkByName(n.cfg.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", n.cfg.Bridge, err)
	}
	link := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerHardwareAddr: hardwareAddr(r.Address)}
	link.Name, link.MTU = n.linkName(id), bridge.Attrs().MTU
	err = inNewNamespace(func() error {
		if err := pinNamespace(n.netns(id)); err != nil {
			return err
		}
		n.step("namespace")
		if err := tuneNamespace(r.Address6.IsValid()); err != nil {
			return err
		}
		if err := n.connect(h, link); err != nil {
			return err
		}
		return n.configure(r)
	})
	if err != nil {
		return err
	}
	n.step("address set")
	if err := quiet(link.Name); err != nil {
		return err
	}
	if err := n.plug(h, link, bridge); err != nil {
		return err
	}
	if err := h.LinkSetAlias(link, n.alias(id)); err != nil {
		return fmt.Errorf("name link %s: %w", link.Name, err)
	}
	n.step("alias")
	return nil
}

// connect makes the pair of links between the host and the calling thread's
// namespace.
func (n *Network) connect(h *netlink.Handle, link *netlink.Veth) error {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	link.PeerNamespace = netlink.NsFd(int(ns.Fd()))
	if err := h.LinkAdd(link); err != nil {
		return fmt.Errorf("add link %s: %w", link.Name, err)
	}
	n.step("link")
	return nil
}

// plug puts a link into the bridge. Hairpin lets an instance reach a published
// port that leads back to itself where bridged packets pass netfilter.
func (n *Network) plug(h *netlink.Handle, link, bridge netlink.Link) error {
	if err := h.LinkSetMaster(link, bridge); err != nil {
		return fmt.Errorf("plug link %s into %s: %w", link.Attrs().Name, n.cfg.Bridge, err)
	}
	if err := h.LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("set hairpin of link %s: %w", link.Attrs().Name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up link %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// tuneNamespace sets what instances see under /proc/sys/net: as other engines
// do, any port and ping for users other than root; and IPv6 only if it has an
// address, which works at once and is not changed by what a neighbour on the
// bridge announces.
func tuneNamespace(ipv6 bool) error {
	off := "1"
	if ipv6 {
		off = "0"
	}
	for _, s := range []struct{ path, value string }{
		{"/proc/sys/net/ipv6/conf/all/disable_ipv6", off},
		{"/proc/sys/net/ipv6/conf/default/disable_ipv6", off},
		{"/proc/sys/net/ipv6/conf/default/accept_ra", "0"},
		{"/proc/sys/net/ipv6/conf/default/accept_redirects", "0"},
		{"/proc/sys/net/ipv6/conf/default/accept_dad", "0"},
		{"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
		{"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
	} {
		// Missing: a kernel without IPv6, or an older one.
		if err := os.WriteFile(s.path, []byte(s.value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set sysctl: %w", err)
		}
	}
	return nil
}

// configure gives the calling thread's namespace loopback, addresses and ways
// out.
func (n *Network) configure(r record) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set up loopback: %w", err)
	}
	eth, err := h.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := h.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(r.Address, n.cfg.Subnet.Bits()))}); err != nil {
		return fmt.Errorf("set address %s: %w", r.Address, err)
	}
	if r.Address6.IsValid() {
		if err := h.AddrAdd(eth, address6(r.Address6, n.cfg.Subnet6)); err != nil {
			return fmt.Errorf("set address %s: %w", r.Address6, err)
		}
	}
	if err := h.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set up eth0: %w", err)
	}
	gateways := []netip.Addr{n.cfg.gateway()}
	if r.Address6.IsValid() {
		gateways = append(gateways, n.cfg.gateway6())
	}
	for _, gw := range gateways {
		if err := h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gw.AsSlice()}); err != nil {
			return fmt.Errorf("add route by %s: %w", gw, err)
		}
	}
	return nil
}

// attached reports whether the instance is attached, whole.
func (n *Network) attached(h *netlink.Handle, id string) bool {
	link, err := h.LinkByName(n.linkName(id))
	return err == nil && n.isWhole(link, id) && isNamespace(n.netns(id))
}

// recorded is the record of an instance that is attached: that of the addresses
// which its namespace has, also where the record was lost.
func (n *Network) recorded(id string) (record, error) {
	var has record
	err := inNamespace(n.netns(id), func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer h.Close()
		eth, err := h.LinkByName("eth0")
		if err != nil {
			return fmt.Errorf("find eth0: %w", err)
		}
		addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(eth, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range addrs {
			switch p, ok := prefix(a.IPNet); {
			case !ok || p.Addr().IsLinkLocalUnicast():
			case p.Addr().Is4() && !has.Address.IsValid():
				has.Address = p.Addr()
			case p.Addr().Is6() && !has.Address6.IsValid():
				has.Address6 = p.Addr()
			}
		}
		return nil
	})
	if err != nil {
		return record{}, err
	}
	return n.pool.adopt(id, has)
}

func (n *Network) isWhole(link netlink.Link, id string) bool {
	a := link.Attrs()
	return a.Alias == n.alias(id) && a.MasterIndex != 0 && a.Flags&net.FlagUp != 0
}

// reconnect plugs the links of whole attachments into a bridge that is new.
func (n *Network) reconnect(h *netlink.Handle) error {
	ids, err := n.pool.list()
	if err != nil {
		return err
	}
	bridge, err := h.LinkByName(n.cfg.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", n.cfg.Bridge, err)
	}
	var faults []error
	for id := range ids {
		link, err := h.LinkByName(n.linkName(id))
		if err != nil || link.Attrs().Alias != n.alias(id) || link.Attrs().MasterIndex == bridge.Attrs().Index {
			continue // none, half made, or in place
		}
		if err := n.plug(h, link, bridge); err != nil {
			faults = append(faults, err)
			continue
		}
		n.cfg.Log.Warn("bridge had gone; instance connected again", "bridge", n.cfg.Bridge, "instance", id)
	}
	return errors.Join(faults...)
}

// Detach implements runtime.Network.
func (n *Network) Detach(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer n.ids.lock(id)()
	h, err := n.handle()
	if err != nil {
		return err
	}
	return n.detach(h, id)
}

// detach gives address and ports back last: nobody gets them while they are in
// use, and whoever gets them next inherits no connection.
func (n *Network) detach(h *netlink.Handle, id string) error {
	if err := n.takeApart(h, id); err != nil {
		return fmt.Errorf("detach %s: %w", id, err)
	}
	if err := n.forgetConnections(h, id); err != nil {
		return fmt.Errorf("detach %s: %w", id, err)
	}
	n.step("connections forgotten")
	if err := n.pool.release(id); err != nil {
		return fmt.Errorf("detach %s: %w", id, err)
	}
	return nil
}

// takeApart removes everything of an attachment but its address record.
func (n *Network) takeApart(h *netlink.Handle, id string) error {
	link, err := h.LinkByName(n.linkName(id))
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("remove link %s: %w", n.linkName(id), err)
	}
	n.step("link removed")
	if err := unpinNamespace(n.netns(id)); err != nil {
		return err
	}
	n.step("namespace removed")
	return n.removeNames(id)
}

// Attachments implements runtime.Network.
func (n *Network) Attachments(ctx context.Context) (map[string]runtime.Attachment, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, err := n.handle()
	if err != nil {
		return nil, err
	}
	records, err := n.pool.list()
	if err != nil {
		return nil, err
	}
	links, err := dump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	byName := make(map[string]netlink.Link, len(links))
	for _, l := range links {
		byName[l.Attrs().Name] = l
	}
	all := map[string]runtime.Attachment{}
	for id, r := range records {
		if l := byName[n.linkName(id)]; l != nil && n.isWhole(l, id) && isNamespace(n.netns(id)) {
			all[id] = n.attachment(id, r)
		}
	}
	return all, nil
}

func (n *Network) attachment(id string, r record) runtime.Attachment {
	a := runtime.Attachment{
		NetNS:      n.netns(id),
		Address:    r.Address.String(),
		Gateway:    n.cfg.gateway().String(),
		ResolvConf: filepath.Join(n.names(id), "resolv.conf"),
		Hosts:      filepath.Join(n.names(id), "hosts"),
	}
	if r.Address6.IsValid() && n.cfg.Subnet6.Contains(r.Address6) {
		a.Address6, a.Gateway6 = r.Address6.String(), n.cfg.gateway6().String()
	}
	return a
}

func (n *Network) netns(id string) string { return filepath.Join(n.cfg.RunDir, "netns", id) }

// linkName fits the kernel's 15 bytes. Bridge and id both enter, so that two
// agents on one host do not meet.
func (n *Network) linkName(id string) string {
	sum := sha256.Sum256([]byte(n.cfg.Bridge + "/" + id))
	return linkPrefix + hex.EncodeToString(sum[:])[:15-len(linkPrefix)]
}

func (n *Network) alias(id string) string { return n.cfg.Bridge + "/" + id }

// hardwareAddr follows from the address: whoever remembers the neighbour of an
// address that is used again remembers right.
func hardwareAddr(addr netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x6f}, addr.AsSlice()...)
}
