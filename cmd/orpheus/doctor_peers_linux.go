package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	maxAskedPeers = 16 // nodes that doctor connects to
	peerTimeout   = 2 * time.Second
	nameTimeout   = 2 * time.Second
)

// told is what the agent of this node knows; nil = none answers, or it knows
// nothing yet.
func (n *nodeExam) told(ctx context.Context) (*api.Status, *api.Endpoints) {
	for _, e := range n.agents {
		client, err := e.client()
		if err != nil {
			continue
		}
		st, err := client.Status(ctx)
		if err == nil && string(st.Node) == n.config.Node.Name {
			led, err := client.Endpoints(ctx)
			client.Close()
			if err != nil {
				led = nil
			}
			return st, led
		}
		client.Close()
	}
	return nil, nil
}

// peerHosts are the addresses of the fleet's other nodes, without names.
func (x *netExam) peerHosts() []netip.Addr {
	var hosts []netip.Addr
	for _, p := range x.peerPorts() {
		if at, err := netip.ParseAddrPort(p.address); err == nil {
			hosts = append(hosts, at.Addr().Unmap())
		}
	}
	return hosts
}

// peerPort is one port of another node that this one has to reach.
type peerPort struct {
	node    planner.NodeName
	address string
	host    bool  // leads to an instance, else it is the peer port
	err     error // of a connection
}

// peerPorts are the peer ports of the nodes that are live, and one host port of
// each that has any.
func (x *netExam) peerPorts() []peerPort {
	if x.status == nil || x.status.Fleet == nil {
		return nil
	}
	var ports []peerPort
	live := map[planner.NodeName]bool{}
	for _, n := range x.status.Fleet.Nodes {
		if n.State == "live" && n.Address != "" && n.Name != x.status.Node && len(live) < maxAskedPeers {
			live[n.Name] = true
			ports = append(ports, peerPort{node: n.Name, address: n.Address})
		}
	}
	if x.led == nil {
		return ports
	}
	for _, s := range x.led.Services {
		for _, at := range s.Endpoints {
			for i, target := range at.Targets[:min(len(at.Targets), len(s.Ports))] {
				if live[at.Node] && at.State != api.EndpointDraining && target != "" && s.Ports[i].Protocol == "tcp" && !s.Ports[i].Image {
					live[at.Node] = false
					ports = append(ports, peerPort{node: at.Node, address: target, host: true})
				}
			}
		}
	}
	return ports
}

// peers connects to the other nodes as their agents and instances do.
func (x *netExam) peers(ctx context.Context) (level, string, string) {
	switch {
	case x.node.config.Coordination == coordinationNone:
		return levelOK, "this node stands alone", ""
	case x.status == nil:
		return levelOK, "no agent answers: it is not known which other nodes there are", ""
	}
	ports := x.peerPorts()
	var work sync.WaitGroup
	for i := range ports {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, peerTimeout)
			defer cancel()
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", ports[i].address)
			if err == nil {
				err = conn.Close()
			}
			ports[i].err = err
		})
	}
	work.Wait()
	return judgePeers(ports, cmp.Or(x.info.HostPorts, "20000-29999"))
}

// judgePeers tells what is closed between nodes. A refused host port was
// reached: its instance may just have ended.
func judgePeers(ports []peerPort, hostRange string) (level, string, string) {
	var closed []string
	asked := 0
	for _, p := range ports {
		if !p.host {
			asked++
		}
		switch {
		case p.err == nil || p.host && errors.Is(p.err, syscall.ECONNREFUSED):
		case p.host:
			closed = append(closed, fmt.Sprintf("%s does not answer on host port %s", p.node, p.address))
		default:
			closed = append(closed, fmt.Sprintf("%s does not answer on its peer port %s", p.node, p.address))
		}
	}
	open := fmt.Sprintf("between the nodes of the fleet these must be open: the peer port (TCP, 7718 by default) and %s (TCP and UDP)", hostRange)
	switch {
	case asked == 0:
		return levelOK, "there is no other live node; " + open, ""
	case len(closed) == 0:
		return levelOK, fmt.Sprintf("%s, on %s", count(asked, "other node")+" answered", count(len(ports), "port")), ""
	}
	slices.Sort(closed)
	return levelWarn, strings.Join(closed, "; "), open + ". Look at firewalls on both nodes and between them"
}

// names asks the name server on the bridge, as instances do.
func (x *netExam) names(ctx context.Context) (level, string, string) {
	if x.bridge == nil {
		return levelOK, "it is started with the first instance", ""
	}
	subnet, err := netip.ParsePrefix(x.info.Subnet)
	if err != nil {
		return levelOK, "this node has no addresses for instances", ""
	}
	server := netip.AddrPortFrom(subnet.Masked().Addr().Next(), 53).String()
	took, err := askNames(ctx, server)
	if err != nil {
		return levelFail, fmt.Sprintf("the name server on %s does not answer: %v; instances find no service by name", server, err),
			"\"orpheus status --network\" says how it fares; the agent starts it again when it is restarted. A firewall on this machine may drop what comes in by " + x.info.Bridge
	}
	return levelOK, fmt.Sprintf("the name server on %s answered in %s", server, took.Round(100*time.Microsecond)), ""
}

// askNames asks for a service that there is not, over UDP: the answer must say
// that there is none.
func askNames(ctx context.Context, server string) (time.Duration, error) {
	const id = 0x6f72
	question := dnsmessage.Question{Name: dnsmessage.MustNewName("orpheus-doctor.default.orpheus.internal."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	query, err := (&dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}, Questions: []dnsmessage.Question{question}}).Pack()
	if err != nil {
		return 0, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	begun := time.Now()
	if err := conn.SetDeadline(begun.Add(nameTimeout)); err != nil {
		return 0, err
	}
	if _, err := conn.Write(query); err != nil {
		return 0, err
	}
	buffer := make([]byte, 1500)
	n, err := conn.Read(buffer)
	if err != nil {
		return 0, err
	}
	var answer dnsmessage.Message
	if err := answer.Unpack(buffer[:n]); err != nil {
		return 0, fmt.Errorf("it answers something else than DNS: %w", err)
	}
	if answer.ID != id || !answer.Response || answer.RCode != dnsmessage.RCodeNameError && answer.RCode != dnsmessage.RCodeSuccess {
		return 0, fmt.Errorf("it answers %s to a question about a service", answer.RCode)
	}
	return time.Since(begun), nil
}
