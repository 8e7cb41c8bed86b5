package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// connections reads and deletes entries of the kernel's connection tracking.
type connections struct {
	mu  sync.Mutex
	ask *nl.SocketHandle // stays open
}

// connection is one entry. The kernel knows both directions by the addresses
// that packets of it have when they come in.
type connection struct {
	proto    byte
	from, to netip.AddrPort // as who began it sees it
	target   netip.AddrPort // who answers
	mark     uint32
	tcpState byte // 0 = not TCP

	raw []byte // as the kernel tells it, to name it by
}

// tcpSYNSent is the state before the first answer.
const tcpSYNSent = 1

// remove deletes the connections of a family that match. ours asks for those
// only that we led, which the kernel picks out itself.
func (c *connections) remove(family int, ours bool, match func(connection) bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, err := c.list(family, ours)
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	for _, raw := range all {
		found, ok := parseConnection(raw)
		if !ok || !match(found) {
			continue
		}
		req := c.request(family, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
		req.AddRawData(found.raw)
		if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			c.close()
			return fmt.Errorf("delete connection to %s: %w", found.to, err)
		}
	}
	return nil
}

func (c *connections) list(family int, ours bool) ([][]byte, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	return dump(func() ([][]byte, error) {
		req := c.request(family, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
		if ours {
			req.AddData(nl.NewRtAttr(nl.CTA_MARK, nl.BEUint32Attr(forwardMark)))
			req.AddData(nl.NewRtAttr(ctaMarkMask, nl.BEUint32Attr(forwardMark)))
		}
		return req.Execute(unix.NETLINK_NETFILTER, 0)
	})
}

const ctaMarkMask = 21 // CTA_MARK_MASK

func (c *connections) request(family, operation, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|operation, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: c.ask}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: uint8(family), Version: unix.NFNETLINK_V0})
	return req
}

func (c *connections) open() (err error) {
	if c.ask == nil {
		c.ask, err = openNetfilter()
	}
	return err
}

func (c *connections) close() {
	c.ask.Close()
	c.ask = nil
}

// parseConnection reads what the kernel tells of a TCP connection or UDP flow;
// false = something else.
func parseConnection(msg []byte) (c connection, ok bool) {
	if len(msg) < nl.SizeofNfgenmsg {
		return c, false
	}
	c.raw = msg[nl.SizeofNfgenmsg:]
	attrs, err := nl.ParseRouteAttr(c.raw)
	if err != nil {
		return c, false
	}
	var there, back bool
	for _, a := range attrs {
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case nl.CTA_TUPLE_ORIG:
			c.from, c.to, c.proto, there = parseTuple(a.Value)
		case nl.CTA_TUPLE_REPLY:
			c.target, _, _, back = parseTuple(a.Value)
		case nl.CTA_MARK:
			if len(a.Value) == 4 {
				c.mark = binary.BigEndian.Uint32(a.Value)
			}
		case nl.CTA_PROTOINFO:
			c.tcpState = nested(a.Value, nl.CTA_PROTOINFO_TCP, nl.CTA_PROTOINFO_TCP_STATE)
		}
	}
	return c, there && back && (c.proto == unix.IPPROTO_TCP || c.proto == unix.IPPROTO_UDP)
}

func parseTuple(b []byte) (src, dst netip.AddrPort, proto byte, ok bool) {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return src, dst, 0, false
	}
	var addrs [2]netip.Addr
	var ports [2]uint16
	for _, a := range attrs {
		inner, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return src, dst, 0, false
		}
		for _, i := range inner {
			switch kind := a.Attr.Type &^ unix.NLA_F_NESTED; {
			case kind == nl.CTA_TUPLE_IP && (i.Attr.Type == nl.CTA_IP_V4_SRC || i.Attr.Type == nl.CTA_IP_V6_SRC):
				addrs[0], _ = netip.AddrFromSlice(i.Value)
			case kind == nl.CTA_TUPLE_IP && (i.Attr.Type == nl.CTA_IP_V4_DST || i.Attr.Type == nl.CTA_IP_V6_DST):
				addrs[1], _ = netip.AddrFromSlice(i.Value)
			case kind == nl.CTA_TUPLE_PROTO && i.Attr.Type == nl.CTA_PROTO_NUM && len(i.Value) > 0:
				proto = i.Value[0]
			case kind == nl.CTA_TUPLE_PROTO && i.Attr.Type == nl.CTA_PROTO_SRC_PORT && len(i.Value) == 2:
				ports[0] = binary.BigEndian.Uint16(i.Value)
			case kind == nl.CTA_TUPLE_PROTO && i.Attr.Type == nl.CTA_PROTO_DST_PORT && len(i.Value) == 2:
				ports[1] = binary.BigEndian.Uint16(i.Value)
			}
		}
	}
	return netip.AddrPortFrom(addrs[0], ports[0]), netip.AddrPortFrom(addrs[1], ports[1]), proto, addrs[0].IsValid() && addrs[1].IsValid()
}

// nested is the one byte at the end of a path of attributes, 0 = none.
func nested(b []byte, path ...uint16) byte {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return 0
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type&^unix.NLA_F_NESTED != path[0]:
		case len(path) > 1:
			return nested(a.Value, path[1:]...)
		case len(a.Value) > 0:
			return a.Value[0]
		}
	}
	return 0
}
