package main

import (
	"log/slog"
	"slices"
	"testing"
)

// Whatever the agent listens on is no host port, whether or not it listens now.
func TestOwnPortsAreNoHostPorts(t *testing.T) {
	var c config
	c.Coordination, c.Peer.Listen, c.Webhook.Listen, c.API.Address, c.API.BridgePort = coordinationLeases, ":20001", "127.0.0.1:20002", "127.0.0.1:20003", 20004
	got := slices.Sorted(slices.Values(c.network(slog.New(slog.DiscardHandler)).ReservedPorts))
	if !slices.Equal(got, []int{20001, 20002, 20003, 20004}) {
		t.Errorf("reserved: %v", got)
	}
}
