package network

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// connect returns the open connection to nftables.
func (r *rules) connect() (*nftables.Conn, error) {
	if r.tx == nil {
		tx, err := openNFTables(nftables.AsLasting())
		if err != nil {
			return nil, err
		}
		r.tx = tx
	}
	return r.tx, nil
}

// disconnect drops a connection that an error left in an unknown state.
func (r *rules) disconnect() {
	if r.tx != nil {
		r.tx.CloseLasting()
		r.tx = nil
	}
}

// openNFTables opens nftables with room for a transaction of all that one node
// balances.
func openNFTables(opts ...nftables.ConnOption) (*nftables.Conn, error) {
	const room = 32 << 20
	c, err := nftables.New(append(opts, nftables.WithSockOptions(func(s *netlink.Conn) error {
		return errors.Join(s.SetWriteBuffer(room), s.SetReadBuffer(room))
	}))...)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, nil
}

// openNetfilter opens a socket for single questions.
func openNetfilter() (*nl.SocketHandle, error) {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netfilter: %w", explain(err))
	}
	if err := errors.Join(s.SetSendTimeout(&nl.SocketTimeoutTv), s.SetReceiveTimeout(&nl.SocketTimeoutTv)); err != nil {
		s.Close()
		return nil, fmt.Errorf("open netfilter: %w", err)
	}
	return &nl.SocketHandle{Socket: s}, nil
}

// generation is the number of changes that were made to any nftables rule of
// this namespace since it is there.
func (r *rules) generation() (uint32, error) {
	if r.ask == nil {
		s, err := openNetfilter()
		if err != nil {
			return 0, err
		}
		r.ask = s
	}
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: r.ask}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: unix.NFNETLINK_V0})
	replies, err := req.Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN)
	if err != nil {
		r.ask.Close()
		r.ask = nil
		return 0, fmt.Errorf("ask nftables for its generation: %w", explain(err))
	}
	for _, reply := range replies {
		if len(reply) < nl.SizeofNfgenmsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(reply[nl.SizeofNfgenmsg:])
		if err != nil {
			return 0, fmt.Errorf("ask nftables for its generation: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.NFTA_GEN_ID && len(a.Value) == 4 {
				return binary.BigEndian.Uint32(a.Value), nil
			}
		}
	}
	return 0, errors.New("nftables did not tell its generation")
}

// explain adds the remedy to what the kernel says when it lacks nftables.
func explain(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w (does the kernel have nftables? load nf_tables, nft_chain_nat, nft_numgen, nft_hash, nft_fib_ipv4, nft_ct, nft_masq, nft_nat, nft_reject_ipv4, and for IPv6 nft_fib_ipv6, nft_reject_ipv6)", err)
	}
	return err
}
