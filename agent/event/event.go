package event

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Event is one thing that happened.
type Event struct {
	// Seq rises by one with each event of the node, across restarts.
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Level   string    `json:"level"` // info, warn, error
	What    string    `json:"what"`
	Service string    `json:"service,omitempty"` // "web", "shop/web"
	Slot    string    `json:"slot,omitempty"`    // "web-0"
	Slots   []string  `json:"slots,omitempty"`   // where it is about several of a service
	Action  string    `json:"action,omitempty"`
	Reason  string    `json:"reason,omitempty"` // in the user's words; an error's text
	// Detail holds what else is known, as "name=value" in the order it was given.
	Detail []string `json:"detail,omitempty"`
}

const (
	maxText    = 1000
	maxDetails = 16
	maxSlots   = 16
)

// About reports whether the event is about a service or slot, as people call
// it; "" is all there is. The default namespace may be named.
func (e Event) About(target string) bool {
	if target == "" {
		return true
	}
	called := planner.ParseServiceID(target).String()
	return e.Service == called || e.Slot == called || slices.Contains(e.Slots, called)
}

// fromRecord makes an event of a line of the log.
func fromRecord(r slog.Record, before []slog.Attr) Event {
	e := Event{At: r.Time, Level: strings.ToLower(r.Level.String()), What: planner.OneLine(r.Message, maxText)}
	for _, a := range before {
		e.add(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		e.add(a)
		return true
	})
	return e
}

func (e *Event) add(a slog.Attr) {
	v := a.Value.Resolve()
	text := planner.OneLine(v.String(), maxText)
	switch known := v.Any().(type) {
	case []planner.SlotID:
		for _, slot := range known[:min(len(known), maxSlots)] {
			e.Slots = append(e.Slots, planner.OneLine(slot.String(), maxText))
		}
		return
	case planner.SlotID:
		text = planner.OneLine(known.String(), maxText)
		if e.Service == "" {
			e.Service = planner.OneLine(known.Service.String(), maxText)
		}
	case planner.ServiceID:
		text = planner.OneLine(known.String(), maxText)
	case error:
		text = planner.OneLine(known.Error(), maxText)
	case fmt.Stringer:
		text = planner.OneLine(known.String(), maxText)
	}
	switch a.Key {
	case "node": // it is always this one
	case "service":
		e.Service = text
	case "slot":
		e.Slot = text
	case "action":
		e.Action = text
	case "reason", "err":
		if e.Reason != "" {
			text = e.Reason + ": " + text
		}
		e.Reason = planner.OneLine(text, maxText)
	default:
		if len(e.Detail) < maxDetails {
			e.Detail = append(e.Detail, a.Key+"="+text)
		}
	}
}
