package planner

import "time"

// Lease is the right and duty of one node to run one slot at one revision.
type Lease struct {
	Slot     string   `json:"slot"` // SlotID.Name
	Node     NodeName `json:"node"`
	Epoch    uint64   `json:"epoch"` // of the node's record when it was given
	Token    uint64   `json:"token"` // fencing token: rises with every new lease of the document
	Revision Revision `json:"revision"`
	// StopFirst: its instance does not start while an older lease of the slot is
	// in force, although both could run.
	StopFirst bool `json:"stopFirst,omitempty"`
	// Hook is set where the lease is that of a hook, in the slot of that name.
	Hook HookKind `json:"hook,omitempty"`
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
	// Blocked holds the wanted revision if its rollout has failed, BlockedWhy the
	// reason in the user's words, BlockedAt the commit that was followed then, and
	// BlockedManifest what the service's manifest was in it: see
	// Service.Fingerprint. It stays until that changes.
	Blocked         []Revision `json:"blocked,omitempty"`
	BlockedWhy      string     `json:"blockedWhy,omitempty"`
	BlockedAt       string     `json:"blockedAt,omitempty"`
	BlockedManifest string     `json:"blockedManifest,omitempty"`
	// LastGood is the last revision whose rollout was completed: what a blocked
	// one is reverted to. "" = none was.
	LastGood Revision `json:"lastGood,omitempty"`
	// Step is how many of spec.update.steps the rollout of the newest revision in
	// History has behind it.
	Step int `json:"step,omitempty"`
	// Hooks are the outcomes of hooks for the revisions in History, and for the
	// wanted one, which is not there before its hook has run; and the last
	// MaxHistory successes for others, for which they do not run again.
	Hooks []HookRun `json:"hooks,omitempty"`
	// Failed are the nodes on which slots were given up, the last MaxFailed.
	Failed  []FailedOn `json:"failed,omitempty"`
	Unknown Unknown    `json:"-"`
}

// HookRun is the outcome of a hook.
type HookRun struct {
	Kind     HookKind `json:"kind"`
	Revision Revision `json:"revision"` // of the service
	// Token is that of the lease it ran under; 0 = it was never given one.
	Token uint64 `json:"token,omitempty"`
	// Node is the one that ran it, and has what it wrote; "" = it is not known, or
	// stands alone.
	Node NodeName `json:"node,omitempty"`
	// Failed is why it failed; "" = it succeeded.
	Failed string `json:"failed,omitempty"`
	// Commit is the hash of the one on which the document was decided last before
	// the hook ended: the one with which it began, unless a slot had to be seen to
	// meanwhile. "" = it is not known.
	Commit  string  `json:"commit,omitempty"`
	Unknown Unknown `json:"-"`
}

// FailedOn says that a slot kept failing on a node and was given to another. It
// does not return at this revision until it has held elsewhere
// (InstanceStatus.Steady), unless no other node takes it. So a release that is
// bad on all nodes moves each slot to each node once.
type FailedOn struct {
	Slot     string   `json:"slot"`
	Node     NodeName `json:"node"`
	Revision Revision `json:"revision"`
	Unknown  Unknown  `json:"-"`
}

// MaxHistory bounds LeaseDoc.History, and with it the pins that are kept.
const MaxHistory = 20

// MaxFailed bounds LeaseDoc.Failed: a document has to fit its record however many
// nodes a release is bad on. What is forgotten for it may be moved there again.
const MaxFailed = 512

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
	PhaseRunning   Phase = "running" // of what runs once
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
