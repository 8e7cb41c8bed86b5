package planner

import "slices"

// edit is the work on one document of a node that grants leases to itself.
type edit struct {
	view     *Alone
	followed *Followed
	service  *Service // with the revision that is wanted
	doc      LeaseDoc
	changed  bool
	prepare  []Revision // whose images are waited for

	roll     *rollout
	facts    *aloneFacts
	slots    []*aloneSlot
	stepping stepping
	pace     pace
	waits    string // what people are told
}

// aloneSlot is one slot with its leases.
type aloneSlot struct {
	name string
	// want is the revision that it is to have; "" = it gets no lease for now.
	want Revision
	// current is at that revision, old what it replaces.
	current, old *Lease
	available    bool // current is
	oldReady     bool // the instance under old is
	// begins: it changes now; ends: its old lease goes, before the new instance is
	// available.
	begins, ends bool
}

func (e *edit) coordinate() {
	before := e.doc.Leases
	e.facts = &aloneFacts{v: e.view, s: e.service}
	e.roll = newRollout(e.service, &e.doc, e.facts, e.followed.Commit.Hash)
	e.service = e.roll.s
	names := Slots(e.view.Node, e.followed.Fleet, *e.service)
	e.describe(names)
	e.count()
	e.choose(false)
	e.choose(true)
	after := make([]Lease, 0, len(before)+1)
	for _, st := range e.slots {
		after = append(after, e.slot(st)...)
	}
	e.complete(after)
	after = append(after, e.lasting(names)...)
	after = append(after, e.hooks()...)
	sortLeases(after)
	if !slices.EqualFunc(before, after, sameLease) {
		e.changed = true
	}
	if e.stepping.step > e.roll.step {
		e.doc.Step, e.changed = e.stepping.step, true
	}
	e.doc.Leases, e.changed = after, e.changed || e.roll.changed
	e.held()
	if e.changed {
		e.remember()
	}
}

// held says what holds back a change that could begin.
func (e *edit) held() {
	changes := func(st *aloneSlot) bool { return st.current == nil && st.old != nil && !st.begins }
	if e.waits != "" || !slices.ContainsFunc(e.slots, changes) {
		return
	}
	for _, st := range e.slots {
		if st.current != nil && !st.available {
			e.waits = SlotID{e.service.ID, st.name}.String() + " is not ready yet at " + st.current.Revision.Short()
			return
		}
	}
}

// remember notes what was decided on.
func (e *edit) remember() {
	rev := e.service.Revision
	if e.roll.stays {
		rev = "" // none was
	}
	remember(&e.doc, rev, e.followed.Commit.Hash)
	tidy(&e.doc, e.roll.manifest.Revision, e.facts)
}

// describe sorts the leases of the slots.
func (e *edit) describe(names []string) {
	leased := bySlot(e.roll.leases)
	turns := e.turns(names, leased)
	for _, name := range names {
		st := &aloneSlot{name: name, want: e.service.Revision}
		leases := leased[name]
		if turns != nil && !turns[name] {
			st.want = e.own(leases)
		}
		for i := range leases {
			l := &leases[i]
			switch {
			case l.Revision == st.want && (st.current == nil || l.Token > st.current.Token):
				st.current = l
			case l.Revision != st.want && (st.old == nil || e.ready(*l) && (!e.ready(*st.old) || l.Token > st.old.Token)):
				st.old = l
			}
		}
		st.available = st.current != nil && e.facts.available(*st.current)
		st.oldReady = st.old != nil && e.ready(*st.old)
		e.slots = append(e.slots, st)
	}
}

// turns says which slots are to have the wanted revision; nil = all. It notes
// what the others wait for.
func (e *edit) turns(names []string, leased map[string][]Lease) map[string]bool {
	r := e.roll
	if r.blocked != "" {
		e.waits = r.whyBlocked()
	}
	if r.stays {
		return map[string]bool{}
	}
	wanted := func(l Lease) bool { return l.Revision == e.service.Revision }
	if hold := r.holds(len(names), e.unmet); hold != "" {
		e.waits = hold
		return having(names, leased, wanted)
	}
	available := 0
	if r.stepwise() {
		available = len(having(names, leased, func(l Lease) bool { return wanted(l) && e.facts.available(l) }))
	}
	e.stepping = r.steps(len(names), available, e.view.StepSince[e.service.ID], e.view.Now)
	if e.stepping.why != "" {
		e.waits = e.stepping.why
	}
	if e.stepping.most >= len(names) {
		return nil
	}
	turns := having(names, leased, wanted)
	loses := func(name string) bool { return slices.ContainsFunc(leased[name], e.ready) }
	addTurns(turns, names, e.stepping.most, loses)
	return turns
}

// own is the revision that a slot stays at whose turn has not come; see
// survey.own.
func (e *edit) own(leases []Lease) Revision {
	var best *Lease
	for i := range leases {
		if best == nil || e.ready(leases[i]) && !e.ready(*best) {
			best = &leases[i]
		}
	}
	if best != nil {
		return best.Revision
	}
	return e.roll.beside(e.stepping)
}

// count works out what of the budget is spent.
func (e *edit) count() {
	e.pace = newPace(e.service.Update, len(e.slots))
	for _, st := range e.slots {
		if st.available || st.oldReady {
			e.pace.up++
		}
		switch {
		case st.available || e.oldAvailable(st):
			e.pace.has++
		case st.current != nil || st.old != nil:
			e.pace.down++
		}
		if st.current == nil || st.available {
			continue
		}
		if st.old != nil && !e.stopsFirst(st, *st.current) {
			e.pace.pairs++
		}
		if st.current.Revision == e.service.Revision {
			e.pace.trying++
		}
	}
	for _, st := range e.slots {
		if st.current != nil && st.old != nil && !st.available && e.stopsFirst(st, *st.current) {
			st.ends = e.pace.ends(st.oldReady, e.oldAvailable(st), e.single(st))
		}
	}
}

func (e *edit) oldAvailable(st *aloneSlot) bool { return st.old != nil && e.facts.available(*st.old) }

// choose picks the slots that change now, of those that have a ready
// instance, or those that have none to lose.
func (e *edit) choose(ready bool) {
	for _, st := range e.slots {
		if st.current != nil || st.old == nil || st.oldReady != ready || !e.prepared(st.want) {
			continue
		}
		p := e.pace
		st.ends, st.begins = p.begins(e.service.Update, true, e.single(st), ready)
		if st.begins && st.ends {
			st.begins = p.ends(ready, e.oldAvailable(st), e.single(st))
		}
		if st.begins {
			e.pace = p
		}
	}
}

// slot is what stands of a slot's leases.
func (e *edit) slot(st *aloneSlot) []Lease {
	switch {
	case st.current != nil && (st.old == nil || st.available || st.ends):
		return []Lease{*st.current}
	case st.current != nil:
		return []Lease{*st.old, *st.current}
	case st.want == "":
		return nil
	case !e.prepared(st.want):
		if !slices.Contains(e.prepare, st.want) {
			e.prepare = append(e.prepare, st.want)
		}
		if st.old != nil {
			return []Lease{*st.old}
		}
		return nil
	case st.old == nil && e.view.Short:
		return nil
	case st.old == nil:
		return []Lease{e.grant(st.name, st.want)}
	case !st.begins:
		return []Lease{*st.old}
	}
	next := e.grant(st.name, st.want)
	if st.ends {
		next.StopFirst = !e.single(st)
		return []Lease{next}
	}
	return []Lease{*st.old, next}
}

// lasting are the leases of slots that the service does not have any more which
// stand for now; see survey.lasts.
func (e *edit) lasting(names []string) (leases []Lease) {
	available := func(st *aloneSlot) bool { return st.available || st.oldReady }
	if len(names) == 0 || slices.ContainsFunc(e.slots, available) {
		return nil
	}
	for _, l := range e.roll.leases {
		t, known := e.facts.template(l.Revision)
		if known && !t.SingleWriter() && e.ready(l) && !slices.Contains(names, l.Slot) {
			leases = append(leases, l)
		}
	}
	return leases
}

// complete notes whether the rollout is through, once its leases are settled.
func (e *edit) complete(after []Lease) {
	whole := e.stepping.through && !slices.ContainsFunc(after, func(l Lease) bool {
		return l.Revision != e.service.Revision || !e.facts.available(l)
	})
	if whole {
		e.roll.completes(len(after))
	}
}

// hooks are the leases of hooks that stand, with that of the one that begins.
func (e *edit) hooks() []Lease {
	leases := hookLeases(e.doc.Leases)
	h, asked := e.roll.hookAsked()
	held := slices.ContainsFunc(e.followed.Held, func(h Held) bool { return h.Service == e.service.ID })
	switch {
	case !asked || held || e.view.Short:
	case !e.prepared(h.Revision):
		e.prepare = append(e.prepare, h.Revision)
	default:
		l := e.grant(string(e.roll.starts), h.Revision)
		l.Hook = e.roll.starts
		leases = append(leases, l)
	}
	return leases
}

func (e *edit) prepared(rev Revision) bool {
	return e.view.Prepared[RevisionKey{e.service.ID, rev}]
}

func (e *edit) ready(l Lease) bool { return e.view.Ready[LeaseKey{e.service.ID, l.Token}] }

// single reports whether the old instance of a slot may not run beside one of
// the revision that it is to have.
func (e *edit) single(st *aloneSlot) bool {
	next, known := e.facts.template(st.want)
	if !known {
		next = e.service.Template
	}
	return stopFirst(e.view.Specs, *st.old, next)
}

func (e *edit) stopsFirst(st *aloneSlot, next Lease) bool { return next.StopFirst || e.single(st) }

func (e *edit) grant(slot string, rev Revision) Lease {
	e.doc.Tokens++
	return Lease{Slot: slot, Node: e.view.Node.Name, Token: e.doc.Tokens, Revision: rev}
}

// unmet says which dependency of the service is not fulfilled; "" = all are.
func (e *edit) unmet() string {
	for _, d := range e.service.DependsOn {
		if why := e.lacks(d); why != "" {
			return "waits for " + d.Service.String() + ": " + why
		}
	}
	return ""
}

// lacks says what of a dependency is missing.
func (e *edit) lacks(d Dependency) string {
	other, is := e.followed.Services[d.Service]
	doc, known := e.view.Docs[d.Service]
	switch {
	case !is || other.Orphan:
		return "no manifest that is followed has it"
	case !RunsHere(e.view.Node, e.followed.Fleet, other):
		return "it does not run on this node, which knows of no other"
	case !known:
		return "it does not run yet"
	}
	facts := &aloneFacts{v: e.view, s: &other}
	doc = cloneDoc(doc, other.ID)
	r := newRollout(&other, &doc, facts, "")
	fulfils := facts.available
	if d.Condition == DependsStarted {
		fulfils = facts.runs
	}
	have := map[string]bool{}
	for _, l := range r.leases {
		have[l.Slot] = have[l.Slot] || (r.stays || l.Revision == r.s.Revision) && fulfils(l)
	}
	n, slots := 0, Slots(e.view.Node, e.followed.Fleet, other)
	for _, name := range slots {
		if have[name] {
			n++
		}
	}
	return d.Condition.lacks(n, len(slots), r.s)
}
