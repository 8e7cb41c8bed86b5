package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
)

// watchNetwork asks the network now and then how it fares.
func (a *Agent) watchNetwork(ctx context.Context) {
	for {
		asked, cancel := context.WithTimeout(ctx, balanceTimeout)
		info, err := a.cfg.Network.Info(asked)
		cancel()
		a.post(func() { a.lookedAtNetwork(info, err) })
		if !pause(ctx, sweepInterval) {
			return
		}
	}
}

// lookedAtNetwork takes in what the network says of itself. While it cannot
// answer, what it said before counts.
func (a *Agent) lookedAtNetwork(info runtime.NetworkInfo, err error) {
	told := &api.Network{Bridge: info.Bridge, Subnet: info.Subnet, Notes: info.Notes}
	if err != nil {
		told.Error = err.Error()
	} else {
		a.problem("firewall", blocked(info.Blocking))
	}
	if now := [2]string{info.Subnet, info.Subnet6}; (err == nil || a.network == nil) && now != a.subnets {
		a.subnets = now
		a.followings++ // what follows from a commit follows from them, too
	}
	a.network = told
}

// blocked says which firewalls keep the node's instances from the network; nil =
// none does.
func blocked(by []string) error {
	if len(by) == 0 {
		return nil
	}
	return errors.New(strings.Join(by, "; "))
}

// restoreNetwork learns the addresses of instances this process did not
// attach. Until it has succeeded connections are led as they were.
func (a *Agent) restoreNetwork(ctx context.Context) error {
	if a.restored || a.cfg.Network == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, balanceTimeout)
	defer cancel()
	attached, err := a.cfg.Network.Attachments(ctx)
	a.problem("network", err)
	maps.Copy(a.attached, attached)
	a.restored = err == nil
	return err
}

// ownAddress is where this node reaches what has its own network: the bridge's
// address or, without a network, loopback.
func (a *Agent) ownAddress() string {
	if a.cfg.Network == nil {
		return "127.0.0.1"
	}
	return firstOf(a.subnets[0])
}

// firstOf is the first address of a network: the bridge's.
func firstOf(cidr string) string {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return ""
	}
	return p.Masked().Addr().Next().String()
}
