package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// relayHealth asks the agent of a node without a network of its own how
// connections are led there.
func (n *nodeExam) relayHealth(ctx context.Context) (level, string, string) {
	why := "containerd is switched off in the agent's configuration"
	if os.Geteuid() != 0 {
		why = "that needs root"
	}
	relay, led := n.toldRelay(ctx)
	return judgeRelay("no network of its own ("+why+")", relay, led, time.Now())
}

// toldRelay is what the node's agent says of its relay and of what it leads;
// nil = it says nothing.
func (n *nodeExam) toldRelay(ctx context.Context) (*api.Relay, *api.Endpoints) {
	st, led := n.told(ctx)
	if st == nil {
		return nil, nil
	}
	for _, e := range n.agents {
		client, err := e.client()
		if err != nil {
			continue
		}
		state, err := client.Network(ctx)
		client.Close()
		if err == nil && state.Relay != nil {
			return state.Relay, led
		}
	}
	return nil, led
}

func judgeRelay(text string, relay *api.Relay, led *api.Endpoints, now time.Time) (level, string, string) {
	if relay == nil {
		return levelOK, text + ": connections to services are led in user space, on loopback, as soon as the agent runs", ""
	}
	text += "; " + describeRelay(relay, now)
	if len(relay.Faults) > 0 {
		return levelFail, text + ": " + strings.Join(relay.Faults, "; "), "look at resolver.log in folder " + namesFolder + " of the state folder"
	}
	var wrong, meant []string
	for _, s := range servicesOf(led) {
		for _, closed := range s.NotOpened {
			if closed.Meant {
				meant = append(meant, closed.String())
			} else {
				wrong = append(wrong, closed.String())
			}
		}
	}
	text = strings.Join(append([]string{text}, append(wrong, meant...)...), "; ")
	if len(wrong) > 0 {
		return levelWarn, text, "end the program that has the port, or choose another one in the manifest"
	}
	return levelOK, text, ""
}

func servicesOf(e *api.Endpoints) []api.ServiceEndpoints {
	if e == nil {
		return nil
	}
	return e.Services
}
