package planner

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
)

// Came is what became of a lease document since a forecast was made.
type Came struct {
	// Docs are the values that it had, oldest first. The first is the one that the
	// forecast was made from: the zero value = there was none. Those that were
	// decided on a later commit are left out, and Superseded is set for them.
	Docs       []LeaseDoc
	Superseded bool
}

// Outcome says whether a service fared as forecast.
type Outcome struct {
	Service ServiceID    `json:"service"`
	State   OutcomeState `json:"state"`
	// Planned is how many leases were to be given and taken back, Done how many of
	// those were. Where a person has to let the rollout go on, only what comes
	// before counts, and Approval is set.
	Planned  int  `json:"planned"`
	Done     int  `json:"done"`
	Approval bool `json:"approval,omitempty"`
	// Differs says in the user's words what went otherwise, at most maxDiffers.
	Differs []string `json:"differs,omitempty"`
	// Elsewhere is how many leases were as planned but for their node. Where several
	// services move at once, and not all nodes hear of a commit at the same time,
	// who is quicker may take the room.
	Elsewhere int `json:"elsewhere,omitempty"`
}

// OutcomeState is how a forecast and what came compare.
type OutcomeState string

// The states. What differs does so whatever comes later.
const (
	OutcomeMet        OutcomeState = "as planned"
	OutcomeUnderWay   OutcomeState = "under way"  // as planned so far
	OutcomeSuperseded OutcomeState = "superseded" // as planned, until a later commit took over
	OutcomeDiffers    OutcomeState = "differs"
	// OutcomeOpen: it went another way to where it was to go, and the forecast said
	// that it might. See Forecast.Races.
	OutcomeOpen OutcomeState = "left open"
)

// maxDiffers bounds what is told of one service.
const maxDiffers = 20

// Compare compares a forecast with what came, for all services of which something
// was planned or happened, in order. A service that is not in came has not changed.
//
// It compares, slot by slot, which nodes were given a lease at which revision, and
// which leases went; and for each service in which order its slots, hooks and steps
// had their turns. It does not compare what nobody promises: tokens and epochs,
// what different services do at the same time, whether several changes are written
// at once, and in which order slots that have their turn together become available.
func (f Forecast) Compare(came map[ServiceID]Came) []Outcome {
	planned, approval := f.documents()
	open := f.open()
	ids := slices.Collect(maps.Keys(planned))
	for id := range came {
		if _, is := planned[id]; !is {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, ServiceID.Compare)
	var all []Outcome
	for _, id := range ids {
		c := came[id]
		d := difference{id: id, planned: courseOf(planned[id]), came: courseOf(c.Docs)}
		if len(d.planned.turns)+len(d.planned.taken) == 0 && len(d.came.turns)+len(d.came.taken) == 0 {
			continue
		}
		out := d.outcome(c)
		out.Approval = approval[id]
		if open[id] && out.State == OutcomeDiffers && !d.fails {
			out.State = OutcomeUnderWay
			if arrived(planned[id], c.Docs) {
				out.State = OutcomeOpen
			} else if c.Superseded {
				out.State = OutcomeSuperseded
			}
		}
		all = append(all, out)
	}
	return all
}

// arrived reports whether the slots of a document came to the revisions that were
// planned, each on whichever node, and no hook runs any more.
func arrived(planned, came []LeaseDoc) bool {
	if len(came) == 0 {
		return false
	}
	end := came[0] // nothing was planned
	if n := len(planned); n > 0 {
		end = planned[n-1]
	}
	last := came[len(came)-1]
	want, got := bySlot(slotLeases(end.Leases)), bySlot(slotLeases(last.Leases))
	for _, l := range slotLeases(end.Leases) {
		if of := got[l.Slot]; len(of) != len(want[l.Slot]) || of[0].Revision != want[l.Slot][0].Revision {
			return false
		}
	}
	return len(hookLeases(last.Leases)) <= len(hookLeases(end.Leases))
}

// documents are the values of each document, the first as it was before, up to
// where a person has to approve; and the services that go on after that.
func (f Forecast) documents() (docs map[ServiceID][]LeaseDoc, approval map[ServiceID]bool) {
	docs, approval = map[ServiceID][]LeaseDoc{}, map[ServiceID]bool{}
	approved := false
	for _, d := range f.Decisions {
		id := d.Doc.Service
		approved = approved || d.Approved
		if len(docs[id]) == 0 {
			docs[id] = []LeaseDoc{d.Old}
		}
		if approved {
			approval[id] = true
			continue
		}
		docs[id] = append(docs[id], d.Doc)
	}
	return docs, approval
}

// course is what happened to a document in a number of writes.
type course struct {
	// given and taken are the leases of each slot in the order in which they came
	// and went; those that went with one write are in order of their tokens.
	given, taken map[string][]Lease
	turns        []turn // in order of writes
}

// turn is an event whose order counts: a lease that is given, or a step that is
// done.
type turn struct {
	write int
	slot  string // "" = a step
	nth   int    // lease of the slot, or step
}

func courseOf(docs []LeaseDoc) course {
	c := course{given: map[string][]Lease{}, taken: map[string][]Lease{}}
	for write := 1; write < len(docs); write++ {
		before, after := docs[write-1], docs[write]
		for _, l := range after.Leases {
			if !before.has(l) {
				c.given[l.Slot] = append(c.given[l.Slot], l)
				c.turns = append(c.turns, turn{write, l.Slot, len(c.given[l.Slot])})
			}
		}
		for _, l := range before.Leases {
			if !after.has(l) {
				c.taken[l.Slot] = append(c.taken[l.Slot], l)
			}
		}
		for step := before.Step + 1; step <= after.Step; step++ {
			c.turns = append(c.turns, turn{write, "", step})
		}
	}
	return c
}

// has reports whether a lease stands in the document.
func (d LeaseDoc) has(l Lease) bool {
	return slices.ContainsFunc(d.Leases, func(o Lease) bool { return o.Token == l.Token && o.Slot == l.Slot })
}

// leases counts those that are given and taken.
func (c course) leases() int {
	n := 0
	for _, slots := range []map[string][]Lease{c.given, c.taken} {
		for _, leases := range slots {
			n += len(leases)
		}
	}
	return n
}

// difference compares what was planned for a service with what came.
type difference struct {
	id            ServiceID
	planned, came course
	done          int
	elsewhere     int
	said          []string
	more          int
	fails         bool // a revision was blocked
}

func (d *difference) outcome(c Came) Outcome {
	slots := slices.Concat(slices.Collect(maps.Keys(d.planned.given)), slices.Collect(maps.Keys(d.planned.taken)),
		slices.Collect(maps.Keys(d.came.given)), slices.Collect(maps.Keys(d.came.taken)))
	slices.SortFunc(slots, compareSlotNames)
	for _, slot := range slices.Compact(slots) {
		d.leases(slot, d.planned.given[slot], d.came.given[slot], givenWords)
		d.leases(slot, d.planned.taken[slot], d.came.taken[slot], takenWords)
	}
	if len(d.said) == 0 {
		d.order()
	}
	d.blocked(c.Docs)
	if d.more > 0 {
		d.said = append(d.said, "and "+strconv.Itoa(d.more)+" more")
	}
	out := Outcome{Service: d.id, Planned: d.planned.leases(), Done: d.done, Differs: d.said, Elsewhere: d.elsewhere}
	switch {
	case len(d.said) > 0:
		out.State = OutcomeDiffers
	case out.Done == out.Planned && len(d.came.turns) >= len(d.planned.turns):
		out.State = OutcomeMet
	case c.Superseded:
		out.State = OutcomeSuperseded
	default:
		out.State = OutcomeUnderWay
	}
	return out
}

// words say what was to become of a lease, and what did.
type words struct{ planned, came string }

var (
	givenWords = words{"was to be given to ", "was given to "}
	takenWords = words{"was to end on ", "ended on "}
)

// leases compares the leases of a slot that were to be given, or taken, with those
// that were.
func (d *difference) leases(slot string, planned, came []Lease, say words) {
	name := SlotID{d.id, slot}.String()
	for i, l := range came {
		switch {
		case i >= len(planned):
			d.say(name + " " + say.came + placeOf(l) + ", which was not planned")
		case l.Node != planned[i].Node || l.Revision != planned[i].Revision:
			if l.Revision == planned[i].Revision {
				d.elsewhere++
			}
			d.say(name + " " + say.planned + placeOf(planned[i]) + ", and " + say.came + placeOf(l))
		default:
			d.done++
		}
	}
}

func placeOf(l Lease) string { return string(l.Node) + " at " + l.Revision.Short() }

// order compares the order of turns: what was to come after something must not
// have come before it.
func (d *difference) order() {
	writes := map[turn]int{}
	for _, t := range d.planned.turns {
		writes[turn{0, t.slot, t.nth}] = t.write
	}
	last, latest := turn{}, 0 // the turn planned latest of those that came in writes before
	pending, pendingLatest := turn{}, 0
	write := 0
	for _, t := range d.came.turns {
		if t.write != write {
			write, last, latest = t.write, pending, pendingLatest
		}
		planned, is := writes[turn{0, t.slot, t.nth}]
		switch {
		case !is:
			d.say(d.turnText(t) + ", which was not planned")
			continue
		case planned < latest:
			d.say(d.turnText(t) + " after " + d.turnText(last) + ", which was to come later")
		}
		if planned > pendingLatest {
			pending, pendingLatest = t, planned
		}
	}
}

func (d *difference) turnText(t turn) string {
	if t.slot == "" {
		return "step " + strconv.Itoa(t.nth) + " was done"
	}
	return SlotID{d.id, t.slot}.String() + " had its turn"
}

// blocked says that a revision was blocked: no forecast has one fail.
func (d *difference) blocked(docs []LeaseDoc) {
	for i := 1; i < len(docs); i++ {
		for _, rev := range docs[i].Blocked {
			if !docs[i-1].IsBlocked(rev) {
				d.fails = true
				d.say(rev.Short() + " is blocked: " + cmp.Or(docs[i].BlockedWhy, "its rollout failed"))
			}
		}
	}
}

func (d *difference) say(what string) {
	if len(d.said) == maxDiffers {
		d.more++
		return
	}
	d.said = append(d.said, OneLine(what, maxReason))
}
