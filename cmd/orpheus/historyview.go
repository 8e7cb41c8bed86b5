package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// leaseChange is what one value of a document did to one slot: From was taken,
// To was given; both of a slot that moved or got another revision.
type leaseChange struct {
	Slot string         `json:"slot"`
	From *planner.Lease `json:"from,omitempty"`
	To   *planner.Lease `json:"to,omitempty"`
}

// leaseChanges compares two values of a document, in order of slot and token.
func leaseChanges(before, after planner.LeaseDoc) []leaseChange {
	taken := without(before.Leases, after.Leases)
	given := without(after.Leases, before.Leases)
	var out []leaseChange
	for _, to := range given {
		change := leaseChange{Slot: to.Slot, To: &to}
		if i := slices.IndexFunc(taken, func(l planner.Lease) bool { return l.Slot == to.Slot }); i >= 0 {
			from := taken[i]
			change.From, taken = &from, slices.Delete(taken, i, i+1)
		}
		out = append(out, change)
	}
	for _, from := range taken {
		out = append(out, leaseChange{Slot: from.Slot, From: &from})
	}
	slices.SortStableFunc(out, func(a, b leaseChange) int {
		return planner.SlotID{Name: a.Slot}.Compare(planner.SlotID{Name: b.Slot})
	})
	return out
}

// without lists the leases that others does not have as they are.
func without(leases, others []planner.Lease) []planner.Lease {
	type key struct {
		slot     string
		node     planner.NodeName
		epoch    uint64
		token    uint64
		revision planner.Revision
		ending   bool
	}
	of := func(l planner.Lease) key { return key{l.Slot, l.Node, l.Epoch, l.Token, l.Revision, l.Ending} }
	known := map[key]bool{}
	for _, l := range others {
		known[of(l)] = true
	}
	return slices.DeleteFunc(slices.Clone(leases), func(l planner.Lease) bool { return known[of(l)] })
}

// sentence says a change to people.
func (c leaseChange) sentence(service planner.ServiceID) string {
	slot := planner.SlotID{Service: service, Name: c.Slot}.String()
	switch {
	case c.From == nil:
		return fmt.Sprintf("%s is given to %s at %s", slot, c.To.Node, c.To.Revision.Short())
	case c.To == nil:
		return fmt.Sprintf("%s is taken from %s", slot, c.From.Node)
	case c.To.Ending && !c.From.Ending:
		return fmt.Sprintf("%s is to end on %s", slot, c.To.Node)
	}
	var what []string
	if c.From.Node != c.To.Node {
		what = append(what, fmt.Sprintf("moves from %s to %s", c.From.Node, c.To.Node))
	} else {
		what = append(what, fmt.Sprintf("on %s", c.To.Node))
	}
	switch {
	case c.From.Revision != c.To.Revision:
		what = append(what, fmt.Sprintf("goes from %s to %s", c.From.Revision.Short(), c.To.Revision.Short()))
	case c.From.Node == c.To.Node:
		what = append(what, fmt.Sprintf("is given again (epoch %d)", c.To.Epoch))
	}
	return slot + " " + strings.Join(what, " ")
}

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
		if one {
			for _, text := range e.told() {
				t.below(dim, text)
			}
		}
	}
	t.draw(s)
}

// told lists the entry's changes as sentences.
func (e historyEntry) told() []string {
	var lines []string
	for _, c := range e.Changes[:min(len(e.Changes), maxShownChanges)] {
		lines = append(lines, c.sentence(e.Service))
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
