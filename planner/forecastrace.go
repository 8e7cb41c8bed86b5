package planner

import "slices"

// Race is a node that has no room for all that changes on it, were it to change at
// once: who is quicker has it. Which slots of these services go first, and which go
// to another node instead, nobody can say for sure. Without a node it is a service
// whose slots move, and then change step by step: how long they take to move decides
// which goes first.
type Race struct {
	Node     NodeName    `json:"node,omitempty"`
	Services []ServiceID `json:"services"` // ordered
}

// races finds the nodes on which the outcome hangs on who is quicker: those that
// would not hold the most that each service ever has there in the course of the
// decisions, all at once, and those that were too full for a slot at one time, and
// would have had room for it at another. Where there are none, nobody is ever in the
// way of another, however quick each is. waited are the slots that had no place at
// first.
func (w *foresight) races(all []Foreseen, waited []Unplaced) []Race {
	r := &racing{w: w, tracks: map[NodeName]*track{}, changes: map[ServiceID]map[NodeName]ResourceList{}, asked: map[RevisionKey]needs{}}
	for _, d := range all {
		r.decides(d)
	}
	if len(r.changes) == 0 {
		return nil
	}
	for _, a := range w.away.all {
		if t := r.tracks[a.node]; t != nil {
			c := t.racer(a.service)
			c.away, c.turned = true, most(c.turned, a.asked)
			c.claim(a.claims)
		}
	}
	r.rest()
	first := map[ServiceID]bool{}
	for _, u := range waited {
		first[u.Slot.Service] = true
	}
	var out []Race
	for _, name := range w.v.names() {
		if t := r.tracks[name]; t != nil && t.hangs(w.v.Nodes[name].Record.Capacity, first) {
			out = append(out, Race{name, t.services()})
		}
	}
	if own := w.movesFirst(all); len(own) > 0 {
		out = append(out, Race{Services: own})
	}
	return out
}

// movesFirst are the services with steps that change stop-first, of which a slot
// moves at a revision that it does not keep: a slot whose old instance has not ended
// yet gives its turn to one that has none (see takeTurns).
func (w *foresight) movesFirst(all []Foreseen) (ids []ServiceID) {
	for _, d := range all {
		id := d.Doc.Service
		s := w.f.Services[id]
		if surge, _ := s.Update.Limits(max(1, s.Replicas)); len(s.Update.Steps) == 0 || surge > 0 && !s.Template.SingleWriter() {
			continue
		}
		passes := func(l Lease) bool {
			stays := func(o Lease) bool { return o.Slot == l.Slot && o.Revision == l.Revision }
			had := func(o Lease) bool { return o.Slot == l.Slot && o.Node != l.Node }
			return l.Hook == "" && !d.Old.has(l) && slices.ContainsFunc(d.Old.Leases, had) && !slices.ContainsFunc(w.v.Docs[id].Doc.Leases, stays)
		}
		if slices.ContainsFunc(d.Doc.Leases, passes) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, ServiceID.Compare)
	return slices.Compact(ids)
}

// racing is the work of races.
type racing struct {
	w      *foresight
	tracks map[NodeName]*track // of nodes on which something changes
	// changes are the services that change, with what they ask for by node.
	changes map[ServiceID]map[NodeName]ResourceList
	asked   map[RevisionKey]needs
}

// track is a node on which something changes.
type track struct {
	rest   ResourceList // what services ask for that do not change
	ports  nodePorts    // and their ports
	racers []*racer
	byID   map[ServiceID]*racer
}

// racer is a service that changes on a node, or would.
type racer struct {
	id          ServiceID
	most, least ResourceList // that it asks for
	claims      []portClaim  // all that it has at any time
	// comes: it is given a lease here. away: the node was too full for it, when it
	// asked for turned.
	comes, away bool
	turned      ResourceList
}

func (r *racing) track(name NodeName) *track {
	t := r.tracks[name]
	if t == nil {
		t = &track{ports: nodePorts{}, byID: map[ServiceID]*racer{}}
		r.tracks[name] = t
	}
	return t
}

func (t *track) racer(id ServiceID) *racer {
	c := t.byID[id]
	if c == nil {
		c = &racer{id: id}
		t.byID[id], t.racers = c, append(t.racers, c)
	}
	return c
}

func (c *racer) claim(claims []portClaim) {
	for _, p := range claims {
		if !slices.Contains(c.claims, p) {
			c.claims = append(c.claims, p)
		}
	}
}

// decides takes in one decision.
func (r *racing) decides(d Foreseen) {
	id := d.Doc.Service
	now := r.changes[id]
	if now == nil {
		now = map[NodeName]ResourceList{}
		r.changes[id] = now
		for _, l := range d.Old.Leases {
			r.begins(now, id, l)
		}
		for _, l := range d.Old.Leases {
			r.track(l.Node).racer(id).least = now[l.Node]
		}
	}
	for _, l := range d.Doc.Leases {
		if !d.Old.has(l) {
			r.begins(now, id, l).comes = true
		}
	}
	for _, l := range d.Old.Leases {
		if !d.Doc.has(l) {
			now[l.Node] = now[l.Node].minus(r.needs(id, l.Revision).asked)
			c := r.track(l.Node).racer(id)
			c.least = fewest(c.least, now[l.Node])
		}
	}
}

// begins counts one more lease of a service.
func (r *racing) begins(now map[NodeName]ResourceList, id ServiceID, l Lease) *racer {
	of, c := r.needs(id, l.Revision), r.track(l.Node).racer(id)
	now[l.Node] = now[l.Node].plus(of.asked)
	c.most = most(c.most, now[l.Node])
	c.claim(of.claims)
	return c
}

// rest counts what does not change on the nodes where something does.
func (r *racing) rest() {
	for _, id := range r.w.v.documents() {
		if r.changes[id] != nil {
			continue
		}
		for _, l := range r.w.v.Docs[id].Doc.Leases {
			t := r.tracks[l.Node]
			if t == nil {
				continue
			}
			of := r.needs(id, l.Revision)
			t.rest = t.rest.plus(of.asked)
			for _, c := range of.claims {
				t.ports.add(id, c, 1)
			}
		}
	}
}

// needs is what an instance takes.
func (r *racing) needs(id ServiceID, rev Revision) needs {
	key := RevisionKey{id, rev}
	of, known := r.asked[key]
	if !known {
		s := r.w.f.Services[id]
		t, _ := templateOf(&s, r.w.v.Specs, rev)
		of = needs{t.Asked(), s.claims(t)}
		r.asked[key] = of
	}
	return of
}

// hangs reports whether what becomes of the node hangs on who is quicker. One that
// waited for others, and is the only one to come, waits for them at any rate.
func (t *track) hangs(capacity ResourceList, waited map[ServiceID]bool) bool {
	var comers []*racer
	full, empty := t.rest, t.rest
	for _, c := range t.racers {
		full, empty = full.plus(c.most), empty.plus(c.least)
		if c.comes || c.away {
			comers = append(comers, c)
		}
	}
	if len(comers) == 0 || len(t.racers) < 2 || len(comers) == 1 && waited[comers[0].id] {
		return false
	}
	for _, c := range comers {
		if c.away && lack(capacity, empty, c.turned) == "" {
			return true
		}
	}
	return lack(capacity, ResourceList{}, full) != "" || t.clash()
}

// clash reports whether two of the services need one port at any time.
func (t *track) clash() bool {
	for i, c := range t.racers {
		if len(c.claims) == 0 {
			continue
		}
		if t.ports.taken(c.id, c.claims, nil) != "" {
			return true
		}
		for _, other := range t.racers[:i] {
			clashes := func(p portClaim) bool {
				return slices.ContainsFunc(other.claims, func(o portClaim) bool { return p.clashes(o, false) })
			}
			if slices.ContainsFunc(c.claims, clashes) {
				return true
			}
		}
	}
	return false
}

// services lists those that take part.
func (t *track) services() []ServiceID {
	var ids []ServiceID
	for _, c := range t.racers {
		ids = append(ids, c.id)
	}
	slices.SortFunc(ids, ServiceID.Compare)
	return ids
}

// turnedAway is what slots asked for on nodes that were too full for them, each
// service and node once.
type turnedAway struct {
	all   []awayFrom
	known map[awayKey]int
}

type awayKey struct {
	node    NodeName
	service ServiceID
}

type awayFrom struct {
	awayKey
	needs
}

func (t *turnedAway) add(node NodeName, id ServiceID, of needs) {
	key := awayKey{node, id}
	if i, known := t.known[key]; known {
		t.all[i].asked = most(t.all[i].asked, of.asked)
		return
	}
	if t.known == nil {
		t.known = map[awayKey]int{}
	}
	t.known[key] = len(t.all)
	t.all = append(t.all, awayFrom{key, of})
}

// fewest is the smaller of two amounts, each for itself.
func fewest(a, b ResourceList) ResourceList {
	return ResourceList{CPUMillis: min(a.CPUMillis, b.CPUMillis), MemoryBytes: min(a.MemoryBytes, b.MemoryBytes)}
}

// open are the services of which it is open which slots go first, and where: those
// that race, and, as these may go to any node, all that come to a node with them.
func (f Forecast) open() map[ServiceID]bool {
	out := map[ServiceID]bool{}
	for _, r := range f.Races {
		for _, id := range r.Services {
			out[id] = true
		}
	}
	if len(out) == 0 {
		return out
	}
	for _, d := range f.Decisions {
		for _, l := range d.Doc.Leases {
			there := func(o Lease) bool { return o.Slot == l.Slot && o.Node == l.Node }
			if !slices.ContainsFunc(d.Old.Leases, there) {
				out[d.Doc.Service] = true
			}
		}
	}
	return out
}
