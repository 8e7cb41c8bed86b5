package network

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// flows moves UDP flows when what is balanced changes. The kernel keeps a flow
// where its first packet went for as long as packets come; TCP connections must
// stay there, UDP senders would talk to nobody for ever.
type flows struct {
	cfg  Config
	conn connections

	mu sync.Mutex
	// led: the flows that we led agree with what was last balanced; others: so
	// do all others. They are false at first, for what a former process did not
	// get to.
	led, others bool
}

// settle forgets every UDP flow that would go elsewhere if it began now. own are
// the addresses of this machine, by family. The kernel can only be asked for all
// connections, which takes 10 ms and more on a busy machine, or for those that
// we led: nothing is asked unless where UDP goes changed, and others only where
// something is led now that was not.
func (f *flows) settle(want []balance, own []map[netip.Addr]bool, changes []change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range changes {
		f.led, f.others = f.led && !c.udp, f.others && !c.unled
	}
	if f.led && f.others {
		return nil
	}
	for k, family := range f.cfg.families() {
		now := standingFlows{family: family, balance: want[k], local: own[k]}
		if err := f.conn.remove(family.routes, f.others, now.stale); err != nil {
			return fmt.Errorf("move udp flows: %w", err)
		}
	}
	f.led, f.others = true, true
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
