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
	// Relay leads connections on a node that has no network of its own; nil = the
	// kernel does.
	Relay *Relay `json:"relay,omitempty"`
}

// Relay is the process that leads connections in user space, at addresses on
// loopback.
type Relay struct {
	PID int `json:"pid,omitempty"` // 0 = none runs: nothing was to be led yet, or see Faults
	// Version is that of its program: a hash of the file.
	Version string `json:"version,omitempty"`
	// Since is when it began to lead.
	Since       time.Time `json:"since,omitzero"`
	Open        int       `json:"open"`        // ports it listens on, each address by itself
	Connections int       `json:"connections"` // TCP connections that go through it now
	// Faults are what keeps it from doing its work.
	Faults []string `json:"faults,omitempty"`
}

// NameServer is the process that answers for the names of services.
type NameServer struct {
	PID int `json:"pid,omitempty"` // 0 = none answers
	// Version is that of its program: a hash of the file.
	Version string `json:"version,omitempty"`
	// Since is when it was started.
	Since    time.Time `json:"since,omitzero"`
	Listen   []string  `json:"listen,omitempty"`
	Upstream []string  `json:"upstream,omitempty"` // asked for all other names
	Services int       `json:"services"`           // whose names it knows
	// Since it was started: questions about services, those handed on, and those
	// of them that had no answer.
	Local     uint64 `json:"local"`
	Forwarded uint64 `json:"forwarded"`
	Failed    uint64 `json:"failed"`
	// Faults are what keeps it from doing all its work.
	Faults []string `json:"faults,omitempty"`
}
