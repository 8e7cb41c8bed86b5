package runtime

import (
	"context"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Balancer leads connections to instances, here and on other nodes. What it was
// told last goes on while the agent is down. Every method may be repeated and
// called concurrently.
type Balancer interface {
	// Balance makes exactly this stand, in one atomic step per address family.
	// New connections to a front are spread evenly over its targets, or by the
	// client's address where it asks for that; a front without targets refuses
	// them at once. TCP connections that stand are not touched, also those to a
	// target that is listed no more; UDP flows to such a one go elsewhere with
	// their next packet. A published port that a program of the machine already
	// listens on is left out and reported (ErrInvalid); all else stands.
	Balance(ctx context.Context, b Balancing) error

	// Traffic tells of every target on another node that was sent a new TCP
	// connection or UDP flow in the last seconds whether it answered. Reading
	// it costs little, however many connections there are.
	Traffic(ctx context.Context) ([]Traffic, error)

	// Forget lets connections that still wait for the first answer of one of
	// these targets, and UDP flows to it, go elsewhere with their next packet.
	Forget(ctx context.Context, targets []Target) error
}

// Balancing is everything a node balances.
type Balancing struct {
	Fronts []Front
	// Fleet lists the addresses of the fleet's other nodes: nobody else reaches
	// fronts of kind FrontHost.
	Fleet []string
	// Services are the ranges (CIDR) of service addresses, at most one of each
	// family: connections to an address in them that is no front are refused.
	Services []string
}

// FrontKind says who reaches a front.
type FrontKind int

// The kinds.
const (
	// FrontPublished is open to the world, on the node's addresses and, from the
	// node itself, on loopback.
	FrontPublished FrontKind = iota
	// FrontService is a service address: instances of this node and the node
	// itself reach it.
	FrontService
	// FrontHost is a port of the node that leads to one instance, for the
	// fleet's other nodes.
	FrontHost
)

// Front is an address and port that connections come to, and where they lead.
type Front struct {
	Kind    FrontKind
	Service planner.ServiceID
	// Address is "" for all addresses of the node, of both families; a front of
	// kind FrontService has one.
	Address  string
	Port     int
	Protocol string // "tcp" or "udp"
	// Affinity leads all connections of a client's address to one target, and
	// moves as few clients as can be when targets come and go.
	Affinity bool
	// Targets of a family that the front has no address of are left out.
	Targets []Target
}

// Traffic is what became of new connections to one target on another node.
type Traffic struct {
	Target   Target
	Protocol string
	// Tried is how long ago the last connection was begun, at most a few
	// seconds.
	Tried time.Duration
	// Answered is how long ago the target last answered a new connection with
	// anything but a refusal, and Refused with one (TCP reset); negative = not
	// in the last seconds.
	Answered, Refused time.Duration
}

// ContainerPort is a port an instance listens on.
type ContainerPort struct {
	Port     int
	Protocol string // "tcp" or "udp"
}

// HostPorts gives instances ports of the node, for the fleet's other nodes.
type HostPorts interface {
	// HostPorts returns the port of the node for each of these ports of an
	// attached instance. They stay the same, also for another agent, until
	// Detach. ErrNotFound: it is not attached.
	HostPorts(ctx context.Context, id string, ports []ContainerPort) (map[ContainerPort]int, error)
}
