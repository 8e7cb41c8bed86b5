package planner

// The ranges of service addresses where fleet.yaml names none.
const (
	DefaultServiceRange  = "10.232.0.0/16"
	DefaultServiceRange6 = "fd6f:7270:6865:7573::/112"
)

// Addresses are the places of services in the range of service addresses, by
// "namespace/name". A place is given once and stays the service's until it is
// gone; place 0, the network's own address, and the last are nobody's.
type Addresses map[string]ServiceAddress

// ServiceAddress is the place of one service in both ranges.
type ServiceAddress struct {
	At uint32 `json:"at"`
	// Slots are those of its slots, by name: the address of one instance,
	// wherever it runs.
	Slots map[string]uint32 `json:"slots,omitempty"`
}
