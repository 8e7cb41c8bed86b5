package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

func newEndpointsCommand(e *env) *cobra.Command {
	var o remoteOptions
	cmd := &cobra.Command{
		Use:   "endpoints [SERVICE]",
		Short: "Show the addresses of services, and where this node leads connections to them",
		Long: `Show the addresses and ports of services (of one SERVICE: NAME or
NAMESPACE/NAME), and the instances that this node leads connections to.

ready     takes connections
ejected   is ready for its own node and does not answer this one: connections
          from here go elsewhere until it does
draining  takes no new connections: it is not ready, or about to end

LED TO is where connections from this node go: to the instance itself where it
runs here, else to a port of its node. Other nodes may see it otherwise.
` + viaHelp + `
It then shows each endpoint once for each way it is seen, and by which nodes.

Exit codes: 0 shown, 1 no agent answers or there is no such service, 2 wrong
usage.`,
		Example: `  orpheus endpoints
  orpheus endpoints shop/web
  orpheus endpoints -o json    # as /v1/endpoints tells it
  orpheus endpoints web --via ssh    # as all nodes see it`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeEndpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkRemote(e, cmd); err != nil {
				return usageError(err)
			}
			if o.viaAsked() {
				return withInterrupt(cmd.Context(), func(ctx context.Context) error {
					return e.endpointsVia(ctx, o, strings.Join(args, ""))
				})
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			all, err := client.Endpoints(cmd.Context())
			if err != nil {
				return e.explainAgent(err)
			}
			if len(args) > 0 {
				if all, err = onlyEndpoints(all, args[0]); err != nil {
					return err
				}
			}
			if o.output == "json" {
				return writeJSON(e.stdout, all, false)
			}
			s := e.newScreen()
			if len(args) > 0 {
				drawEndpoints(s, all, all.Services[0], e.now())
			} else {
				drawAllEndpoints(s, all, e.now())
			}
			return s.writeTo(e.stdout)
		},
	}
	addOutputFlag(cmd, &o.output, "text", "json")
	o.addRemoteFlags(e, cmd)
	return cmd
}

// completeEndpoints offers the services that have endpoints.
func (e *env) completeEndpoints(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	client, err := e.client()
	if err != nil || len(args) > 0 {
		return nil, nothing
	}
	defer client.Close()
	ctx, cancel := withCompletionTime(cmd)
	defer cancel()
	all, err := client.Endpoints(ctx)
	if err != nil {
		return nil, nothing
	}
	return endpointNames(all), nothing
}

func endpointNames(all *api.Endpoints) []string {
	var names []string
	for _, s := range all.Services {
		names = append(names, s.ID().String())
	}
	return names
}

// onlyEndpoints leaves those of one service.
func onlyEndpoints(all *api.Endpoints, name string) (*api.Endpoints, error) {
	id := planner.ParseServiceID(name)
	for _, s := range all.Services {
		if s.ID() == id {
			one := *all
			one.Services = []api.ServiceEndpoints{s}
			return &one, nil
		}
	}
	const few = 12
	names := endpointNames(all)
	text := fmt.Sprintf("there is no service %q with an address or a published port on node %s", name, all.Node)
	switch {
	case len(names) == 0:
		text += ", nor any other"
	case len(names) > few:
		text += fmt.Sprintf("; \"orpheus endpoints\" lists those %d that have one", len(names))
	default:
		text += "; these have one: " + strings.Join(names, ", ")
	}
	return nil, errors.New(text)
}

// drawAllEndpoints draws a table of services, and one of their endpoints.
func drawAllEndpoints(s *screen, all *api.Endpoints, now time.Time) {
	drawUnbalanced(s, all.Balanced, now)
	if len(all.Services) == 0 {
		s.prose("", plain, plain, fmt.Sprintf("No service has an address or a published port on node %s. In a manifest, ports[].port gives a service an address, and publish opens a port.", all.Node))
		return
	}
	t := table{titles: []string{"SERVICE", "ADDRESS", "READY", "PORTS"}}
	for _, service := range all.Services {
		ready := readyEndpoints(service)
		t.add(strings.Join(endpointPorts(service), "; "), plain,
			cell{service.ID().String(), plain},
			cell{serviceAddress(service), plain},
			cell{fmt.Sprintf("%d/%d", ready, len(service.Endpoints)), readyColour(ready, len(service.Endpoints))})
		for _, n := range service.NotOpened {
			t.below(notOpenedColour(n), n.String())
		}
	}
	t.draw(s)
	s.blank()
	drawEndpointTable(s, all.Node, now, all.Services...)
}

// drawUnbalanced says that what follows is wanted and not in force.
func drawUnbalanced(s *screen, b api.Balanced, now time.Time) {
	if b.Error != "" {
		s.prose("", plain, red, "Not in force since "+age(now.Sub(b.ErrorSince))+": "+b.Error)
		s.prose("", plain, plain, "Connections are led as before.")
		s.blank()
	}
}

// drawEndpoints draws all there is to say of one service.
func drawEndpoints(s *screen, all *api.Endpoints, service api.ServiceEndpoints, now time.Time) {
	drawUnbalanced(s, all.Balanced, now)
	s.labelled("SERVICE", bold, service.ID().String())
	s.labelled("ADDRESS", plain, serviceAddress(service))
	if service.Address6 != "" {
		s.labelled("", plain, service.Address6)
	}
	for i, p := range endpointPorts(service) {
		s.labelled(first(i, "PORTS"), plain, p)
	}
	for i, n := range service.NotOpened {
		s.labelled(first(i, "CLOSED"), notOpenedColour(n), n.String())
	}
	ready := readyEndpoints(service)
	s.labelled("READY", readyColour(ready, len(service.Endpoints)), fmt.Sprintf("%d of %d", ready, len(service.Endpoints)))
	if len(service.Endpoints) > 0 && ready == 0 {
		s.prose("          ", plain, yellow, "Connections are refused until one is ready.")
	}
	s.blank()
	drawEndpointTable(s, all.Node, now, service)
}

func serviceAddress(s api.ServiceEndpoints) string {
	switch {
	case s.Headless:
		return "headless"
	case s.Address == "" && s.Address6 == "" && !s.ImagePorts && !slices.ContainsFunc(s.Ports, func(p api.EndpointPort) bool { return p.Port > 0 }):
		return `none (no "port")`
	case s.Address == "" && s.Address6 == "" && slices.ContainsFunc(s.NotOpened, func(n api.NotOpened) bool { return n.Meant }):
		return "none on this node"
	case s.Address == "" && s.Address6 == "":
		return "none yet"
	case s.Address == "":
		return s.Address6
	}
	return s.Address
}

func readyEndpoints(s api.ServiceEndpoints) (n int) {
	for _, at := range s.Endpoints {
		if at.State == api.EndpointReady {
			n++
		}
	}
	return n
}

func readyColour(ready, all int) colour {
	switch {
	case ready == all:
		return green
	case ready == 0:
		return red
	}
	return yellow
}

// endpointPorts are a service's ports: "80→8080" of its address,
// "published 10.0.0.1:443→8443 on its nodes" of the nodes'. TCP goes without
// saying.
func endpointPorts(s api.ServiceEndpoints) []string {
	var out []string
	for _, p := range s.Ports {
		protocol := ""
		if p.Protocol != "tcp" {
			protocol = "/" + p.Protocol
		}
		to := fmt.Sprintf("%s→%d", protocol, p.Container)
		name := ""
		if p.Name != "" {
			name = p.Name + " "
		}
		var parts []string
		if p.Port > 0 {
			parts = append(parts, strconv.Itoa(p.Port)+to)
		}
		if p.Published > 0 {
			bind := p.Bind
			if bind == "" {
				bind = "*"
			} else if strings.Contains(bind, ":") {
				bind = "[" + bind + "]"
			}
			where := " on all nodes"
			if p.Mode == "node" {
				where = " on its nodes"
			}
			parts = append(parts, fmt.Sprintf("published %s:%d%s%s", bind, p.Published, to, where))
		}
		if len(parts) == 0 { // of its slots' addresses only
			parts = append(parts, strconv.Itoa(p.Container)+protocol)
		}
		out = append(out, name+strings.Join(parts, ", "))
	}
	return out
}

// drawEndpointTable draws the endpoints of services, seen from node here.
func drawEndpointTable(s *screen, here planner.NodeName, now time.Time, services ...api.ServiceEndpoints) {
	t := table{titles: []string{"SLOT", "NODE", "STATE", "LED TO", "SLOT ADDRESS", "REVISION", "REASON"}, spare: []int{5, 4}}
	for _, service := range services {
		for _, at := range service.Endpoints {
			c := endpointColour(at.State)
			reason := at.Reason
			if at.State == api.EndpointEjected && !at.Since.IsZero() {
				reason = "for " + age(now.Sub(at.Since)) + ": " + reason
			}
			t.add(reason, c,
				cell{planner.SlotID{Service: service.ID(), Name: at.Slot}.String(), plain},
				cell{nodeHere(at.Node, here), plain},
				cell{at.State, c},
				cell{ledTo(at.Targets), plain},
				cell{at.SlotAddress, plain},
				cell{at.Revision.Short(), plain})
		}
	}
	t.draw(s)
}

func nodeHere(node, here planner.NodeName) string {
	if node == here {
		return string(node) + " (here)"
	}
	return string(node)
}

// ledTo joins the targets of an endpoint: the address once where all have it.
func ledTo(targets []string) string {
	var out []string
	host := ""
	for _, t := range targets {
		k := strings.LastIndexByte(t, ':')
		switch {
		case t == "" || slices.Contains(out, t):
		case k >= 0 && len(out) > 0 && t[:k] == host:
			out = append(out, t[k:])
		default:
			out = append(out, t)
			host = t[:max(k, 0)]
		}
	}
	return strings.Join(out, ",")
}

func endpointColour(state string) colour {
	switch state {
	case api.EndpointReady:
		return green
	case api.EndpointEjected:
		return red
	}
	return yellow
}
