//go:build linux

package main

import (
	"context"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime/network"
)

// bridgeFaults says what is wrong with api.bridgePort: its address is one of
// those that a listener on all addresses takes.
func (c *config) bridgeFaults(fault func(format string, args ...any)) {
	port := c.API.BridgePort
	if port < 0 || port > 65535 {
		fault("api.bridgePort: %d is no port; write one such as 7717", port)
	}
	if port == 53 {
		fault("api.bridgePort: 53 is that of the name server on the bridge; write one such as 7717")
	}
	for _, own := range c.ownPorts() {
		if onAll := own.field == "peer.listen" || own.field == "webhook.listen"; onAll && own.port == port {
			fault("api.bridgePort: %d is the port of %s; write another one", port, own.field)
		}
	}
}

// serveBridge tells instances of this node where endpoints are, if the
// configuration says so.
func (n *node) serveBridge(ctx context.Context, endpoints func() *api.Endpoints) {
	if n.config.API.BridgePort == 0 || n.network == nil {
		return
	}
	bridge := n.config.Network.Bridge
	if bridge == "" {
		bridge = network.DefaultBridge
	}
	api.ServeBridge(ctx, api.BridgeOptions{Bridge: bridge, Port: n.config.API.BridgePort, Endpoints: endpoints, Log: n.log})
}
