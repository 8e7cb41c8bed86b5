package planner

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Announcement is what a node tells its peers directly about its instances
// that take connections, sooner than its status reaches them through the
// repository.
type Announcement struct {
	Incarnation string `json:"incarnation"`
	// Serving rises with each change; see NodeStatus.
	Serving   uint64            `json:"serving"`
	Instances []ServingInstance `json:"instances,omitempty"`
}

// ServingInstance is an instance that takes new connections.
type ServingInstance struct {
	Slot      SlotID     `json:"slot"`
	Revision  Revision   `json:"revision"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Heard is the newest announcement of a node.
type Heard struct {
	Announcement
	// At is when it arrived, on the reader's own boot clock.
	At time.Duration
}

// RemoteInstance is an instance on another node that takes connections.
type RemoteInstance struct {
	ServingInstance
	Node NodeName
	// Address is the host of the node's address; "" = it cannot be reached, see
	// NodeRecord.Host.
	Address string
}

// MaxEndpoints bounds the endpoints of an instance.
const MaxEndpoints = 64

// Check says what is wrong with an announcement that came from outside.
func (a Announcement) Check() error {
	return all(
		given("incarnation", a.Incarnation),
		counter("serving", a.Serving, 0),
		atMost("instances", len(a.Instances), maxItems),
		each("instances", a.Instances, func(i ServingInstance) error {
			return all(in("slot", i.Slot.check()), word("revision", string(i.Revision)), checkEndpoints(i.Endpoints))
		}),
	)
}

// checkEndpoints wants ports that exist. A protocol of a later version is left
// alone: nobody here connects by it.
func checkEndpoints(endpoints []Endpoint) error {
	return all(atMost("endpoints", len(endpoints), MaxEndpoints), each("endpoints", endpoints, func(e Endpoint) error {
		return all(port("port", e.Container), port("hostPort", e.Host), word("protocol", e.Protocol))
	}))
}

func port(field string, n int) error {
	if n < 1 || n > 65535 {
		return in(field, fmt.Errorf("%d is no port", n))
	}
	return nil
}

// noNodes are addresses that no node has: broadcast, and what clouds answer on
// for the machine that asks, credentials too, beside link-local addresses.
var noNodes = []netip.Addr{
	netip.AddrFrom4([4]byte{255, 255, 255, 255}),
	netip.MustParseAddr("fd00:ec2::254"),   // Amazon
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("168.63.129.16"),   // Microsoft
	netip.MustParseAddr("100.100.100.200"), // Alibaba
}

// Host is the address at which other nodes reach the node's instances: the
// host of its own address. An invalid one comes with the reason.
func (r NodeRecord) Host() (netip.Addr, string) {
	if r.Address == "" {
		return netip.Addr{}, "it has no address where peers reach it (peer.listen is none in its configuration)"
	}
	at, err := netip.ParseAddrPort(r.Address)
	host := at.Addr().Unmap()
	switch {
	case err != nil:
		return netip.Addr{}, "its address " + quote(r.Address) + " is no IP address and port; write one in peer.address of its configuration"
	case host.IsUnspecified(), host.IsMulticast(), host.IsLinkLocalUnicast(), host.Zone() != "", slices.Contains(noNodes, host):
		return netip.Addr{}, "its address " + quote(r.Address) + " is not one that connections can be led to; write another in peer.address of its configuration"
	}
	return host, ""
}

// Reach is the address at which self reaches another node's instances. An
// invalid one comes with the reason: no node may lead what connects here to
// this machine itself.
func (v View) Reach(node NodeName) (netip.Addr, string) {
	host, why := v.Nodes[node].Record.Host()
	own, _ := v.Nodes[v.Self].Record.Host()
	switch {
	case why != "":
		return netip.Addr{}, why
	case host.IsLoopback() && !own.IsLoopback():
		return netip.Addr{}, "its address " + host.String() + " is on loopback; write another in peer.address of its configuration"
	case host == own && !own.IsLoopback():
		return netip.Addr{}, "its address " + host.String() + " is this node's own; write another in peer.address of its configuration"
	}
	return host, ""
}

// Serving are the instances on other nodes that take connections, by service,
// each list ordered by slot, node and revision. Their endpoints are good, and
// say their protocol; one whose node cannot be reached has no address. heard may
// hold announcements of any node; those of self only count for whether a service
// has instances.
//
// Of each node the newer counts of its status and what was heard of it. Some
// instances are in doubt: those of a node that was fenced or retired, those
// listed by a process of the node that is no more, those of a slot that no
// lease gives to the node. They are used only for services of which nothing
// else takes connections: a wrong fence, an agent that restarts or a lost
// document cuts nobody off, and no node can draw the connections of a service
// to itself that others run.
func Serving(v View, heard map[NodeName]Heard) map[ServiceID][]RemoteInstance {
	s := serving{v: v, leased: map[ServiceID]map[slotNode]bool{}, served: map[ServiceID]bool{}, out: map[ServiceID][]RemoteInstance{}}
	var doubted []RemoteInstance
	for _, name := range v.names() {
		if v.Nodes[name].Record.Node != name {
			continue // not read: nothing is known of it but that it is there
		}
		h, ok := heard[name]
		doubted = append(doubted, s.node(name, h, ok)...)
	}
	for _, i := range doubted {
		if id := i.Slot.Service; !s.served[id] {
			s.out[id] = append(s.out[id], i)
		}
	}
	for id := range s.out {
		slices.SortStableFunc(s.out[id], func(a, b RemoteInstance) int {
			return cmp.Or(a.Slot.Compare(b.Slot), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Revision, b.Revision))
		})
	}
	return s.out
}

// serving is the work of one Serving.
type serving struct {
	v View
	// leased holds which nodes have leases, of the services asked for so far.
	leased map[ServiceID]map[slotNode]bool
	// served are the services of which something that is not in doubt takes
	// connections and can be reached.
	served map[ServiceID]bool
	out    map[ServiceID][]RemoteInstance
}

type slotNode struct {
	slot string
	node NodeName
}

// node adds the instances of one node, and returns those in doubt.
func (s *serving) node(name NodeName, h Heard, wasHeard bool) (doubted []RemoteInstance) {
	n := s.v.Nodes[name]
	listed, current := n.listed(h, wasHeard)
	address := ""
	if host, why := s.v.Reach(name); why == "" {
		address = host.String()
	}
	for _, i := range listed {
		if i.Endpoints = usable(i.Endpoints); len(i.Endpoints) == 0 || i.Slot.check() != nil {
			continue
		}
		remote := RemoteInstance{ServingInstance: i, Node: name, Address: address}
		sure := current && n.Live() && s.hasLease(i.Slot, name)
		switch id := i.Slot.Service; {
		case sure && name == s.v.Self:
			s.served[id] = true
		case name == s.v.Self:
		case sure:
			s.served[id] = s.served[id] || address != ""
			s.out[id] = append(s.out[id], remote)
		default:
			doubted = append(doubted, remote)
		}
	}
	return doubted
}

// listed are the instances that a node says take connections, as it said last,
// and whether it was the process that runs now, as far as is known.
func (n NodeView) listed(h Heard, wasHeard bool) (list []ServingInstance, current bool) {
	same := h.Incarnation == n.Status.Incarnation
	switch {
	case !wasHeard || h.Incarnation == "":
	case same && h.Serving >= n.Status.Serving:
		return bounded(h.Instances), n.Current()
	case !same && h.Incarnation == n.Record.Incarnation, !same && h.At > n.StatusSince:
		// The record, or the time, tells which of two processes is the later one.
		return bounded(h.Instances), true
	}
	for _, i := range bounded(n.Status.Instances) {
		list = append(list, ServingInstance{Slot: i.Slot, Revision: i.Revision, Endpoints: i.Endpoints})
	}
	return list, n.Current()
}

func bounded[T any](list []T) []T { return list[:min(len(list), maxItems)] }

// usable are the endpoints that can be connected to, one for each port.
func usable(endpoints []Endpoint) []Endpoint {
	type listen struct {
		port     int
		protocol string
	}
	var good []Endpoint
	seen := map[listen]bool{}
	for _, e := range endpoints[:min(len(endpoints), MaxEndpoints)] {
		if e.Protocol == "" {
			e.Protocol = "tcp"
		}
		at := listen{e.Container, e.Protocol}
		if seen[at] || e.Protocol != "tcp" && e.Protocol != "udp" || port("", e.Container) != nil || port("", e.Host) != nil {
			continue
		}
		seen[at] = true
		good = append(good, e)
	}
	return good
}

// hasLease reports whether a lease gives the slot to the node, in force or not.
func (s *serving) hasLease(slot SlotID, node NodeName) bool {
	leased, known := s.leased[slot.Service]
	if !known {
		leased = map[slotNode]bool{}
		for _, l := range s.v.Docs[slot.Service].Doc.Leases {
			leased[slotNode{l.Slot, l.Node}] = true
		}
		s.leased[slot.Service] = leased
	}
	return leased[slotNode{slot.Name, node}]
}
