package planner

import (
	"slices"
	"time"
)

// Decision is one lease document as it is to become.
type Decision struct {
	Doc LeaseDoc
	// Old is the document it was decided from; the zero value = there is none.
	// A new document may only land while the fleet record is the one that was
	// read: its ref is as empty after a deletion as before the first document,
	// and a node that slept over both would give tokens a second time.
	Old LeaseDoc
	// Delete asks for the document to go, and for the floor of the tokens in
	// the fleet record to be at least Doc.Tokens in the same atomic push.
	Delete bool
	// Why is the subject of the record.
	Why string
}

// Decisions is the outcome of Coordinate.
type Decisions struct {
	Docs []Decision // ordered by service
	// Resolve lists the revisions whose image digests must be known before any
	// slot can have them, ordered.
	Resolve []RevisionKey
	// Unplaced lists the slots that no node takes, of the services self
	// coordinates, ordered.
	Unplaced []Unplaced
	// Next is the boot time at which to decide again although nothing changed;
	// Never if there is nothing to wait for.
	Next time.Duration
	// Waiting says for which services nothing is decided although something
	// may be to do, and why. The zero ServiceID stands for all services.
	Waiting map[ServiceID]string
}

const (
	// standInStep is how much longer each next node in rank waits before it
	// writes a document that another should have written.
	standInStep = 10 * time.Second
	// standInFew is the same where pushes are few: the one before may be waiting
	// for the budget of a minute.
	standInFew = time.Minute
	// tombstoneAge is how long a document without leases stays after its
	// service was deleted.
	tombstoneAge = 10 * time.Minute
	// brokenPatience is how long a document that cannot be read is left alone:
	// it may be signed by a node whose record is still to be seen, and to
	// replace it would lower its tokens. As long a torn one is: the record that
	// belongs to its lease may be still to be seen.
	brokenPatience = time.Minute
	// newerPatience is how long a node that sees others further decides nothing on
	// its own commit but to replace what was lost: as long as it takes to fetch, and
	// more.
	newerPatience = 30 * time.Second
	// maxReported bounds the tokens that are believed to a status: no node may
	// use up the counter of a service.
	maxReported = maxCounter / 2
)

// Coordinate decides the lease documents that are self's to write: those of
// the services it coordinates, and those it stands in for because they are
// invalid and stayed so (design L7). What it decides rests on values alone:
// two nodes that know the same decide the same.
//
// A slot with nothing in force gets a lease at once. What runs is changed within
// the disruption budget of its service (see pace): a new revision, a move away
// from a node that it may not be on, or on which it keeps failing. The new lease
// stands beside the old one until its instance is available or, where the two
// may not run at once, until its node has the images. A new revision waits for
// what the service depends on, for its hooks and its steps; one that fails is
// blocked, and the last good one wanted instead (see rollout).
func Coordinate(f Followed, v View, now Time) Decisions {
	c := &coordination{f: f, v: v, now: now, out: Decisions{Waiting: map[ServiceID]string{}}}
	if why := c.barred(); why != "" {
		c.out.Waiting[ServiceID{}] = why
		return c.out
	}
	return c.decisions()
}

func (c *coordination) decisions() Decisions {
	c.sv = surveyBut(c.f, c.v, c.now, c.still)
	c.sv.away = c.away
	c.sv.place()
	c.findNewer()
	for id, at := range c.still {
		if at.waits != "" {
			c.out.Waiting[id] = at.waits
		}
	}
	for _, id := range c.ids() {
		s, ok := c.f.Services[id]
		if ok && s.Suspended(c.now) {
			c.out.Waiting[id] = s.Suspend.String()
			if !c.all { // a forecast does not wait for it
				c.out.Next = earlier(c.out.Next, c.now.bootAt(s.Suspend.Until))
			}
		}
		c.service(id)
	}
	for _, u := range c.sv.unplaced() {
		if c.rank(u.Slot.Service) == 0 {
			c.out.Unplaced = append(c.out.Unplaced, u)
		}
	}
	return c.out
}

// ids lists the services that something is to be decided of, in order.
func (c *coordination) ids() []ServiceID {
	ids := make([]ServiceID, 0, len(c.v.Docs))
	for id := range c.v.Docs {
		if _, still := c.still[id]; !still && !c.f.Services[id].Orphan {
			ids = append(ids, id)
		}
	}
	for _, ss := range c.sv.services {
		if !ss.known {
			ids = append(ids, ss.id)
		}
	}
	slices.SortFunc(ids, ServiceID.Compare)
	return ids
}

// coordination is the work of one Coordinate.
type coordination struct {
	f   Followed
	v   View
	now Time
	// all: self stands for every coordinator at once, in a forecast. still are
	// the services of which nothing is decided any more.
	all   bool
	still map[ServiceID]stillness
	// away notes for a forecast what nodes were too full for; nil = nothing is noted.
	away  *turnedAway
	sv    *survey
	ranks map[ServiceID]int
	// newer is a commit that others follow, which comes after the one that is followed
	// here or is not known; "" = none is, or it was waited for long enough.
	newer      string
	newerUntil time.Duration
	// tokens holds the highest token reported by service; nil = not looked yet.
	tokens map[ServiceID]uint64
	out    Decisions
}

// barred says why self decides nothing at all.
func (c *coordination) barred() string {
	self := c.v.Nodes[c.v.Self]
	switch {
	case c.v.Alarm != "":
		return c.v.Alarm
	case c.f.Commit.Hash == "":
		return "no commit is followed yet"
	case !self.Live():
		return "this node is not registered, or was fenced or retired"
	}
	floor := c.v.Fleet.Floor
	if relation, known := c.v.Relations[floor]; known && floor != c.f.Commit.Hash && !relation.older() {
		return "commit " + c.f.Commit.Short() + " does not descend from the fleet's floor " + Commit{Hash: floor}.Short()
	}
	return ""
}

// service decides one document.
func (c *coordination) service(id ServiceID) {
	if why := c.untouchable(id); why != "" {
		c.out.Waiting[id] = why
		return
	}
	d, ask, due := c.decide(id)
	if !due && !ask {
		return
	}
	if c.newer != "" && !c.lost(id) {
		c.out.Waiting[id] = "others follow commit " + Commit{Hash: c.newer}.Short() + " already, which is not " + c.f.Commit.Short() + " any more: it is fetched first"
		c.out.Next = earlier(c.out.Next, c.newerUntil)
		return
	}
	if k := c.rank(id); k > 0 {
		if c.sv.invalid(id, c.now) == "" {
			return
		}
		if at := c.heldSince(id) + time.Duration(k)*c.v.standIn(); c.now.Boot < at {
			c.out.Next = earlier(c.out.Next, at)
			return
		}
	}
	if ask {
		c.out.Resolve = append(c.out.Resolve, RevisionKey{id, c.sv.byID[id].s.Revision})
		c.out.Waiting[id] = "the digests of its images are being looked up"
	}
	if due {
		c.out.Docs = append(c.out.Docs, d)
	}
}

// findNewer finds out whether some document was decided on a newer commit than the
// one that is followed. What that one has changed already, room above all, must not
// have this node do something for a commit that is over.
func (c *coordination) findNewer() {
	for _, id := range c.v.documents() {
		dv := c.v.Docs[id]
		commit, until := dv.Doc.Commit, dv.Since+newerPatience
		if commit == "" || commit == c.f.Commit.Hash || dv.Doc.Generation != c.v.Fleet.Generation || c.now.Boot >= until {
			continue
		}
		relation := c.v.Relations[commit]
		if (relation == RelationAhead || relation == RelationUnknown) && until > c.newerUntil {
			c.newer, c.newerUntil = commit, until
		}
	}
}

// lost reports whether something of a service is to be made good: a lease that is
// not in force any more, or its document.
func (c *coordination) lost(id ServiceID) bool {
	dv := c.v.Docs[id]
	return dv.Broken != "" || slices.ContainsFunc(dv.Doc.Leases, func(l Lease) bool { return !c.v.InForce(l) })
}

// standIn is how long each node in rank leaves to the one before it.
func (v View) standIn() time.Duration {
	if v.Few > 0 {
		return standInFew
	}
	return standInStep
}

// untouchable says why a document may not be replaced for now.
func (c *coordination) untouchable(id ServiceID) string {
	dv, known := c.v.Docs[id]
	if !known {
		if c.v.Settled == Never {
			return "this node does not know the fleet yet"
		}
		if c.now.Boot < c.v.Settled {
			c.out.Next = earlier(c.out.Next, c.v.Settled)
			return "waiting for others who start at the same time"
		}
		return ""
	}
	doc := dv.Doc
	switch {
	case dv.TooNew:
		return "its document is of a later version: this node runs on what it knows"
	case doc.Generation > c.v.Fleet.Generation:
		return "its document is of a later generation than the fleet's record as read"
	case c.now.Boot < c.v.tornUntil(dv):
		c.out.Next = earlier(c.out.Next, c.v.tornUntil(dv))
		return "what was read is of two instants"
	case dv.lost() && c.sv.kept[id]:
		return "its document cannot be read, and commit " + c.f.Commit.Short() + " does not say what it is to be"
	case dv.Broken != "" && c.now.Boot < dv.Since+brokenPatience:
		c.out.Next = earlier(c.out.Next, dv.Since+brokenPatience)
		return "its document cannot be read: another node may know better, or its writer's record is still to come"
	case doc.Generation < c.v.Fleet.Generation || doc.Commit == "" || doc.Commit == c.f.Commit.Hash:
		return ""
	}
	short := Commit{Hash: doc.Commit}.Short()
	switch relation := c.v.Relations[doc.Commit]; {
	case relation.older():
		return ""
	case relation == RelationAhead:
		return "its document was decided on commit " + short + ", which is newer than " + c.f.Commit.Short()
	case relation == RelationAside:
		return "its document was decided on commit " + short + ", which is not in the history of " + c.f.Commit.Short() + "; orpheus floor reset is the way out"
	}
	return "its document was decided on commit " + short + ", which is not fetched yet"
}

// lost reports whether the document is garbled and no good one is known.
func (dv DocView) lost() bool { return dv.Broken != "" && dv.Doc.Format == 0 && dv.Doc.Tokens == 0 }

// rank is how many nodes are to write the document before self does. Those
// that cannot read the repository are passed over.
func (c *coordination) rank(id ServiceID) int {
	if c.all {
		return 0
	}
	if k, ok := c.ranks[id]; ok {
		return k
	}
	k := 0
	for _, name := range c.v.Coordinators(id) {
		if name == c.v.Self {
			break
		}
		if !c.v.Nodes[name].Blind {
			k++
		}
	}
	if c.ranks == nil {
		c.ranks = map[ServiceID]int{}
	}
	c.ranks[id] = k
	return k
}

// heldSince is since when all has been known that makes the document invalid.
func (c *coordination) heldSince(id ServiceID) time.Duration {
	since := max(c.v.FollowedSince, c.v.NodesSince)
	dv, known := c.v.Docs[id]
	if !known {
		return max(since, c.v.Settled)
	}
	since = max(since, dv.Since, c.v.tornUntil(dv))
	if dv.Broken != "" { // who coordinates knows best what stood there
		since = max(since, dv.Since+brokenPatience)
	}
	for _, l := range dv.Doc.Leases {
		if c.v.InForce(l) {
			since = max(since, c.v.Nodes[l.Node].StatusSince)
		}
	}
	return since
}

// decide works out the next value of a document, whether digests are to be
// asked for, and whether the document is due to change at all.
func (c *coordination) decide(id ServiceID) (d Decision, ask, due bool) {
	dv, known := c.v.Docs[id]
	e := &docEdit{c: c, id: id, view: dv, doc: cloneDoc(dv.Doc, id)}
	sortLeases(e.doc.Leases)
	ss := c.sv.byID[id]
	if ss == nil {
		return e.deleted()
	}
	if !known && len(ss.slots) == 0 {
		return Decision{}, false, false
	}
	e.edit(ss)
	c.out.Next = earlier(c.out.Next, ss.stepping.next)
	if _, said := c.out.Waiting[id]; !said && ss.waits != "" {
		c.out.Waiting[id] = ss.waits
	}
	if !e.changed || e.exhausted {
		c.held(ss)
		return Decision{}, e.ask, false
	}
	return e.decision(ss), e.ask, true
}

// held says what holds back a change of a service that could begin.
func (c *coordination) held(ss *serviceState) {
	if _, said := c.out.Waiting[ss.id]; said || !slices.ContainsFunc(ss.slots, func(st *slotState) bool { return st.kind == slotChanges && st.node != "" }) {
		return
	}
	for _, st := range ss.slots {
		if st.cur != nil && !st.available {
			c.out.Waiting[ss.id] = st.id.String() + " is not ready yet at " + st.cur.Revision.Short() + " on " + string(st.cur.Node)
			return
		}
	}
}

// reported is the highest token of a service that any node's status names.
func (c *coordination) reported(id ServiceID) uint64 {
	if c.tokens == nil {
		c.tokens = map[ServiceID]uint64{}
		note := func(slot SlotID, token uint64) {
			if token <= maxReported {
				c.tokens[slot.Service] = max(c.tokens[slot.Service], token)
			}
		}
		for _, name := range c.v.names() {
			status := c.v.Nodes[name].Status
			for _, i := range status.Instances {
				note(i.Slot, i.Token)
			}
			for _, e := range status.Ended {
				note(e.Slot, e.Token)
			}
		}
	}
	return c.tokens[id]
}
