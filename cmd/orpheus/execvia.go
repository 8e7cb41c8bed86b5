package main

import (
	"context"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// execClient is the agent to ask: that of this node, or of the one that runs what
// the request names, which then names its slot. The caller calls done.
func (e *env) execClient(ctx context.Context, o remoteOptions, req *api.ExecRequest) (client *api.Client, done func(), err error) {
	if !o.viaAsked() {
		if client, err = e.client(); err != nil {
			return nil, nil, err
		}
		return client, client.Close, nil
	}
	fleet := newSSHFleet(o.viaOptions)
	err = withInterrupt(ctx, func(ctx context.Context) error {
		a, slot, err := e.findOne(ctx, fleet, o.recordOptions, req.Target)
		if err == nil {
			client, req.Target = a.client, slot.String()
		}
		return err
	})
	if err != nil {
		fleet.close()
		return nil, nil, err
	}
	return client, fleet.close, nil
}
