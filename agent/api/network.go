package api

import "time"

// NetworkState is the answer of GET /v1/network: the node's network as it is
// when it is asked for.
type NetworkState struct {
	Bridge string `json:"bridge,omitempty"`
	// Subnet and Subnet6 are where addresses of instances are from; Subnet6 "" =
	// the node has no IPv6.
	Subnet  string `json:"subnet,omitempty"`
	Subnet6 string `json:"subnet6,omitempty"`
	MTU     int    `json:"mtu,omitempty"`
	// HostPorts is the range of the node's ports that lead to instances.
	HostPorts string `json:"hostPorts,omitempty"`
	// Attached counts the instances with a place in the network.
	Attached int `json:"attached"`
	// Error says why the network cannot work here.
	Error string   `json:"error,omitempty"`
	Notes []string `json:"notes,omitempty"`
	// ForeignRules are rules of ours in tables of other programs.
	ForeignRules []string    `json:"foreignRules,omitempty"`
	Names        *NameServer `json:"names,omitempty"` // nil = there is none
}

// NameServer is the process that answers for the names of services.
type NameServer struct {
	PID     int    `json:"pid,omitempty"`
	Version string `json:"version,omitempty"`
	// Since is when it was started.
	Since    time.Time `json:"since,omitzero"`
	Listen   []string  `json:"listen,omitempty"`
	Upstream []string  `json:"upstream,omitempty"`
	Services int       `json:"services"` // whose names it knows
	Queries  uint64    `json:"queries"`  // answered since it was started
	// Error says why names are not answered; those of before may still be.
	Error string `json:"error,omitempty"`
}
