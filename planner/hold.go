package planner

import (
	"fmt"
	"time"
)

// Hold is a person's order to one node to leave something alone for a while. It
// is local to the node, needs no Git, and is over at Until: nobody has to
// remember it.
//
// What is held is neither started, restarted, replaced nor stopped. With Stop
// it is stopped and stays down; with Revision it is replaced by that revision
// and then run like any other. Its leases stand meanwhile: no other node takes
// them over.
type Hold struct {
	// Slot, else Service, else the whole node is held. A more particular hold
	// goes before a more general one.
	Service ServiceID `json:"service,omitzero"`
	Slot    string    `json:"slot,omitempty"`
	Stop    bool      `json:"stop,omitempty"`
	// Revision is what the slot is to run; "" = what it runs. Only with Slot.
	Revision Revision  `json:"revision,omitempty"`
	Until    time.Time `json:"until"`
	Since    time.Time `json:"since"`
	By       string    `json:"by,omitempty"` // who ordered it, for people
	Reason   string    `json:"reason"`
}

// Target is what is held, as people name it.
func (h Hold) Target() string {
	switch {
	case h.Slot != "":
		return SlotID{h.Service, h.Slot}.String()
	case h.Service != ServiceID{}:
		return h.Service.String()
	}
	return "node"
}

// Active reports whether the hold still counts.
func (h Hold) Active(now Time) bool { return now.Wall.Before(h.Until) }

// untilForm is how the end of a hold is told.
const untilForm = "2006-01-02 15:04:05 UTC"

// String says what the hold does, until when and why.
func (h Hold) String() string {
	what := "left alone"
	switch {
	case h.Stop:
		what = "held down"
	case h.Revision != "":
		what = "held at " + h.Revision.Short()
	}
	by := h.By
	if by == "" {
		by = "a person"
	}
	return fmt.Sprintf("%s by %s until %s: %s", what, by, h.Until.UTC().Format(untilForm), h.Reason)
}

// HoldOf is the most particular active hold of a slot; of two equal ones the
// later.
func HoldOf(holds []Hold, slot SlotID, now Time) (Hold, bool) {
	var best Hold
	rank := 0
	for _, h := range holds {
		r := 0
		switch {
		case !h.Active(now):
		case h.Slot != "":
			if (SlotID{h.Service, h.Slot}) == slot {
				r = 3
			}
		case h.Service != ServiceID{}:
			if h.Service == slot.Service {
				r = 2
			}
		default:
			r = 1
		}
		if r > 0 && r >= rank {
			best, rank = h, r
		}
	}
	return best, rank > 0
}

// Suspension is the time up to which a manifest wants its service left as it
// is: no lease of it is given, moved or changed, but where its node is gone. What
// runs is kept running.
type Suspension struct {
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
}

// String says until when and why.
func (s Suspension) String() string {
	return "suspended by its manifest until " + s.Until.UTC().Format(untilForm) + ": " + s.Reason
}

// Suspended reports whether the service is suspended now.
func (s Service) Suspended(now Time) bool {
	return s.Suspend != nil && now.Wall.Before(s.Suspend.Until)
}

// bootAt is the boot time at which the wall clock will show t, if it shows now
// what it shows; at least a moment from now.
func (t Time) bootAt(wall time.Time) time.Duration {
	return t.Boot + max(wall.Sub(t.Wall), time.Millisecond)
}
