// Package api is what a node tells about itself: the types of /v1/status, the
// handler that serves them on loopback and on a unix socket, and the client
// the command line uses. Nothing in it holds a secret: values of environment
// variables, credentials and file contents have no field here.
package api

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Status is the state of one node at one instant.
type Status struct {
	Node       planner.NodeName `json:"node"`
	Version    string           `json:"version"`
	StartedAt  time.Time        `json:"startedAt"`
	Holds      []Hold           `json:"holds,omitempty"`    // orders of people that count now
	Pressure   []Pressure       `json:"pressure,omitempty"` // what the node is short of
	Repository Repository       `json:"repository"`
	Drivers    []Driver         `json:"drivers"`
	Network    *Network         `json:"network,omitempty"`
	Fleet      *Fleet           `json:"fleet,omitempty"` // nil with coordination: none
	Services   []Service        `json:"services"`
	// Faults are those for which the newest commit was refused, else those of
	// the commit in force; FaultsIn is which of them, shortened.
	Faults   []planner.Fault `json:"faults,omitempty"`
	FaultsIn string          `json:"faultsIn,omitempty"`
	// Deletions are those that wait for a person's word, of all services that the
	// node follows.
	Deletions []Deletion `json:"deletions,omitempty"`
	// Problems are sentences about the node itself that a person should read.
	Problems []string `json:"problems,omitempty"`
	// NotOpened are ports that this node does not open, ordered by service. Each
	// that is not meant is among Problems, too.
	NotOpened []NotOpened `json:"notOpened,omitempty"`
}

// Deletion is one of several services that a commit asks for and that waits for
// a person's word.
type Deletion struct {
	Approve  string   `json:"approve"` // the trailer that releases it
	Count    int      `json:"count"`
	Services []string `json:"services"` // the first of them
}

// Repository says which commit is in force and how Git fares.
type Repository struct {
	URL    string `json:"url"`              // without credentials
	Branch string `json:"branch,omitempty"` // empty = a tag or commit is followed
	// Following names what is followed: "branch main", "tag v1.4.2 of range >=1.2".
	Following string         `json:"following,omitempty"`
	Path      string         `json:"path,omitempty"`
	Applied   planner.Commit `json:"applied"` // the commit in force; no hash = none yet
	Seen      planner.Commit `json:"seen"`    // the newest commit read from the repository
	// Refused says why Seen is not in force; nothing changed for it.
	Refused string `json:"refused,omitempty"`
	// Error says why the repository cannot be read, since ErrorSince.
	Error      string    `json:"error,omitempty"`
	ErrorSince time.Time `json:"errorSince,omitzero"`
	// LastRead is when the repository last answered; zero also where it is not
	// asked: one commit is followed.
	LastRead time.Time `json:"lastRead,omitzero"`
	// Floor is the commit that what is followed must come after; of a node alone:
	// a fleet's is in Fleet.
	Floor string `json:"floor,omitempty"`
}

// Driver is one runtime driver.
type Driver struct {
	Name      string   `json:"name"`
	Version   string   `json:"version,omitempty"`
	Error     string   `json:"error,omitempty"` // why it cannot be used now
	Instances int      `json:"instances"`
	Notes     []string `json:"notes,omitempty"`
}

// Network is the node's network.
type Network struct {
	Bridge string   `json:"bridge,omitempty"`
	Subnet string   `json:"subnet,omitempty"`
	Error  string   `json:"error,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// Service is one service that runs, or is to run, on the node.
type Service struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	File      string           `json:"file,omitempty"`
	Driver    string           `json:"driver,omitempty"`
	Replicas  int              `json:"replicas"` // wanted on this node
	Ready     int              `json:"ready"`
	Revision  planner.Revision `json:"revision,omitempty"` // wanted
	Updated   int              `json:"updated"`            // slots that have it
	Commit    string           `json:"commit,omitempty"`   // its leases were last decided on
	Published []string         `json:"published,omitempty"`
	// Message says in one sentence what is waited for, or is wrong.
	Message string `json:"message,omitempty"`
	// Pulls are the images of the wanted revision that come just now. RetryAt
	// is when the next try begins after one that did not work.
	Pulls     []Pull     `json:"pulls,omitempty"`
	RetryAt   time.Time  `json:"retryAt,omitzero"`
	Approve   string     `json:"approve,omitempty"` // the trailer that releases a deletion that waits
	Instances []Instance `json:"instances"`
	// Rollout is how it stands in its whole fleet; nil = its manifest is not
	// followed.
	Rollout *Rollout `json:"rollout,omitempty"`
}

// Pull is how far the pull of one image has come.
type Pull struct {
	Image string `json:"image"`
	Done  int64  `json:"done"`  // bytes
	Total int64  `json:"total"` // bytes; 0 = not known yet
	// From is the registry or mirror it comes from.
	From string `json:"from,omitempty"`
}

// ID is the service's name as people write it.
func (s Service) ID() planner.ServiceID {
	return planner.ServiceID{Namespace: s.Namespace, Name: s.Name}
}

// Instance is one slot's instance, or the lease that waits for one.
type Instance struct {
	Slot       string            `json:"slot"`
	ID         string            `json:"id"`
	Phase      planner.Phase     `json:"phase"`
	Reason     string            `json:"reason,omitempty"`
	Token      uint64            `json:"token"`
	Revision   planner.Revision  `json:"revision"`
	Restarts   int               `json:"restarts"`
	StartedAt  time.Time         `json:"startedAt,omitzero"`
	Address    string            `json:"address,omitempty"`
	Images     map[string]string `json:"images,omitempty"` // reference → digest
	Containers []Container       `json:"containers,omitempty"`
	Probes     []Probe           `json:"probes,omitempty"`
	// LastLog is what its last run wrote last, while it is not ready again;
	// told on the unix socket only.
	LastLog []string `json:"lastLog,omitempty"`
}

// Container is one container of an instance.
type Container struct {
	Name  string        `json:"name"`
	PID   int           `json:"pid,omitempty"`
	State string        `json:"state"`
	Exit  *planner.Exit `json:"exit,omitempty"`
}
