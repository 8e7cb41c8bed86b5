package event

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// LogAlone is LogDecision on a node that decides for itself alone: what changes
// is told in the words of its services, for nobody there knows of leases, or of
// another node. s is the service as it is followed; the zero value = it is not.
func LogAlone(log *slog.Logger, s planner.Service, before, after planner.LeaseDoc) {
	logTurns(log, s, before, after)
	d := aloneDecision{s: s, before: before, after: after}
	for _, c := range LeaseChanges(before, after) {
		d.add(c)
	}
	if reason := d.sentence(); reason != "" {
		log.LogAttrs(context.Background(), slog.LevelInfo, "change decided",
			append(about(after.Service, d.slots), slog.String("reason", reason), slog.String("commit", planner.Commit{Hash: after.Commit}.Short()))...)
	}
}

// aloneDecision is what a new value of a document means on a node alone.
type aloneDecision struct {
	s             planner.Service
	before, after planner.LeaseDoc
	slots         []string // by name, in order
	said          []saying // in order
}

// saying is one thing that happens to slots for one reason.
type saying struct {
	slots           []string
	verb, what, why string // "starts", "at r1-…"
}

// add takes in the change of one slot. The outcome of a hook is a Turn.
func (d *aloneDecision) add(c LeaseChange) {
	switch {
	case c.To != nil && c.To.Hook != "":
		d.say(c.Slot, "runs", "", "it is the "+c.To.Hook.Field()+" hook of "+d.s.Revision.Short())
	case c.From != nil && c.From.Hook != "":
	case c.To != nil:
		from := c.From
		if from == nil {
			from = d.had(c.Slot)
		}
		if from == nil || from.Revision == c.To.Revision {
			d.say(c.Slot, "starts", "at "+c.To.Revision.Short(), d.whyStarts(c.To.Revision))
			return
		}
		d.say(c.Slot, "changes", "from "+from.Revision.Short()+" to "+c.To.Revision.Short(), d.whyRevision(c.To.Revision))
	default:
		d.taken(*c.From)
	}
}

// taken is about a lease that nothing takes the place of in this value.
func (d *aloneDecision) taken(from planner.Lease) {
	i := slices.IndexFunc(d.after.Leases, func(l planner.Lease) bool { return l.Slot == from.Slot })
	switch {
	case i < 0:
		d.say(from.Slot, "ends", "", d.whyEnds())
	case d.after.Leases[i].Token > from.Token:
		d.say(from.Slot, "leaves", from.Revision.Short(), d.after.Leases[i].Revision.Short()+" takes over")
	default:
		d.say(from.Slot, "leaves", from.Revision.Short(), "it stays at "+d.after.Leases[i].Revision.Short())
	}
}

// had is the lease of a slot that its new one is beside; nil = it had none.
func (d *aloneDecision) had(slot string) *planner.Lease {
	i := slices.IndexFunc(d.before.Leases, func(l planner.Lease) bool { return l.Slot == slot })
	if i < 0 {
		return nil
	}
	return &d.before.Leases[i]
}

// whyStarts says why a slot that ran nothing gets a revision.
func (d *aloneDecision) whyStarts(rev planner.Revision) string {
	switch {
	case d.s.Orphan:
		return "it was found running"
	case rev != d.s.Revision || topRevision(d.before) != rev:
		return d.whyRevision(rev)
	case d.s.EveryNode || len(d.before.Leases) == 0:
		return "it is to run here"
	}
	return replicasNow(d.s)
}

// whyRevision says why a slot gets a revision instead of another, or of none.
func (d *aloneDecision) whyRevision(rev planner.Revision) string {
	if blocked := d.after.Blocked; len(blocked) > 0 && rev == d.after.LastGood {
		return blocked[0].Short() + " is blocked"
	}
	if rev != d.s.Revision {
		return "its turn to change has not come"
	}
	commit := planner.Commit{Hash: cmp.Or(d.after.BroughtBy(rev), d.after.Commit)}.Short()
	if topRevision(d.before) == "" {
		return "commit " + commit + " asks for it"
	}
	return "commit " + commit + " changed it"
}

// whyEnds says why a slot ends.
func (d *aloneDecision) whyEnds() string {
	switch {
	case d.s.ID.Name == "":
		return "commit " + planner.Commit{Hash: d.after.Commit}.Short() + " does not have its service"
	case len(d.after.Leases) == 0 && (d.s.EveryNode || d.s.Replicas > 0):
		return "it is not to run here"
	}
	return replicasNow(d.s)
}

func replicasNow(s planner.Service) string {
	if s.Replicas == 1 {
		return "1 replica now"
	}
	return fmt.Sprintf("%d replicas now", max(0, s.Replicas))
}

// say notes what happens to a slot, with the others of which the same is said.
func (d *aloneDecision) say(slot, verb, what, why string) {
	d.slots = append(d.slots, slot)
	i := slices.IndexFunc(d.said, func(x saying) bool { return x.verb == verb && x.what == what && x.why == why })
	if i < 0 {
		i = len(d.said)
		d.said = append(d.said, saying{verb: verb, what: what, why: why})
	}
	d.said[i].slots = append(d.said[i].slots, slot)
}

// sentence tells all that happens.
func (d *aloneDecision) sentence() string {
	var parts []string
	for _, x := range d.said {
		text := planner.SlotID{Service: d.after.Service, Name: x.slots[0]}.String() + " " + x.verb
		if n := len(x.slots); n > 1 {
			text = fmt.Sprintf("%d slots %s", n, strings.TrimSuffix(x.verb, "s"))
		}
		if x.what != "" {
			text += " " + x.what
		}
		parts = append(parts, text+": "+x.why)
	}
	return strings.Join(parts, "; ")
}
