// Package fleet is one node's part in the fleet: what it knows of the records,
// and what it is to do about them.
//
// A Member is a state machine without goroutines, clock or I/O. Its owner
// tells it what happened (Listed, Read, Pushed, Heard, Followed, Report …),
// asks it what to do (Step), does that, and tells it the outcome. Everything a
// Member decides follows from what it was told and from its Config, in the
// order it was told: a run can be replayed exactly. The agent owns one and
// feeds it from its loop; the simulation owns dozens.
package fleet

import (
	"log/slog"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// Config is what a member is made of.
type Config struct {
	// Self is what the node says of itself: name, key, life, address, capacity,
	// labels, drivers. Epoch, Since, Incarnation and Salt are the member's.
	Self planner.NodeRecord
	// Sign signs a part of a record; Verify returns the key (in the form of
	// NodeRecord.Key) whose signature it is.
	Sign   func(ref planner.Ref, body string) (signature string, err error)
	Verify func(ref planner.Ref, body, signature string) (key string, err error)
	// Random makes names that never repeat, and jitter; seeded in simulations.
	Random func() uint64
	// Atomic is set when the remote can change several refs at once.
	Atomic bool
	Log    *slog.Logger
}

// Memory is what must survive a restart of the process: it is on disk before
// anything is pushed or acted on (Todo.Save). Its JSON form is the file's.
type Memory struct {
	// Epochs, Tokens, Generation and FleetTokens are the highest ever seen, by
	// which a server restored from a backup is known.
	Epochs      map[planner.NodeName]uint64 `json:"epochs,omitempty"`
	Tokens      []DocTokens                 `json:"tokens,omitempty"`
	Generation  uint64                      `json:"generation,omitempty"`
	FleetTokens uint64                      `json:"fleetTokens,omitempty"`
	// Epoch is that of the leases that were last in force here, Docs the last
	// verified documents that name this node: what runs on without Git.
	Epoch uint64             `json:"epoch,omitempty"`
	Docs  []planner.LeaseDoc `json:"docs,omitempty"`
	// Keys are those under which the nodes' names were first seen.
	Keys map[planner.NodeName]string `json:"keys,omitempty"`
}

// DocTokens is the highest token seen of a service.
type DocTokens struct {
	Service planner.ServiceID `json:"service"`
	Tokens  uint64            `json:"tokens"`
}

// Todo is what the owner is to do now. Of List, Read and Push each at most one
// is under way at a time: the member asks for the next only after it was told
// the outcome.
type Todo struct {
	// Save asks for Memory to be on disk before Push is sent and before the
	// result of Duties is acted on.
	Save bool
	List bool
	Read map[planner.Ref]planner.Hash
	Push *gitsync.Push
	// Poke lists nodes to be told to look now.
	Poke []planner.NodeName
	// Resolve lists revisions whose image digests are asked for; the owner
	// answers with Resolved, once each.
	Resolve []planner.RevisionKey
	// Specs lists commits whose manifests are needed to know the templates of
	// leases; the owner answers with Specs.
	Specs []string
	// Watch lists all nodes to be probed by peers from now on.
	Watch []Peer
	// Next is the boot time of the next Step although nothing happens.
	Next time.Duration
}

// Peer is a node as its peers reach it.
type Peer struct {
	Node    planner.NodeName
	Address string
	Key     string
}

// Sighting is what a probe of a peer showed. The owner tells every change.
type Sighting struct {
	Node     planner.NodeName
	State    planner.ProbeState
	Suspects []planner.NodeName // whom that node cannot reach
	Blind    bool               // it cannot read the repository
}
