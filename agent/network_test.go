package agent

import (
	"slices"
	"testing"
	"time"
)

// A firewall that keeps instances from the network is a problem of the node,
// until it does so no more.
func TestFirewallThatBlocks(t *testing.T) {
	inWorld(t, func(w *world) {
		w.network.Block("nftables, chain ip own forward drops: nft insert rule a", "iptables, chain FORWARD drops: iptables -I b")
		w.settle(5 * time.Minute)
		want := "firewall: nftables, chain ip own forward drops: nft insert rule a; iptables, chain FORWARD drops: iptables -I b"
		if got := w.agent.Status().Problems; !slices.Contains(got, want) {
			t.Errorf("problems %q, want %q", got, want)
		}
		w.network.Block()
		w.settle(5 * time.Minute)
		if got := w.agent.Status().Problems; len(got) > 0 {
			t.Errorf("problems %q once nothing blocks", got)
		}
	})
}
