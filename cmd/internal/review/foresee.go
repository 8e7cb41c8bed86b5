package review

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// foresee has the planner run forward from the records, with the commit and
// without it.
func (b *builder) foresee() {
	b.fates, b.underWay = map[planner.ServiceID]*fate{}, map[planner.ServiceID]bool{}
	b.specs = map[planner.Revision]planner.Template{}
	if b.in.View == nil {
		b.learn()
		return
	}
	view := *b.in.View
	maps.Copy(b.specs, view.Specs)
	b.learn()
	view.Specs = b.specs
	at := planner.Time{Wall: b.in.Now}.Wall
	b.rest = planner.ForeseeAt(b.in.Before, view, at)
	b.now = planner.ForeseeAt(b.in.After, view, at)
	begun := map[planner.ServiceID]string{}
	for _, d := range b.rest.Decisions {
		id := d.Doc.Service
		b.underWay[id], begun[id] = true, cmp.Or(begun[id], d.Why)
	}
	for _, u := range b.rest.Unplaced {
		b.underWay[u.Slot.Service] = true
	}
	for _, id := range slices.SortedFunc(maps.Keys(b.underWay), planner.ServiceID.Compare) {
		b.out.UnderWay = append(b.out.UnderWay, id.String())
	}
	b.follow()
	for id, why := range begun {
		if f := b.fates[id]; f != nil {
			f.begun = why
		}
	}
	b.out.Cut = b.now.Cut
	for _, r := range b.now.Races {
		race := Race{Node: r.Node}
		for _, id := range r.Services {
			race.Services = append(race.Services, id.String())
		}
		b.out.Races = append(b.out.Races, race)
	}
	b.turns()
	b.loads()
	b.unplaced()
	for _, id := range slices.SortedFunc(maps.Keys(b.now.Waiting), planner.ServiceID.Compare) {
		b.out.Waiting = append(b.out.Waiting, Waiting{id.String(), b.now.Waiting[id]})
	}
}

// learn notes the templates of both sides.
func (b *builder) learn() {
	for _, services := range []map[planner.ServiceID]planner.Service{b.in.Before.Services, b.in.After.Services} {
		for _, s := range services {
			b.specs[s.Revision] = s.Template
			for _, h := range s.Hooks {
				b.specs[h.Revision] = h.Template
			}
		}
	}
}

// fate is what becomes of the leases of one service.
type fate struct {
	before, after map[string]planner.Lease // by slot, the last in force
	stopFirst     map[string]bool          // slots given a lease that waits for the end of another
	why           string                   // of the first decision
	begun         string                   // of the first one without the commit
	// most is how many of the slots that were there are down in one turn; turn and
	// ended count in the last one.
	most, turn, ended int
}

// follow finds the slots of all services before and after.
func (b *builder) follow() {
	of := func(id planner.ServiceID) *fate {
		f := b.fates[id]
		if f == nil {
			f = &fate{before: b.slots(*b.in.View, id), after: b.slots(b.now.View, id), stopFirst: map[string]bool{}}
			b.fates[id] = f
		}
		return f
	}
	for id := range b.in.View.Docs {
		of(id)
	}
	for _, d := range b.now.Decisions {
		f := of(d.Doc.Service)
		if f.turn != d.Turn {
			f.turn, f.ended = d.Turn, 0
		}
		f.why = cmp.Or(f.why, d.Why)
		for _, c := range event.LeaseChanges(d.Old, d.Doc) {
			if c.To != nil && c.To.StopFirst {
				f.stopFirst[c.Slot] = true
			}
			if c.From != nil && b.gap(f, c.Slot) {
				f.ended++
			}
		}
		f.most = max(f.most, f.ended)
	}
}

// slots are the leases in force of a service, those of hooks left out.
func (b *builder) slots(v planner.View, id planner.ServiceID) map[string]planner.Lease {
	out := map[string]planner.Lease{}
	for _, l := range v.Docs[id].Doc.Leases {
		if l.Hook == "" && b.in.View.InForce(l) {
			out[l.Slot] = l // the newest is last
		}
	}
	return out
}

// gap reports whether the instance of a slot ends before its successor begins.
func (b *builder) gap(f *fate, slot string) bool {
	from, was := f.before[slot]
	to, is := f.after[slot]
	if !was || !is || from.Node == to.Node && from.Revision == to.Revision {
		return false
	}
	old, known := b.specs[from.Revision]
	return f.stopFirst[slot] || !known || old.SingleWriter() || b.specs[to.Revision].SingleWriter()
}

// fate tells what becomes of the slots of a service.
func (b *builder) fate(id planner.ServiceID, out *Service) {
	f := b.fates[id]
	if f == nil {
		return
	}
	names := slices.Collect(maps.Keys(f.before))
	for slot := range f.after {
		if _, both := f.before[slot]; !both {
			names = append(names, slot)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return planner.SlotID{Name: a}.Compare(planner.SlotID{Name: b})
	})
	for _, name := range names {
		from, was := f.before[name]
		to, is := f.after[name]
		observed := b.in.After.Services[id].Observe
		s := Slot{Slot: planner.SlotID{Service: id, Name: name}.String(), Down: !observed && b.gap(f, name), Observed: observed}
		if was {
			s.From = &Place{from.Node, from.Revision}
		}
		if is {
			s.To = &Place{to.Node, to.Revision}
		}
		switch {
		case !was:
			s.Does = Appears
		case !is:
			s.Does = Goes
		case from.Node != to.Node:
			s.Does = Moves
		case from.Revision != to.Revision:
			s.Does = Restarts
		default:
			out.Stay++
			continue
		}
		out.Slots = append(out.Slots, s)
	}
	if out.Change == "" && len(out.Slots) > 0 {
		out.Change, out.Why = Moved, f.why
		if b.underWay[id] {
			out.Change, out.Why = Begun, f.begun // as it was said before the commit
		}
		out.Why = b.words(strings.TrimPrefix(out.Why, id.String()+": "))
	}
	out.Down = f.down(id, out.Slots)
}

// down says which slots are down meanwhile.
func (f *fate) down(id planner.ServiceID, slots []Slot) string {
	n := 0
	for _, s := range slots {
		if s.Down {
			n++
		}
	}
	all := len(f.before)
	switch {
	case n == 0:
		return ""
	case all == 1:
		return id.String() + " is down while its instance is replaced: the old one ends before the new one begins"
	case f.most >= all:
		return id.String() + " is down while its instances are replaced: all " + plural(all, "slot") + " end before their successors begin"
	}
	return fmt.Sprintf("%d of %d slots %s down at a time: the old instance ends before the new one begins", f.most, all, verb(f.most, "is", "are"))
}

// turns tells the decisions in order.
func (b *builder) turns() {
	for _, d := range b.now.Decisions {
		n := len(b.out.Turns)
		if n == 0 || b.out.Turns[n-1].Turn != d.Turn {
			t := Turn{Turn: d.Turn}
			if d.Paused > 0 {
				t.After = short(d.Paused)
			}
			b.out.Turns, n = append(b.out.Turns, t), n+1
		}
		last := &b.out.Turns[n-1]
		last.Steps = append(last.Steps, b.step(d))
	}
}

// step is one decision.
func (b *builder) step(d planner.Foreseen) Step {
	id := d.Doc.Service
	out := Step{Service: id.String(), Approved: d.Approved, Removed: d.Delete, Says: []string{}}
	for _, c := range event.LeaseChanges(d.Old, d.Doc) {
		change := Change{Slot: c.Slot}
		if c.From != nil {
			change.From, change.Hook = &Place{c.From.Node, c.From.Revision}, c.From.Hook.Field()
		}
		if c.To != nil {
			change.To, change.Hook = &Place{c.To.Node, c.To.Revision}, c.To.Hook.Field()
		}
		out.Changes = append(out.Changes, change)
		out.Says = append(out.Says, c.Sentence(id))
	}
	for _, t := range event.Turns(b.in.After.Services[id], d.Old, b.unnamed(d.Doc)) {
		out.Says = append(out.Says, t.String())
	}
	if len(out.Says) == 0 {
		out.Says = append(out.Says, d.Why)
	}
	return out
}

// unnamed is a document that does not name the head, where that is no commit.
func (b *builder) unnamed(doc planner.LeaseDoc) planner.LeaseDoc {
	if b.in.Head.Commit != "" {
		return doc
	}
	doc.History = slices.Clone(doc.History)
	for i, a := range doc.History {
		if a.Commit == b.in.After.Commit.Hash {
			doc.History[i].Commit = ""
		}
	}
	return doc
}

// short is a duration without what is zero at its end.
func short(d time.Duration) string {
	text := d.Round(time.Second).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if n := len(text) - len(zero) + 1; n > 1 && text[n-1:] == zero {
			text = text[:n]
		}
	}
	return text
}

// loads tells how much is asked of the nodes.
func (b *builder) loads() {
	amount := func(l planner.Load) Amount { return Amount{l.Requests, l.Instances} }
	for _, n := range append(slices.Clone(b.now.Nodes), b.now.Load) {
		b.out.Loads = append(b.out.Loads, Load{n.Node, n.Capacity, amount(n.Before), amount(n.Most), amount(n.After)})
	}
}
