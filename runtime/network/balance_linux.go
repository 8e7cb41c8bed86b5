package network

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.Balancer = (*Network)(nil)

// Balance implements runtime.Balancer. It changes only what differs from what
// stands, in one transaction; nothing is written when nothing differs. Ports
// published on ::1 are left out; those of every address answer there as if
// nobody listened, so that programs go on to 127.0.0.1.
func (n *Network) Balance(ctx context.Context, b runtime.Balancing) error {
	n.paths.mu.Lock()
	defer n.paths.mu.Unlock()
	want, left, err := n.paths.memory.parse(n.cfg.families(), b)
	if err != nil {
		return err
	}
	h, err := n.ensure(ctx)
	if err != nil {
		return fmt.Errorf("set up the node's network: %w", err)
	}
	own, err := n.ownAddresses(h)
	if err != nil {
		return fmt.Errorf("balance: %w", err)
	}
	n.leadAway(want, own)
	reached, err := n.paths.leaveReached(h, b.Fronts, want)
	if err != nil {
		return fmt.Errorf("balance: %w", err)
	}
	left = append(left, reached...)
	left = append(left, leaveTaken(b.Fronts, want, n.rules.balances())...)
	changes, err := n.rules.balance(want)
	if err != nil {
		return fmt.Errorf("balance %d ports: %w", len(b.Fronts), err)
	}
	if slices.ContainsFunc(changes, func(c change) bool { return !c.empty() }) {
		n.cfg.Log.Debug("balancing changed", "ports", len(b.Fronts))
	}
	if err := errors.Join(n.paths.ensure(h, want), n.flows.settle(want, own, changes)); err != nil {
		return err
	}
	if len(left) > 0 {
		return left
	}
	return nil
}
