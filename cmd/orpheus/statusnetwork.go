package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
)

// networkReport is what `orpheus status --network` prints.
type networkReport struct {
	Network   *api.NetworkState `json:"network"`
	Endpoints *api.Endpoints    `json:"endpoints,omitempty"` // nil = not known yet, which EndpointsError says
	// EndpointsError says why the endpoints are not known.
	EndpointsError string `json:"endpointsError,omitempty"`
}

// showNetwork prints the node's network on one screen.
func (e *env) showNetwork(ctx context.Context, client *api.Client, output string) error {
	state, err := client.Network(ctx)
	if err != nil {
		return e.explainAgent(err)
	}
	report := networkReport{Network: state}
	if report.Endpoints, err = client.Endpoints(ctx); err != nil {
		report.Endpoints, report.EndpointsError = nil, err.Error()
	}
	if output == "json" {
		return writeJSON(e.stdout, report, false)
	}
	s := e.newScreen()
	drawNetwork(s, report, e.now())
	return s.writeTo(e.stdout)
}

func drawNetwork(s *screen, r networkReport, now time.Time) {
	n := r.Network
	if n.Error != "" {
		s.labelled("NETWORK", red, n.Error)
	}
	if n.Bridge != "" {
		text := n.Bridge
		if n.MTU > 0 {
			text += fmt.Sprintf(", MTU %d", n.MTU)
		}
		s.labelled("BRIDGE", plain, text+", "+count(n.Attached, "instance")+" attached")
	}
	if n.Subnet != "" {
		s.labelled("SUBNET", plain, n.Subnet)
		if n.Subnet6 != "" {
			s.labelled("", plain, n.Subnet6)
		} else {
			s.labelled("", dim, "no IPv6")
		}
	}
	if n.HostPorts != "" {
		s.labelled("HOSTPORTS", plain, n.HostPorts+", for the fleet's nodes")
	}
	drawNameServer(s, n.Names, now)
	drawRelay(s, n.Relay, now)
	if r.Endpoints != nil {
		drawBalanced(s, r.Endpoints, now)
		drawNotOpened(s, r.Endpoints)
	} else {
		s.labelled("BALANCED", yellow, r.EndpointsError)
	}
	for i, rule := range n.ForeignRules {
		s.labelled(first(i, "FOREIGN"), plain, "rule of ours in another program's table: "+rule)
	}
	for i, note := range n.Notes {
		s.labelled(first(i, "NOTES"), plain, note)
	}
	if r.Endpoints != nil {
		drawOutOfUse(s, r.Endpoints, now)
	}
}

func drawNameServer(s *screen, n *api.NameServer, now time.Time) {
	if n == nil {
		return
	}
	for i, fault := range n.Faults {
		s.labelled(first(i, "NAMES"), red, fault)
	}
	if n.PID == 0 {
		return
	}
	text := "answered on " + strings.Join(n.Listen, ", ")
	if len(n.Listen) == 0 {
		text = "answered nowhere"
	}
	const enough = 8 // of a hash
	s.labelled(first(len(n.Faults), "NAMES"), plain, fmt.Sprintf("%s by process %d, program %s, up %s",
		text, n.PID, terminal.Clip(n.Version, enough+1), age(now.Sub(n.Since))))
	s.labelled("", plain, fmt.Sprintf("%s, %d questions about them", count(n.Services, "service"), n.Local))
	if len(n.Upstream) == 0 {
		s.labelled("", yellow, "other names are not answered: this node names no other name server")
		return
	}
	others := fmt.Sprintf("%d about others, asked of %s", n.Forwarded, strings.Join(n.Upstream, ", "))
	if n.Failed > 0 {
		others += fmt.Sprintf(", %d without an answer", n.Failed)
	}
	s.labelled("", plain, others)
}

// drawRelay says who leads connections where the kernel does not.
func drawRelay(s *screen, r *api.Relay, now time.Time) {
	if r == nil {
		return
	}
	s.labelled("NETWORK", plain, "none of its own: this node runs processes only, and has no names to answer")
	for i, fault := range r.Faults {
		s.labelled(first(i, "RELAY"), red, fault)
	}
	s.labelled(first(len(r.Faults), "RELAY"), plain, describeRelay(r, now))
}

// describeRelay is the relay in one sentence.
func describeRelay(r *api.Relay, now time.Time) string {
	const enough = 8 // of a hash
	switch {
	case r.PID == 0 && len(r.Faults) > 0:
		return "connections to services are not led"
	case r.PID == 0:
		return "leads connections to services on loopback, once there are any to lead"
	case r.Since.IsZero():
		return fmt.Sprintf("process %d begins to lead connections on loopback", r.PID)
	}
	return fmt.Sprintf("leads connections in user space, process %d, program %s, for %s: %s open on loopback and the node, %s",
		r.PID, terminal.Clip(r.Version, enough+1), age(now.Sub(r.Since)), count(r.Open, "port"), count(r.Connections, "connection"))
}

// drawBalanced counts what connections are led from and to.
func drawBalanced(s *screen, e *api.Endpoints, now time.Time) {
	if e.Range != "" || e.Range6 != "" {
		s.labelled("SERVICES", plain, strings.Trim(e.Range+", "+e.Range6, ", "))
	}
	b := e.Balanced
	if b.Error != "" {
		s.labelled("BALANCED", red, "as before, for "+age(now.Sub(b.ErrorSince))+": "+b.Error)
	}
	s.labelled(first(len(b.Error), "BALANCED"), plain, fmt.Sprintf("%s of services and slots, %s, %s, to %s",
		count(b.Addresses, "port"), count(b.Published, "published port"), count(b.HostPorts, "host port"), count(b.Targets, "target")))
}

// drawNotOpened names the ports that this node does not open, and why.
func drawNotOpened(s *screen, e *api.Endpoints) {
	n := 0
	for _, service := range e.Services {
		for _, closed := range service.NotOpened {
			s.labelled(first(n, "CLOSED"), notOpenedColour(closed), closed.String())
			n++
		}
	}
}

// notOpenedColour is red where something is wrong.
func notOpenedColour(n api.NotOpened) colour {
	if n.Meant {
		return plain
	}
	return red
}

// drawOutOfUse draws the endpoints that this node leads nobody to.
func drawOutOfUse(s *screen, e *api.Endpoints, now time.Time) {
	var out []api.ServiceEndpoints
	for _, service := range e.Services {
		var unused []api.Endpoint
		for _, at := range service.Endpoints {
			if at.State != api.EndpointReady {
				unused = append(unused, at)
			}
		}
		if len(unused) > 0 {
			service.Endpoints = unused
			out = append(out, service)
		}
	}
	if len(out) > 0 {
		s.blank()
		drawEndpointTable(s, e.Node, now, out...)
	}
}
