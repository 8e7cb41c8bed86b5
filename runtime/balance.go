package runtime

import (
	"context"
	"fmt"
	"strings"
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
	// their next packet.
	//
	// A LeftOutError names the fronts that do not stand, since they cannot (a
	// program of the machine listens on the port to be published, another front
	// has it, a target makes no sense); all else stands. After any other
	// error it may stand in part and is to be tried again; but an ErrInvalid that
	// is no LeftOutError changed nothing.
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

// LeftOut is a front that does not stand, and why.
type LeftOut struct {
	Front  Front
	Reason string // for people; with a remedy where there is one
}

// LeftOutError lists what Balance left out; all else stands. It is never joined
// with another error. It is an ErrInvalid, too: trying again helps only once
// something else has changed.
type LeftOutError []LeftOut

// shownLeftOut bounds the length of an error.
const shownLeftOut = 10

func (e LeftOutError) Error() string {
	var all []string
	for _, l := range e[:min(len(e), shownLeftOut)] {
		all = append(all, fmt.Sprintf("%s is left out: %s", l.Front, l.Reason))
	}
	if more := len(e) - shownLeftOut; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.ReplaceAll(strings.Join(all, "; "), "\n", " ")
}

// Is reports whether the target is ErrInvalid.
func (e LeftOutError) Is(target error) bool { return target == ErrInvalid }

// String names the front for people, on one line.
func (f Front) String() string {
	on := ""
	if f.Address != "" {
		on = fmt.Sprintf(" on %.60q", f.Address)
	}
	switch f.Kind {
	case FrontService:
		return fmt.Sprintf("port %d/%.10s%s of %s", f.Port, f.Protocol, on, f.Service)
	case FrontHost:
		return fmt.Sprintf("host port %d/%.10s%s of %s", f.Port, f.Protocol, on, f.Service)
	default:
		return fmt.Sprintf("publish port %d/%.10s%s of %s", f.Port, f.Protocol, on, f.Service)
	}
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
