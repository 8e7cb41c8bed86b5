package resolver

import (
	"sync/atomic"
	"time"
)

// Health is what a name server says about itself.
type Health struct {
	PID int `json:"pid"`
	// Version is that of the program it runs: a hash of its file.
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Listening lists the addresses it answers on.
	Listening []string `json:"listening,omitempty"`
	// Services is how many it knows, and Loaded when it read them.
	Services int       `json:"services"`
	Loaded   time.Time `json:"loaded,omitzero"`
	// Faults is what keeps it from doing all its work, for people: addresses it
	// cannot listen on, a zone it cannot read, parts of one that make no sense.
	Faults []string `json:"faults,omitempty"`
	Counts Counts   `json:"counts"`
}

// Counts is what became of questions since the server started.
type Counts struct {
	Local     uint64 `json:"local"`     // answered from the zone
	Forwarded uint64 `json:"forwarded"` // to other name servers
	// Failed were forwarded or would have been, and had no answer.
	Failed  uint64 `json:"failed"`
	Refused uint64 `json:"refused"` // their source may not ask
	Limited uint64 `json:"limited"` // dropped: their source asks too often
	Invalid uint64 `json:"invalid"` // could not be read
}

type counters struct {
	local, forwarded, failed, refused, limited, invalid atomic.Uint64
}

func (c *counters) read() Counts {
	return Counts{
		Local: c.local.Load(), Forwarded: c.forwarded.Load(), Failed: c.failed.Load(),
		Refused: c.refused.Load(), Limited: c.limited.Load(), Invalid: c.invalid.Load(),
	}
}
