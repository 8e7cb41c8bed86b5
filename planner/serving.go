package planner

import "time"

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
	// Address is the host of the node's address; "" = it cannot be reached.
	Address string
}
