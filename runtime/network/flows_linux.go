package network

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flows moves UDP flows when what is balanced changes. The kernel keeps a flow
// where its first packet went for as long as packets come; TCP connections must
// stay there, UDP senders would talk to nobody for ever.
type flows struct {
	cfg  Config
	conn connections

	mu sync.Mutex
	// settled: the kernel's flows agree with what was last balanced. It is
	// false at first, for what a former process did not get to.
	settled bool
}

// settle forgets every UDP flow that would go elsewhere if it began now. The
// kernel can only be asked for all connections, which takes 10 ms and more:
// nothing is asked unless where UDP goes changed.
func (f *flows) settle(h *netlink.Handle, want []balance, changed bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if changed {
		f.settled = false
	}
	if f.settled {
		return nil
	}
	for k, family := range f.cfg.families() {
		local := map[netip.Addr]bool{}
		addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, family.routes) })
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range addrs {
			if p, ok := prefix(a.IPNet); ok {
				local[p.Addr()] = true
			}
		}
		now := standingFlows{family: family, balance: want[k], local: local}
		if err := f.conn.remove(family.routes, false, now.stale); err != nil {
			return fmt.Errorf("move udp flows: %w", err)
		}
	}
	f.settled = true
	return nil
}

// standingFlows knows where flows go now.
type standingFlows struct {
	family
	balance
	local map[netip.Addr]bool
}

// stale matches UDP flows that would not go where they go if they began now.
func (s standingFlows) stale(c connection) bool {
	if c.proto != unix.IPPROTO_UDP {
		return false
	}
	led := c.mark&forwardMark != 0
	node := s.local[c.to.Addr()] || s.loopback.Contains(c.to.Addr())
	if !led && !node && !s.serves(c.to.Addr()) {
		return false // none of ours
	}
	if l, ok := s.leads(c, node); ok {
		return !slices.Contains(l.targets, c.target)
	}
	// An older version led without leaving its mark.
	return led || node && c.target != c.to && s.subnet.Contains(c.target.Addr())
}

// leads returns the front that takes the flow, as the tables would.
func (s standingFlows) leads(c connection, node bool) (led, bool) {
	at := front{c.to.Addr(), c.proto, c.to.Port()}
	everywhere := front{s.any, c.proto, c.to.Port()}
	_, friend := slices.BinarySearchFunc(s.fleet, c.from.Addr(), netip.Addr.Compare)
	for _, host := range []bool{true, false} { // in the order of the rules
		if host && !friend {
			continue
		}
		if l, ok := s.fronts[at]; ok && l.host() == host {
			return l, true
		}
		if l, ok := s.fronts[everywhere]; ok && l.host() == host && node {
			return l, true
		}
	}
	return led{}, false
}
