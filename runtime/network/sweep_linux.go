package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Sweep implements runtime.Sweeper: of instances that are not live, links,
// namespaces, name files, connections, addresses and ports go away; and from the
// bridge, addresses that it had with another configuration.
func (n *Network) Sweep(ctx context.Context, live map[string]bool) error {
	h, err := n.handle()
	if err != nil {
		return err
	}
	ids, err := n.known()
	if err != nil {
		return err
	}
	var faults []error
	for id := range ids {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(faults, err)...)
		}
		if live[id] {
			continue
		}
		unlock := n.ids.lock(id)
		if err := n.detach(h, id); err != nil {
			faults = append(faults, err)
		} else {
			n.cfg.Log.Info("leftover of an instance removed", "instance", id)
		}
		unlock()
	}
	return errors.Join(append(faults, n.sweepLinks(h, live))...)
}

// known are all instances of which anything but a link is there. Every link
// has an address record that is older.
func (n *Network) known() (map[string]bool, error) {
	addrs, err := n.pool.list()
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for id := range addrs {
		ids[id] = true
	}
	for _, dir := range []string{n.netns(""), n.names("")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("look for leftovers: %w", err)
		}
		for _, e := range entries {
			ids[e.Name()] = true
		}
	}
	return ids, nil
}

// sweepLinks removes links whose record is lost, known by bridge or alias.
func (n *Network) sweepLinks(h *netlink.Handle, live map[string]bool) error {
	keep := make(map[string]bool, len(live))
	for id := range live {
		keep[n.linkName(id)] = true
	}
	links, err := dump(h.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	bridge := -1
	var faults []error
	for _, l := range links {
		if l.Attrs().Name != n.cfg.Bridge {
			continue
		}
		if n.checkOwner(l) != nil {
			return nil // another's links
		}
		bridge = l.Attrs().Index
		faults = append(faults, n.sweepAddresses(h, l))
	}
	for _, l := range links {
		a := l.Attrs()
		ours := a.MasterIndex == bridge || strings.HasPrefix(a.Alias, n.alias(""))
		if !ours || l.Type() != "veth" || !strings.HasPrefix(a.Name, linkPrefix) || keep[a.Name] {
			continue
		}
		if err := h.LinkDel(l); err != nil && !isNotFound(err) {
			faults = append(faults, fmt.Errorf("remove link %s: %w", a.Name, err))
		}
	}
	return errors.Join(faults...)
}

// sweepAddresses takes away what is no address of our bridge any more, and with
// it the route to what was its subnet.
func (n *Network) sweepAddresses(h *netlink.Handle, bridge netlink.Link) error {
	if bridge.Attrs().Alias != n.owner() {
		return nil // half made: not for long
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(bridge, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	var faults []error
	for _, a := range addrs {
		p, ok := prefix(a.IPNet)
		if !ok || p.Addr() == n.cfg.gateway() || p.Addr() == n.cfg.gateway6() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if err := h.AddrDel(bridge, &netlink.Addr{IPNet: a.IPNet}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			faults = append(faults, fmt.Errorf("remove address %s of %s: %w", p, n.cfg.Bridge, err))
		}
	}
	return errors.Join(faults...)
}

// Teardown removes bridge, table and folders, for a node that leaves. It
// refuses while anything is attached. Our rules in other firewalls go, too.
// Forwarding stays as it is: others may have come to rely on it.
func (n *Network) Teardown(ctx context.Context) error {
	ids, err := n.known()
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		return fmt.Errorf("remove the node's network: %d instances are attached: stop them first", len(ids))
	}
	if err := errors.Join(ctx.Err(), privileged()); err != nil {
		return err
	}
	n.setup.Lock()
	defer n.setup.Unlock()
	h, err := n.handleLocked()
	if err != nil {
		return err
	}
	link, err := h.LinkByName(n.cfg.Bridge)
	if err == nil {
		if err := n.checkOwner(link); err != nil {
			return fmt.Errorf("remove the node's network: %w", err)
		}
		err = h.LinkDel(link)
	}
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("remove bridge %s: %w", n.cfg.Bridge, err)
	}
	n.bridgeIndex, n.noted = 0, false
	if err := n.paths.closeLoopback(); err != nil {
		return err
	}
	if err := n.rules.remove(); err != nil {
		return err
	}
	faults := []error{n.firewall.remove()}
	for _, path := range []string{n.pool.dir, filepath.Join(n.cfg.StateDir, subnetsFile), filepath.Join(n.cfg.StateDir, forwardingMark), filepath.Join(n.cfg.StateDir, forwardingMark6), n.netns(""), n.names("")} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, fmt.Errorf("remove the node's network: %w", err))
		}
	}
	return errors.Join(faults...)
}
