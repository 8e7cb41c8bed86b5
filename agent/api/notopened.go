package api

import (
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
)

// NotOpened is a port of a service that the node does not open, while all else
// that it balances stands.
type NotOpened struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Kind is "published", "service" (of the service's address or a slot's) or
	// "host" (for the fleet's other nodes).
	Kind     string `json:"kind"`
	Address  string `json:"address,omitempty"` // "" = all of the node
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
	Reason   string `json:"reason"` // with the remedy
	// Meant: it follows from the manifest and the kind of node; nothing is wrong.
	Meant bool `json:"meant,omitempty"`
}

// ID is the service's name as people write it.
func (n NotOpened) ID() planner.ServiceID {
	return planner.ServiceID{Namespace: n.Namespace, Name: n.Name}
}

// What is the first half of the sentence, which Reason completes: which port of
// which service is not opened.
func (n NotOpened) What() string {
	what := "port"
	if n.Kind == "host" {
		what = "host port"
	}
	where := ""
	if n.Address != "" {
		where = " on " + n.Address
	}
	return fmt.Sprintf("%s %d/%s of %s is not opened%s", what, n.Port, n.Protocol, n.ID(), where)
}

// String is a sentence for people, as it stands among a status' problems.
func (n NotOpened) String() string { return n.What() + ": " + n.Reason }
