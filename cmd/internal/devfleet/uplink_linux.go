package devfleet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

// uplink is what a fleet has in the network namespace outside: the other end of
// a link to its bridge, by which people reach its nodes, and a table that lets
// the nodes reach the world under the machine's address.
type uplink struct {
	Link  string `json:"link"`
	Table string `json:"table"`
	// ForwardWasOff: this fleet has made the machine a router.
	ForwardWasOff bool `json:"forwardWasOff"`
}

const forwardSysctl = "/proc/sys/net/ipv4/ip_forward"

// outsideMTU is that of the way to the world; 0 = there is none.
func outsideMTU(ns *os.File) (mtu int, err error) {
	err = inNetwork(ns, func() error {
		routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
				continue
			}
			if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				mtu = link.Attrs().MTU
			}
		}
		return nil
	})
	return mtu, err
}

// openUplink links the fleet's network to the one outside.
func (c *Cluster) openUplink() error {
	name := c.remains.Bridge
	up := &uplink{Link: name + "-up", Table: "orpheus_dev_" + name}
	err := inNetwork(c.opts.Outside, func() error {
		forward, err := os.ReadFile(forwardSysctl)
		up.ForwardWasOff = strings.TrimSpace(string(forward)) == "0"
		return err
	})
	if err != nil {
		return fmt.Errorf("open the way out: %w", err)
	}
	c.remains.Uplink = up
	if err := c.remains.write(); err != nil {
		return err
	}
	if err := c.net.plugIn(c.opts.Outside, uplinkHost, up.Link); err != nil {
		return err
	}
	return inNetwork(c.opts.Outside, func() error {
		if err := up.masquerade(c.net); err != nil {
			return fmt.Errorf("open the way out: %w", err)
		}
		if up.ForwardWasOff {
			return os.WriteFile(forwardSysctl, []byte("1"), 0)
		}
		return nil
	})
}

// Host is the address at which nodes reach what listens on this machine; the zero
// value = they have no way to it, or share its network.
func (c *Cluster) Host() netip.Addr {
	if c.net == nil || c.remains.Uplink == nil {
		return netip.Addr{}
	}
	return c.net.host(uplinkHost)
}

// masquerade makes the table:
//
//	postrouting (nat)  from the fleet's network, not back into it → masquerade
func (u *uplink) masquerade(n *network) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: u.Table, Family: nftables.TableFamilyIPv4})
	chain := conn.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	link := make([]byte, 16) // a link's name as the kernel keeps it
	copy(link, u.Link)
	const register = 1
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: net.CIDRMask(n.subnet.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: n.subnet.Addr().AsSlice()},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: link},
		&expr.Masq{},
	}})
	return conn.Flush()
}

// closeUplink takes away what openUplink made.
func (c *Cluster) closeUplink() error {
	if c.remains.Uplink == nil {
		return nil
	}
	return inNetwork(c.opts.Outside, c.remains.Uplink.remove)
}

// remove runs in the network namespace outside.
func (u *uplink) remove() error {
	errs := []error{deleteLink(u.Link)}
	conn, err := nftables.New()
	if err == nil {
		table := &nftables.Table{Name: u.Table, Family: nftables.TableFamilyIPv4}
		conn.AddTable(table) // so that there is one to remove
		conn.DelTable(table)
		err = conn.Flush()
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("remove table %s: %w", u.Table, err))
	}
	if u.ForwardWasOff {
		errs = append(errs, os.WriteFile(forwardSysctl, []byte("0"), 0))
	}
	return errors.Join(errs...)
}
