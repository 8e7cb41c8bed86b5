package main

import (
	"fmt"
	"time"

	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// maxShownChanges is how many slots are named below one entry.
const maxShownChanges = 12

// drawHistory draws the entries, with what each changed if it is of one
// service.
func drawHistory(s *screen, r historyReport, one bool) {
	if len(r.Entries) == 0 {
		s.prose("", plain, plain, "No leases are recorded yet: the fleet has not been given a service.")
		return
	}
	t := table{titles: []string{"TIME", "BY", "COMMIT", "SERVICE", "WHAT"}, spare: []int{2}}
	for _, e := range r.Entries {
		what, c := e.Subject, plain
		if e.NotVerified != "" {
			c = red
			what = "not verified: " + planner.OneLine(e.NotVerified, maxShownReason)
			if e.Subject != "" {
				what += " (it says: " + e.Subject + ")"
			}
		}
		service := ""
		if !one {
			service = e.Service.String()
		}
		t.add(what, c, cell{stamp(e.Time), plain}, cell{string(e.By), plain}, cell{planner.Commit{Hash: e.Commit}.Short(), plain}, cell{service, plain})
		for _, turn := range e.Turns {
			if one || turn.Bad {
				t.below(turnColour(turn), planner.OneLine(turn.String(), maxShownReason))
			}
		}
		if one {
			for _, text := range e.told() {
				t.below(dim, text)
			}
		}
	}
	t.draw(s)
}

func turnColour(t event.Turn) colour {
	if t.Bad {
		return yellow
	}
	return plain
}

// told lists the entry's changes as sentences.
func (e historyEntry) told() []string {
	var lines []string
	for _, c := range e.Changes[:min(len(e.Changes), maxShownChanges)] {
		lines = append(lines, c.Sentence(e.Service))
	}
	if n := len(e.Changes) - maxShownChanges; n > 0 {
		lines = append(lines, fmt.Sprintf("and %s more", count(n, "slot")))
	}
	return lines
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
