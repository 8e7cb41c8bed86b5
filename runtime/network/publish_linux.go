package network

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Publish implements runtime.Network. It changes only what differs from what
// stands, in one transaction; nothing is written when nothing differs.
func (n *Network) Publish(ctx context.Context, ports []runtime.PublishedPort) error {
	want, owners, err := parseFronts(ports)
	if err != nil {
		return err
	}
	h, err := n.ensure(ctx)
	if err != nil {
		return fmt.Errorf("set up the node's network: %w", err)
	}
	want, taken := withoutTaken(want, n.rules.standing(), owners)
	c, err := n.rules.publish(want)
	if err != nil {
		return fmt.Errorf("publish %d ports: %w", len(ports), err)
	}
	if !c.empty() {
		n.cfg.Log.Debug("ports published", "ports", len(ports))
	}
	return errors.Join(taken, n.flows.settle(h, want, c.concerns(unix.IPPROTO_UDP)))
}
