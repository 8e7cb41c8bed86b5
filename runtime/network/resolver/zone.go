package resolver

// Domain is what all names of services are below.
const Domain = "orpheus.internal"

// Zone is everything the name server knows. It is a file that the agent
// replaces whole; the server goes on with the last good one. What it cannot use
// of a zone is left out and told in Health, the rest is served.
type Zone struct {
	// Listen lists addresses ("10.231.0.1:53") to answer on, udp and tcp, at
	// most 32. They need not exist yet.
	Listen []string `json:"listen"`
	// Allow lists the networks (CIDR) of those who may ask: the bridge's. The
	// machine itself may by way of loopback and of the addresses in Listen.
	Allow []string `json:"allow,omitempty"`
	// Upstream lists the name servers ("192.0.2.53:53") that are asked for all
	// other names, in order, at most 8.
	Upstream []string `json:"upstream,omitempty"`
	// Servers is a folder where a client for which others than Upstream are asked
	// has a file, called as its address, with one of them on each line, at most 8.
	// It is read anew for each question. "" = there are none.
	Servers string `json:"servers,omitempty"`
	// Reverse lists the networks (CIDR) whose addresses nobody else has names
	// for: those of instances and of services.
	Reverse  []string  `json:"reverse,omitempty"`
	Services []Service `json:"services,omitempty"`
}

// Service is one service's names. All addresses are IPv4 or IPv6.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Addresses is what the name resolves to: the service's address or, where it
	// is headless, those of its ready slots; empty = the name exists without any
	// (no instance is ready).
	Addresses []string `json:"addresses,omitempty"`
	Headless  bool     `json:"headless,omitempty"`
	// Aliases are further names in the namespace, with all that is below the
	// service's own. One that is the name of a service, or an alias of one that is
	// listed before, is left out.
	Aliases []string `json:"aliases,omitempty"`
	// Ports are the named ports of the service's address.
	Ports []Port `json:"ports,omitempty"`
	Slots []Slot `json:"slots,omitempty"`
}

// Port is a named port.
type Port struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"` // "tcp" or "udp"
	Port     int    `json:"port"`
}

// Slot is one instance's name below that of its service: a number or, where the
// service is on every node, a node's name, which may have dots.
type Slot struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses,omitempty"`
	// Ready slots are in the answers (SRV) for a headless service. It means
	// nothing elsewhere: leave it out there, and the file changes less often.
	Ready bool `json:"ready,omitempty"`
	// Ports are those of the slot's address: container ports.
	Ports []Port `json:"ports,omitempty"`
}
