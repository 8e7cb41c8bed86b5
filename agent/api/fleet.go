package api

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Fleet is the node's part in its fleet, and what it knows of the others.
type Fleet struct {
	Records    string `json:"records"` // the records' repository, without credentials
	Epoch      uint64 `json:"epoch"`
	Registered bool   `json:"registered"`
	// Unread is set as long as this process has not read the records: what the
	// others do is not known then.
	Unread bool `json:"unread,omitempty"`
	// Generation of the floor.
	Generation uint64 `json:"generation"`
	Floor      string `json:"floor,omitempty"`
	// Error says why the records cannot be read, since ErrorSince.
	Error      string      `json:"error,omitempty"`
	ErrorSince time.Time   `json:"errorSince,omitzero"`
	Nodes      []FleetNode `json:"nodes"`
	Unplaced   []Unplaced  `json:"unplaced,omitempty"` // of the services this node coordinates
	Waiting    []Waiting   `json:"waiting,omitempty"`  // why a document that needs a change gets none
	// Rollouts are those of services that nothing runs of on this node, where
	// they are under way or have failed.
	Rollouts   []*Rollout   `json:"rollouts,omitempty"`
	BadRecords []string     `json:"badRecords,omitempty"`
	Ignored    int          `json:"ignoredRefs,omitempty"`
	Requests   FleetRequest `json:"requests"`
}

// FleetRequest counts what this node asked of the records' server.
type FleetRequest struct {
	ReadsPerHour  uint64 `json:"readsPerHour"` // in the last hour
	PushesPerHour uint64 `json:"pushesPerHour"`
	Reads         uint64 `json:"reads"` // since the agent started
	Pushes        uint64 `json:"pushes"`
	Won           uint64 `json:"won"` // swaps
	Lost          uint64 `json:"lost"`
	Unknown       uint64 `json:"unknown"`
	// Poll is the time between two looks, as the fleet's budget stretches it.
	Poll time.Duration `json:"poll"`
}

// FleetNode is another node, or this one, as this one knows it.
type FleetNode struct {
	Name    planner.NodeName `json:"name"`
	State   string           `json:"state"` // live, fenced, retired
	Reason  string           `json:"reason,omitempty"`
	Address string           `json:"address,omitempty"`
	Epoch   uint64           `json:"epoch"`
	Version string           `json:"version,omitempty"`
	Applied string           `json:"applied,omitempty"`
	Probe   string           `json:"probe,omitempty"` // up, down; "" = others watch it
	// Failing says that whatever is started on it fails: it gets no new work.
	Failing string `json:"failing,omitempty"`
	Drain   bool   `json:"drain,omitempty"`
	Cordon  bool   `json:"cordon,omitempty"`
	// Abandoned: people gave it up, with the data it has.
	Abandoned bool `json:"abandoned,omitempty"`
	Ready     int  `json:"ready"`
	Leases    int  `json:"leases"`
}

// Unplaced is a slot that no node takes.
type Unplaced struct {
	Slot    string   `json:"slot"`
	Reasons []string `json:"reasons"`
}

// Waiting says why nothing is decided about a service.
type Waiting struct {
	Service string `json:"service"` // "" = all
	Reason  string `json:"reason"`
}
