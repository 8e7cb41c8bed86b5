package planner

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// docEdit is the work on one document of the fleet.
type docEdit struct {
	c       *coordination
	id      ServiceID
	view    DocView
	doc     LeaseDoc
	changed bool
	ask     bool // digests are missing
	// exhausted: the token counter cannot rise any more.
	exhausted bool
	said      []string // what happens, for the subject
	first     int      // slots that get their first lease
}

// edit brings the document of a wanted service up to date. It changes only if
// leases or pins do, or if it has to be put right.
func (e *docEdit) edit(ss *serviceState) {
	before := e.doc.Leases
	e.raiseTokens()
	e.outcomes(ss)
	after := make([]Lease, 0, len(before)+1)
	for _, st := range ss.slots {
		kept := e.slot(ss, st)
		e.told(ss, st, kept)
		e.gaveUp(ss, st, kept)
		after = append(after, kept...)
	}
	last := len(ss.extra) > 0 && e.c.sv.onlyExtra(ss)
	for _, l := range ss.extra {
		if l.Ending || l.Exclusive != nil || last && e.c.sv.lasts(ss, l) {
			after = append(after, l)
			continue
		}
		e.say(e.slotText(l.Slot) + " ends: " + e.whyExtra(ss.s, l))
	}
	after = append(after, e.hooks(ss)...)
	sortLeases(after)
	pinned := !maps.EqualFunc(e.doc.Images, ss.doc.Images, maps.Equal)
	if pinned && slices.ContainsFunc(after, func(l Lease) bool { return l.Revision == ss.s.Revision }) {
		e.changed = true
	}
	if !slices.EqualFunc(before, after, sameLease) {
		e.changed = true
	}
	e.repair()
	e.doc.Leases, e.doc.Images = after, maps.Clone(ss.doc.Images)
}

// outcomes takes over what was found of the service's rollout.
func (e *docEdit) outcomes(ss *serviceState) {
	r := ss.roll
	if r == nil {
		return
	}
	d := &ss.doc
	e.doc.Blocked, e.doc.BlockedWhy, e.doc.LastGood = slices.Clone(d.Blocked), d.BlockedWhy, d.LastGood
	e.doc.BlockedAt, e.doc.BlockedManifest = d.BlockedAt, d.BlockedManifest
	e.doc.Hooks, e.doc.Failed = slices.Clone(d.Hooks), slices.Clone(d.Failed)
	for _, what := range r.said {
		e.say(what)
	}
	e.changed = e.changed || r.changed
	if step := ss.stepping.step; step > r.step {
		e.doc.Step, e.changed = step, true
		e.say("step " + counted(step, len(ss.s.Update.Steps), "is done"))
	}
}

// hooks are the leases of hooks that stand, with that of the one that begins. It
// is pinned to what the service's revision is: a reference means one image in
// all of a release.
func (e *docEdit) hooks(ss *serviceState) []Lease {
	leases := hookLeases(ss.doc.Leases)
	h, asked := Hook{}, false
	if ss.roll != nil {
		h, asked = ss.roll.hookAsked()
	}
	e.ask = e.ask || asked && ss.pins == pinsAsked
	if st := ss.hook; st != nil && st.grant {
		ss.doc = Pin(ss.doc, h.Revision, only(unpinned(h.Template, ss.doc.Images[h.Revision]), ss.doc.Images[ss.s.Revision]))
		l := e.grant(st)
		l.Hook = HookKind(st.id.Name)
		leases = append(leases, l)
		e.say("its " + l.Hook.Field() + " hook for " + ss.s.Revision.Short() + " runs on " + string(l.Node))
	}
	return leases
}

// repair puts a garbled document back.
func (e *docEdit) repair() {
	if e.view.Broken != "" {
		e.changed = true
		e.say("put right: " + e.view.Broken)
	}
}

// slot is what stands of a slot's leases.
func (e *docEdit) slot(ss *serviceState, st *slotState) []Lease {
	switch {
	case st.fixed:
		return st.leases
	case st.cur != nil && st.available:
		return []Lease{*st.cur}
	case st.cur != nil:
		kept := append(e.outlast(ss, st, *st.cur), *st.cur)
		if st.old != nil && !st.yields {
			kept = append(kept, *st.old)
		}
		return kept
	case st.kind == slotKeeps:
		return st.leases
	}
	if !st.grant {
		e.ask = e.ask || st.node != "" && st.want == ss.s.Revision && ss.pins == pinsAsked
		kept := slices.Clone(st.void)
		if st.old != nil {
			kept = append(e.outlast(ss, st, *st.old), *st.old)
		}
		return kept
	}
	next := e.grant(st)
	kept := append(e.outlast(ss, st, next), next)
	if st.old != nil && st.kind == slotChanges {
		kept = append(kept, *st.old)
	}
	return kept
}

// maxVoid bounds the void leases that a slot keeps.
const maxVoid = 2

// outlast lists the void leases of a slot that stay beside next, until an
// instance under a lease in force is ready: a node that was fenced wrongly and
// returns in time keeps what it runs. Those that next covers, or may not run
// beside, go.
func (e *docEdit) outlast(ss *serviceState, st *slotState, next Lease) []Lease {
	for _, l := range []*Lease{st.cur, st.old} {
		if l != nil && e.c.v.Ready(st.id, *l) {
			return nil
		}
	}
	var stay []Lease
	t := e.c.sv.templateOr(ss, next.Revision)
	for _, l := range st.void {
		covered := l.Node == next.Node && l.Revision == next.Revision
		if !covered && !stopFirst(e.c.v.Specs, l, t) && !e.c.v.Nodes[l.Node].Record.Retired {
			stay = append(stay, l)
		}
	}
	return stay[max(0, len(stay)-maxVoid):]
}

// grant makes the next lease of a slot.
func (e *docEdit) grant(st *slotState) Lease {
	if e.doc.Tokens >= maxCounter {
		e.exhausted = true
		e.c.out.Waiting[e.id] = "its token counter cannot rise any more; delete the service's documents and start under another name"
		return Lease{}
	}
	e.doc.Tokens++
	return Lease{
		Slot: st.id.Name, Node: st.node, Epoch: e.c.v.Nodes[st.node].Record.Epoch,
		Token: e.doc.Tokens, Revision: st.want, StopFirst: st.stopFirst && st.kind == slotChanges,
	}
}

// raiseTokens lifts the counter above every token that may have been given:
// the document may have been deleted, garbled or lost meanwhile.
func (e *docEdit) raiseTokens() {
	t := max(e.doc.Tokens, e.c.v.Fleet.Tokens)
	for _, l := range e.doc.Leases {
		t = max(t, l.Token)
	}
	e.doc.Tokens = max(t, e.c.reported(e.id), e.c.v.Seen[e.id])
}

// decision is the document as it is written.
func (e *docEdit) decision(ss *serviceState) Decision {
	rev := ss.s.Revision
	if ss.kept || ss.roll.stays {
		rev = "" // none was decided on
	}
	remember(&e.doc, rev, e.c.f.Commit.Hash)
	if ss.roll != nil {
		tidy(&e.doc, ss.roll.manifest.Revision, ss.roll.facts)
	}
	e.stamp()
	return Decision{Doc: e.doc, Old: e.view.Doc, Why: e.subject()}
}

func (e *docEdit) stamp() {
	e.doc.Format = FormatLeases
	e.doc.By = e.c.v.Self
	e.doc.Commit = e.c.f.Commit.Hash
	e.doc.Generation = e.c.v.Fleet.Generation
}

// deleted decides the document of a service that is not followed. Only who saw
// it being deleted takes its leases back.
func (e *docEdit) deleted() (d Decision, ask, due bool) {
	commit, gone := e.c.f.Gone[e.id]
	if !gone {
		if len(e.doc.Leases) > 0 {
			e.c.out.Waiting[e.id] = "commit " + e.c.f.Commit.Short() + " does not have it, but this node never saw it being deleted"
		}
		return Decision{}, false, false
	}
	ends := func(l Lease) bool { return !l.Ending && l.Exclusive == nil }
	taken := 0
	for _, l := range e.doc.Leases {
		if ends(l) {
			taken++
		}
	}
	blocked := e.doc.endRollout()
	if len(e.doc.Leases) == 0 && e.view.Broken == "" && !blocked {
		return e.tombstone()
	}
	e.raiseTokens()
	if blocked {
		e.changed = true
		e.say("what was blocked may be tried again once it is made again")
	}
	e.doc.Leases = slices.DeleteFunc(e.doc.Leases, ends)
	if taken > 0 {
		e.changed = true
		e.say("deleted by commit " + Commit{Hash: commit}.Short() + ": " + plural(taken, "instance") + " to end")
	}
	e.repair()
	if !e.changed {
		return Decision{}, false, false
	}
	e.stamp()
	return Decision{Doc: e.doc, Old: e.view.Doc, Why: e.subject()}, false, true
}

// tombstone deletes a document that has stood empty for long enough. It is
// nobody's business but the coordinator's.
func (e *docEdit) tombstone() (d Decision, ask, due bool) {
	if e.c.all || e.c.rank(e.id) > 0 { // a forecast ends with the last lease
		return Decision{}, false, false
	}
	if at := e.view.Since + tombstoneAge; e.c.now.Boot < at {
		e.c.out.Next = earlier(e.c.out.Next, at)
		return Decision{}, false, false
	}
	e.raiseTokens()
	e.stamp()
	return Decision{Doc: e.doc, Old: e.view.Doc, Delete: true, Why: Subject(e.id.String() + ": its document goes, tokens go on above " + strconv.FormatUint(e.doc.Tokens, 10))}, false, true
}

// slotText is the slot as people read it.
func (e *docEdit) slotText(slot string) string { return SlotID{e.id, slot}.String() }

func (e *docEdit) say(what string) { e.said = append(e.said, what) }

// told notes what happens to a slot.
func (e *docEdit) told(ss *serviceState, st *slotState, kept []Lease) {
	name := e.slotText(st.id.Name)
	switch {
	case st.grant && st.kind == slotFirst:
		e.first++
	case st.grant:
		e.say(e.granted(ss, st, name))
	case st.cur != nil && st.old != nil && !slices.ContainsFunc(kept, func(l Lease) bool { return l.Token == st.old.Token }):
		how := "is ready"
		if !st.available {
			how = "takes over"
		}
		e.say(name + " at " + st.cur.Revision.Short() + " on " + string(st.cur.Node) + " " + how)
	case len(kept) < len(st.leases):
		e.dropped(st, name, kept)
	}
}

// dropped says that the slot does not run any more where it is not needed.
func (e *docEdit) dropped(st *slotState, name string, kept []Lease) {
	for _, l := range st.leases {
		if slices.ContainsFunc(kept, func(k Lease) bool { return k.Token == l.Token }) {
			continue
		}
		text := name + " at " + l.Revision.Short() + " on " + string(l.Node) + " is no longer needed"
		if !e.c.v.InForce(l) && !l.Ending {
			text += ": " + e.c.sv.voided(l)
		}
		e.say(text)
	}
}

func (e *docEdit) granted(ss *serviceState, st *slotState, name string) string {
	from := Lease{}
	switch {
	case st.old != nil:
		from = *st.old
	case len(st.void) > 0:
		from = st.void[len(st.void)-1]
	}
	what := ""
	if from.Node != st.node {
		what = " moves from " + string(from.Node) + " to " + string(st.node)
	}
	if from.Revision != st.want {
		if what != "" {
			what += " and"
		}
		what += " changes to " + st.want.Short()
	}
	if what == "" {
		what = " stays on " + string(st.node)
	}
	return name + what + ": " + st.why
}

func (e *docEdit) whyExtra(s *Service, l Lease) string {
	if s.EveryNode {
		return "not for " + l.Slot
	}
	return plural(max(0, s.Replicas), "replica") + " now"
}

// subject is the line of the audit trail.
func (e *docEdit) subject() string {
	said := e.said
	commit := e.c.f.Commit.Short()
	if e.first > 0 {
		said = slices.Insert(slices.Clone(said), 0, plural(e.first, "slot")+" at "+e.c.f.Services[e.id].Revision.Short()+" (commit "+commit+")")
	}
	switch {
	case len(said) == 0:
		said = []string{"digests of its images"}
	case len(said) > 2:
		said = append(slices.Clone(said[:2]), "and "+strconv.Itoa(len(said)-2)+" more")
	}
	return Subject(e.id.String() + ": " + strings.Join(said, "; "))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
