package relay

import (
	"net/netip"
	"testing"
)

func targets(n int) []*target {
	var all []*target
	for i := range n {
		all = append(all, &target{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 20000)})
	}
	return all
}

func TestFailingTargetsAreTriedLast(t *testing.T) {
	c := &choice{targets: targets(4)}
	c.targets[1].failed.now()
	for turn := range uint64(8) {
		order := c.order(netip.Addr{}, turn)
		if len(order) != 4 || order[3] != c.targets[1] {
			t.Errorf("turn %d: the failing target is not last", turn)
		}
		if turn%4 != 1 && order[0] != c.targets[turn%4] {
			t.Errorf("turn %d: the others do not take turns", turn)
		}
	}
}

// Clients keep to their targets when others come and go, and spread over all.
func TestAffinityMovesFewClients(t *testing.T) {
	const clients = 4000
	all := targets(8)
	before, after := &choice{targets: all, affinity: true}, &choice{targets: all[:7], affinity: true}
	count := map[*target]int{}
	for n := range clients {
		client := netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)})
		was, is := before.order(client, uint64(n))[0], after.order(client, 0)[0]
		count[was]++
		if was != all[7] && is != was {
			t.Fatalf("%s moves from %s to %s although its target stays", client, was.addr, is.addr)
		}
		if mapped := netip.AddrFrom16(client.As16()); before.order(mapped, 0)[0] != was {
			t.Fatalf("%s is led elsewhere than %s", mapped, client)
		}
	}
	for _, tg := range all {
		if n := count[tg]; n < clients/8*8/10 || n > clients/8*12/10 {
			t.Errorf("%s has %d of %d clients", tg.addr, n, clients)
		}
	}
}
