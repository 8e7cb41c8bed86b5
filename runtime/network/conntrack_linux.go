package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// forgetConnections makes the kernel forget every connection of an instance
// that is no more, so that its address and ports lead nowhere when another gets
// them.
func (n *Network) forgetConnections(h *netlink.Handle, id string) error {
	r, ok, err := n.pool.get(id)
	if err != nil || !ok {
		return err
	}
	err = forgetInKernel(r.Address)
	if errors.Is(err, unix.EINVAL) { // it cannot: before Linux 6.8
		err = forgetOneByOne(h, r.Address)
	}
	if err == nil && r.Address6.IsValid() {
		err = forgetOneByOne(h, r.Address6)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget connections of %s: %w", id, err)
	}
	return nil
}

// What <linux/netfilter/nfnetlink_conntrack.h> has and no library of ours.
const (
	ctaFilter           = 25
	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2
	filterSource        = 1 << 0 // CTA_FILTER_F_CTA_IP_SRC
)

// forgetInKernel has the kernel look for the connections: a walk over its table
// of a millisecond, where reading it all takes ten and more. Connections that
// the instance began have it as source; in the answers to those that came to
// it, by whatever address, it is the source, too.
//
// A kernel that does not know the filter takes the message for one about a
// single connection of which it misses the rest, and refuses it. Of IPv6 the
// kernel compares the wrong way round and would forget all others
// (ctnetlink_filter_match_tuple in net/netfilter/nf_conntrack_netlink.c, still
// in 6.18).
func forgetInKernel(addr netip.Addr) error {
	for tuple, flags := range map[int][2]uint32{nl.CTA_TUPLE_ORIG: {filterSource, 0}, nl.CTA_TUPLE_REPLY: {0, filterSource}} {
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
		// The version makes the kernel heed the family.
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: 1})
		ip := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
		ip.AddRtAttr(nl.CTA_IP_V4_SRC, addr.AsSlice())
		which := nl.NewRtAttr(unix.NLA_F_NESTED|tuple, nil)
		which.AddChild(ip)
		filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
		filter.AddRtAttr(ctaFilterOrigFlags, binary.NativeEndian.AppendUint32(nil, flags[0]))
		filter.AddRtAttr(ctaFilterReplyFlags, binary.NativeEndian.AppendUint32(nil, flags[1]))
		req.AddData(which)
		req.AddData(filter)
		if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
			return err
		}
	}
	return nil
}

// forgetOneByOne reads the kernel's table and deletes what is the instance's.
func forgetOneByOne(h *netlink.Handle, addr netip.Addr) error {
	family := netlink.InetFamily(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	_, err := dump(func() (uint, error) {
		return h.ConntrackDeleteFilters(netlink.ConntrackTable, family, connectionsOf{addr})
	})
	return err
}

// connectionsOf matches connections from or to an address, before or after it
// was translated.
type connectionsOf struct{ addr netip.Addr }

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (c connectionsOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, ip := range []net.IP{flow.Forward.SrcIP, flow.Reverse.SrcIP} {
		if addr, ok := netip.AddrFromSlice(ip); ok && addr.Unmap() == c.addr {
			return true
		}
	}
	return false
}
