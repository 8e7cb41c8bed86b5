package planner

import "time"

// NodeStatus is how a node's instances fare, in status/<node>. Only the node
// writes it.
type NodeStatus struct {
	Format int      `json:"format"` // FormatStatus
	Node   NodeName `json:"node"`
	// Incarnation is that of the node's record when it was written; where the
	// two differ, everything but Ended and Refusals is of another process.
	Incarnation string `json:"incarnation"`
	// Applied is the commit the node follows, Rejected the newest it does not
	// accept.
	Applied  string          `json:"applied,omitempty"`
	Rejected *RejectedCommit `json:"rejected,omitempty"`
	// Instances lists the leases of this node, and instances that no lease
	// covers; ordered by slot, then token.
	Instances []InstanceStatus `json:"instances,omitempty"`
	// Refusals stand until their reason is gone; ordered.
	Refusals []Refusal `json:"refusals,omitempty"`
	// Images are the digests this node resolved for revisions without pins.
	Images []ResolvedImages `json:"images,omitempty"`
	// Ended promises per exclusive slot: nothing with a token up to this runs
	// here or ever will. Never lowered or dropped.
	Ended    []EndedSlot `json:"ended,omitempty"`
	Pressure []string    `json:"pressure,omitempty"` // disk, memory …: no new work
	// Failing says, in the user's words, that whatever is started on the node
	// fails: it gets no new work. "" = it does not.
	Failing string `json:"failing,omitempty"`
	// Serving counts the changes of endpoints in this process, from 1: what a node
	// tells its peers directly is compared with what it wrote by it. 0 = the
	// status does not tell them.
	Serving uint64  `json:"serving,omitempty"`
	Unknown Unknown `json:"-"`
}

// RejectedCommit says why a commit as a whole is not followed.
type RejectedCommit struct {
	Commit string `json:"commit"`
	Reason string `json:"reason"`
}

// InstanceStatus is one instance as its node reports it.
type InstanceStatus struct {
	Slot SlotID `json:"slot"`
	// Token is that of the lease that covers the instance, not its label; 0 =
	// no lease does.
	Token    uint64   `json:"token"`
	Revision Revision `json:"revision"`
	Phase    Phase    `json:"phase"`
	Reason   string   `json:"reason,omitempty"`
	Restarts int      `json:"restarts,omitempty"`
	// Prepared is set when the images are on the node although the instance
	// does not run: it waits for its predecessor to stop.
	Prepared bool `json:"prepared,omitempty"`
	// Available is set once the instance has been ready for as long as the
	// service's MinReady, counted by its node; of a service without MinReady it is
	// not told: ready is available. See View.Available.
	Available bool `json:"available,omitempty"`
	// Failing is set when the instance was not available within the service's
	// progress deadline, or failed as often as its Reschedule allows; Reason says
	// which. It goes when the instance becomes available.
	Failing bool `json:"failing,omitempty"`
	// Lapsed is set when the instance was available once under its lease, and then
	// has not been for as long as the progress deadline: it is no ground to place
	// the slot elsewhere, for what it needs may be gone for all, but one to stop a
	// rollout. It goes when the instance becomes available. Reason says why.
	Lapsed bool `json:"lapsed,omitempty"`
	// Steady is set while the instance has been available for BackoffReset without
	// a break, where its service's document says that its slot was given up
	// elsewhere (LeaseDoc.Failed): that is not held against other nodes any more.
	Steady bool `json:"steady,omitempty"`
	// Endpoints are where other nodes reach the instance, as long as it takes new
	// connections: it is ready, and its end is not decided.
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// Endpoint is where other nodes reach one port of an instance: at the address
// of its node.
type Endpoint struct {
	Container int    `json:"port"`
	Protocol  string `json:"protocol,omitempty"` // "" = tcp; or "udp"
	Host      int    `json:"hostPort"`
	// Exposed is set where the image exposes the port and the service wants such
	// ports on its address: see Service.ImagePorts.
	Exposed bool `json:"exposed,omitempty"`
}

// Refusal is a standing no of a node to a revision of a service.
type Refusal struct {
	Service  ServiceID `json:"service"`
	Revision Revision  `json:"revision"`
	Reason   string    `json:"reason"`
}

// ResolvedImages maps the image references of a revision to digests.
type ResolvedImages struct {
	Service  ServiceID         `json:"service"`
	Revision Revision          `json:"revision"`
	Images   map[string]string `json:"images"`
}

// EndedSlot is one promise about an exclusive slot.
type EndedSlot struct {
	Slot  SlotID `json:"slot"`
	Token uint64 `json:"token"`
}

// FleetRecord is what belongs to no single service or node, in fleet. Any
// coordinator writes it.
type FleetRecord struct {
	Format int `json:"format"` // FormatFleet
	// Floor is a commit below which the branch may not go back; it only moves
	// forward within a generation.
	Floor string `json:"floor,omitempty"`
	// Generation rises with every deliberate reset of the floor: agents adopt
	// the highest.
	Generation uint64 `json:"generation"`
	// Tokens is the floor of the counters of services whose document was
	// deleted: a new document begins above it.
	Tokens uint64 `json:"tokens"`
	// Addresses are the places of services in the range of service addresses.
	Addresses Addresses `json:"addresses,omitempty"`
	// By is the node that wrote and signed it.
	By      NodeName `json:"by"`
	Unknown Unknown  `json:"-"`
}

// BeatInterval is how often a node beats that peers cannot reach, before the
// fleet's budget stretches it.
const BeatInterval = 15 * time.Second
