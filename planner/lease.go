package planner

import "time"

// Lease is the right and duty of one node to run one slot at one revision.
type Lease struct {
	Slot     string   `json:"slot"` // SlotID.Name
	Node     NodeName `json:"node"`
	Epoch    uint64   `json:"epoch"` // of the node's record when it was given
	Token    uint64   `json:"token"` // fencing token: rises with every new lease of the document
	Revision Revision `json:"revision"`
	// Ending marks an exclusive lease whose end is asked for, not yet proven.
	Ending bool `json:"ending,omitempty"`
	// Exclusive is set when the slot may run at most once in the whole fleet.
	Exclusive *Exclusive `json:"exclusive,omitempty"`
	Unknown   Unknown    `json:"-"`
}

// Exclusive holds the two durations of an exclusive lease.
type Exclusive struct {
	Validity time.Duration `json:"validity"`
	Grace    time.Duration `json:"grace"`
}

// LeaseDoc holds all leases of one service. At rest a slot has one lease,
// during a start-first update or a move it has two. A document without leases
// stays as the memory of its tokens and pins.
type LeaseDoc struct {
	Format  int       `json:"format,omitempty"` // FormatLeases; 0 = of a node's own disk
	Service ServiceID `json:"service"`
	// Commit is the hash of the commit the document was last decided on.
	Commit string `json:"commit"`
	// Generation is that of the fleet record when it was decided: after a reset
	// of the floor a document of an older generation may be replaced from any
	// commit.
	Generation uint64   `json:"generation,omitempty"`
	By         NodeName `json:"by,omitempty"` // who decided and signed it
	Tokens     uint64   `json:"tokens"`       // highest token ever given; never lowered
	Leases     []Lease  `json:"leases,omitempty"`
	// Images pins each image reference of a revision to a digest, so that a
	// tag that moves later changes nothing.
	Images map[Revision]map[string]string `json:"images,omitempty"`
	// History holds the last revisions, newest first, at most MaxHistory.
	History []Applied `json:"history,omitempty"`
	// Blocked and LastGood belong to rollouts that stop themselves.
	Blocked  []Revision `json:"blocked,omitempty"`
	LastGood Revision   `json:"lastGood,omitempty"`
	Unknown  Unknown    `json:"-"`
}

// MaxHistory bounds LeaseDoc.History, and with it the pins that are kept.
const MaxHistory = 20

// Applied says which revision a service was given, by which commit.
type Applied struct {
	Revision Revision `json:"revision"`
	Commit   string   `json:"commit"`
}

// Phase is where an instance is in its life.
type Phase string

// The phases, in the order an instance usually goes through them.
const (
	PhasePending   Phase = "pending"
	PhasePulling   Phase = "pulling"
	PhaseStarting  Phase = "starting"
	PhaseReady     Phase = "ready"
	PhaseUnhealthy Phase = "unhealthy"
	PhaseFailed    Phase = "failed"
	PhaseStopping  Phase = "stopping"
	PhaseStopped   Phase = "stopped"
	PhaseSucceeded Phase = "succeeded"
)

// A document is cut into shards of ShardSlots numbered slots, at most MaxShards;
// named slots and everything that concerns the whole service are in shard 0.
const (
	ShardSlots = 256
	MaxShards  = 64
)
