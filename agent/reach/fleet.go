package reach

import (
	"cmp"
	"net"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Fleet is where this node may lead connections to.
type Fleet struct {
	Services map[planner.ServiceID]Service
	// Peers are the other nodes' peer addresses (host:port). A node without one
	// is never taken to be unreachable.
	Peers map[planner.NodeName]string
}

// Service is what takes new connections to one service.
type Service struct {
	// Local counts the instances on this node; they are never ejected.
	Local int
	// Remote lists those on other nodes, one entry per port. Ejected ones belong
	// to it.
	Remote []Endpoint
}

// Endpoint is one port of an instance on another node.
type Endpoint struct {
	Key
	Node planner.NodeName
}

// Key tells endpoints apart. An instance at another target is another one, of
// which nothing is known.
type Key struct {
	Slot      planner.SlotID
	Container int    // port
	Protocol  string // "tcp" or "udp"
	// Target is where this node reaches it: address and port of its node.
	Target runtime.Target
}

// Ejection is one endpoint that this node leads no connections to.
type Ejection struct {
	Since time.Time
	// Reason is in the user's words: "node b does not answer".
	Reason string
}

func (k Key) compare(o Key) int {
	return cmp.Or(k.Slot.Compare(o.Slot), cmp.Compare(k.Container, o.Container), cmp.Compare(k.Protocol, o.Protocol),
		cmp.Compare(k.Target.Address, o.Target.Address), cmp.Compare(k.Target.Port, o.Target.Port))
}

func (k Key) flow() flow { return flow{k.Target, k.Protocol} }

// port is what the share that may be ejected is counted by: a service with two
// ports has every instance twice.
func (k Key) port() port { return port{k.Slot.Service, k.Container, k.Protocol} }

type port struct {
	service   planner.ServiceID
	container int
	protocol  string
}

// flow is how the balancer names an endpoint.
type flow struct {
	target   runtime.Target
	protocol string
}

func (f flow) address() string {
	return net.JoinHostPort(f.target.Address, strconv.Itoa(f.target.Port))
}
