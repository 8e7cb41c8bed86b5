package api

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Endpoints is the answer of GET /v1/endpoints: every service that has an
// address or publishes a port, ordered by namespace and name.
type Endpoints struct {
	Node planner.NodeName `json:"node"`
	// Range and Range6 (CIDR) are those that services' addresses are from; "" =
	// none of that family.
	Range    string             `json:"range,omitempty"`
	Range6   string             `json:"range6,omitempty"`
	Balanced Balanced           `json:"balanced"`
	Services []ServiceEndpoints `json:"services"`
}

// Balanced counts what the node leads connections from and to.
type Balanced struct {
	Addresses int `json:"addresses"` // fronts of service and slot addresses, one for each port
	Published int `json:"published"` // fronts open to the world
	HostPorts int `json:"hostPorts"` // fronts for the fleet's other nodes
	Targets   int `json:"targets"`   // that the fronts lead to, in sum
	// Error says why what is wanted is not in force, since ErrorSince: what was
	// in force before goes on. A port that alone cannot be opened is none: its
	// service tells it.
	Error      string    `json:"error,omitempty"`
	ErrorSince time.Time `json:"errorSince,omitzero"`
}

// ServiceEndpoints is how connections to one service are led, seen from this
// node.
type ServiceEndpoints struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Address and Address6 are the service's addresses; "" = none (yet). The one
	// of IPv6 is told where it leads to as many instances as that of IPv4.
	Address  string   `json:"address,omitempty"`
	Address6 string   `json:"address6,omitempty"`
	Headless bool     `json:"headless,omitempty"`
	Aliases  []string `json:"aliases,omitempty"`
	// ImagePorts: the ports that images expose are ports of the address, too. They
	// come behind those that the manifest lists, as far as they are known.
	ImagePorts bool           `json:"imagePorts,omitempty"`
	Ports      []EndpointPort `json:"ports,omitempty"`
	// NotOpened are those of its ports that this node does not open.
	NotOpened []NotOpened `json:"notOpened,omitempty"`
	// Endpoints lists all instances, also those that take no connections now.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// EndpointPort is one port of a service.
type EndpointPort struct {
	Name      string `json:"name,omitempty"`
	Protocol  string `json:"protocol"`
	Container int    `json:"containerPort"`
	Port      int    `json:"port,omitempty"`      // of the service's address
	Published int    `json:"published,omitempty"` // of the nodes
	Mode      string `json:"mode,omitempty"`      // of publishing: "fleet" or "node"
	Bind      string `json:"bind,omitempty"`      // node's address it is published on; "" = all
	Image     bool   `json:"image,omitempty"`     // images expose it, the manifest does not list it
}

// Endpoint is one instance as a place to connect to.
type Endpoint struct {
	Slot string           `json:"slot"`
	Node planner.NodeName `json:"node"`
	// State is "ready", "ejected" (ready for its node, does not answer this
	// one) or "draining" (takes no new connections: not ready, or ending).
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Since is from when on it has been ejected; zero in other states.
	Since    time.Time        `json:"since,omitzero"`
	Revision planner.Revision `json:"revision,omitempty"` // "" = not known
	// Targets are address:port for each port, in the order of ports, as this
	// node reaches them; "" = that port is not reached from here.
	Targets []string `json:"targets,omitempty"`
	// SlotAddress is the address of the slot itself; "" = none.
	SlotAddress string `json:"slotAddress,omitempty"`
}

// The states of an endpoint.
const (
	EndpointReady    = "ready"
	EndpointEjected  = "ejected"
	EndpointDraining = "draining"
)

// ID is the service's name as people write it.
func (s ServiceEndpoints) ID() planner.ServiceID {
	return planner.ServiceID{Namespace: s.Namespace, Name: s.Name}
}
