package event

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// LeaseChange is what one value of a lease document did to one slot: From was
// taken, To was given; both of a slot that moved or got another revision.
type LeaseChange struct {
	Slot string         `json:"slot"`
	From *planner.Lease `json:"from,omitempty"`
	To   *planner.Lease `json:"to,omitempty"`
}

// LeaseChanges compares two values of a document, in order of slot and token. A
// slot that keeps another lease, as it does until its next instance is available,
// did not leave where one is taken from it for where one is given.
func LeaseChanges(before, after planner.LeaseDoc) []LeaseChange {
	taken := without(before.Leases, after.Leases)
	given := without(after.Leases, before.Leases)
	stays := map[string]bool{}
	for _, l := range without(after.Leases, given) {
		stays[l.Slot] = true
	}
	var out []LeaseChange
	for _, to := range given {
		change := LeaseChange{Slot: to.Slot, To: &to}
		i := slices.IndexFunc(taken, func(l planner.Lease) bool {
			return l.Slot == to.Slot && (!stays[l.Slot] || l.Token == to.Token)
		})
		if i >= 0 {
			from := taken[i]
			change.From, taken = &from, slices.Delete(taken, i, i+1)
		}
		out = append(out, change)
	}
	for _, from := range taken {
		out = append(out, LeaseChange{Slot: from.Slot, From: &from})
	}
	slices.SortStableFunc(out, func(a, b LeaseChange) int {
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

// Sentence says a change to people.
func (c LeaseChange) Sentence(service planner.ServiceID) string {
	if c.From != nil && c.From.Hook != "" || c.To != nil && c.To.Hook != "" {
		return c.hookSentence()
	}
	slot := planner.SlotID{Service: service, Name: c.Slot}.String()
	switch {
	case c.From == nil:
		return fmt.Sprintf("%s is given to %s at %s", slot, c.To.Node, c.To.Revision.Short())
	case c.To == nil:
		return fmt.Sprintf("%s is taken from %s at %s", slot, c.From.Node, c.From.Revision.Short())
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

// hookSentence is about a lease under which a hook runs: its slot has the
// hook's name, and it is never moved.
func (c LeaseChange) hookSentence() string {
	if c.To != nil {
		return fmt.Sprintf("the %s hook runs on %s", c.To.Hook.Field(), c.To.Node)
	}
	return fmt.Sprintf("the %s hook on %s is over", c.From.Hook.Field(), c.From.Node)
}
