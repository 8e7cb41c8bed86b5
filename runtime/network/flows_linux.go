package network

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flows moves UDP flows when ports change. The kernel keeps a flow where its
// first packet went for as long as packets come; TCP connections must stay
// there, UDP senders would talk to nobody for ever.
type flows struct {
	subnet netip.Prefix

	mu sync.Mutex
	// settled: the kernel's flows agree with what was last published. It is
	// false at first, for what a former process did not get to.
	settled bool
}

// settle forgets every UDP flow that would go elsewhere if it began now. The
// kernel can only be asked for all connections, which takes 10 ms and more:
// nothing is asked unless UDP ports changed.
func (f *flows) settle(h *netlink.Handle, want fronts, changed bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if changed {
		f.settled = false
	}
	if f.settled {
		return nil
	}
	local := map[netip.Addr]bool{}
	addrs, err := dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok {
			local[p.Addr()] = true
		}
	}
	stale := staleFlows{want: want, subnet: f.subnet, local: local}
	_, err = dump(func() (uint, error) {
		return h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, stale)
	})
	if err != nil {
		return fmt.Errorf("move udp flows: %w", err)
	}
	f.settled = true
	return nil
}

// staleFlows matches UDP flows that do not go where want says.
type staleFlows struct {
	want   fronts
	subnet netip.Prefix
	local  map[netip.Addr]bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	by, ok2 := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok || !ok2 {
		return false
	}
	to, by = to.Unmap(), by.Unmap()
	if !s.local[to] && !loopbackNet.Contains(to) {
		return false // not to this node: none of ours
	}
	answers := netip.AddrPortFrom(by, flow.Reverse.SrcPort)
	targets, published := s.want[front{to, unix.IPPROTO_UDP, flow.Forward.DstPort}]
	if !published {
		targets, published = s.want[front{anyAddr, unix.IPPROTO_UDP, flow.Forward.DstPort}]
	}
	if published {
		return !slices.Contains(targets, answers)
	}
	return by != to && s.subnet.Contains(by) // led to an instance, published no more
}
