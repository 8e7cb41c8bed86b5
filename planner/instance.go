package planner

import (
	"slices"
	"time"
)

// InstanceState is what a driver sees of an instance, nothing more.
type InstanceState string

const (
	// StatePartial: some part of it exists, but its start never completed.
	StatePartial InstanceState = "partial"
	// StateRunning: all its containers run.
	StateRunning InstanceState = "running"
	// StateExited: at least one container (or the process) has ended. Others
	// may run: see Instance.Alive.
	StateExited InstanceState = "exited"
)

// Instance is one entry of a driver's listing. Everything but State, Exit and
// Containers comes from the labels given at its start.
type Instance struct {
	ID         string           `json:"id"`
	Driver     string           `json:"driver"`
	Slot       SlotID           `json:"slot"`
	Node       NodeName         `json:"node"`
	Epoch      uint64           `json:"epoch"`
	Token      uint64           `json:"token"`
	Revision   Revision         `json:"revision"`
	State      InstanceState    `json:"state"`
	Exit       *Exit            `json:"exit,omitempty"` // set when State is StateExited
	StartedAt  time.Time        `json:"startedAt,omitzero"`
	Containers []ContainerState `json:"containers,omitempty"`
	// GracePeriod is the grace given at the start: how the instance is to be
	// stopped even when nobody knows its template any more.
	GracePeriod time.Duration `json:"gracePeriod,omitempty"`
}

// Alive reports whether anything of the instance runs or may run: when one of
// several containers has ended, the others go on.
func (i Instance) Alive() bool {
	return i.State != StateExited || slices.ContainsFunc(i.Containers, func(c ContainerState) bool { return c.State != StateExited })
}

// ContainerState is one container of an instance.
type ContainerState struct {
	Name   string `json:"name"`
	Image  string `json:"image,omitempty"`  // the reference as written
	Digest string `json:"digest,omitempty"` // what it was resolved to
	PID    int    `json:"pid,omitempty"`
	// Exposed are the ports that the image says it listens on, in order. They are
	// told for as long as the container exists, whatever became of the image; of
	// init containers there are none.
	Exposed []ImagePort   `json:"exposed,omitempty"`
	State   InstanceState `json:"state"`
	Exit    *Exit         `json:"exit,omitempty"`
}

// Exit says how a container ended.
type Exit struct {
	Container string    `json:"container,omitempty"`
	Code      int       `json:"code"`             // 128+signal when killed
	Signal    int       `json:"signal,omitempty"` // 0 = it exited by itself, or unknown
	OOM       bool      `json:"oom,omitempty"`    // the kernel killed it for memory
	At        time.Time `json:"at,omitzero"`
	// Unknown is set when the driver lost sight of it (reboot, shim killed).
	Unknown bool `json:"unknown,omitempty"`
}
