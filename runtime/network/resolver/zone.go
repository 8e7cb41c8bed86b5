package resolver

// Zone is everything the name server knows. It is a file that the agent
// replaces whole; the server goes on with the last good one.
type Zone struct {
	// Listen lists addresses ("10.231.0.1:53") to answer on, udp and tcp.
	Listen []string `json:"listen"`
	// Upstream lists the name servers ("192.0.2.53:53") that are asked for all
	// other names, in order.
	Upstream []string  `json:"upstream,omitempty"`
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

// Slot is one instance's name below that of its service.
type Slot struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses,omitempty"`
	// Ready slots are in the answers for a headless service.
	Ready bool `json:"ready,omitempty"`
	// Ports are those of the slot's address: container ports.
	Ports []Port `json:"ports,omitempty"`
}
