package fleet

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// joinWait is the longest a start waits for others who start with it.
const joinWait = 30 * time.Second

// decide brings the member's decisions up to date with what it knows. It is
// called only when every record of the last listing was read.
func (m *Member) decide(todo *Todo) {
	due := m.decideAt > 0 && m.now.Boot >= m.decideAt
	if !m.dirty && !due {
		return
	}
	m.dirty = false
	m.learnSpecs()
	for _, commit := range m.missing {
		m.asked[commit] = m.now.Boot
	}
	todo.Specs = m.missing
	m.relate(todo)
	m.settle()
	m.remind()
	before := m.decided.Unplaced
	m.decided = m.cfg.Coordinate(m.followed, m.view, m.now)
	m.tellUnplaced(before)
	m.decideAt = m.decided.Next
	m.decided.Docs = m.patient(m.decided.Docs)
	m.address()
	var ask time.Duration
	m.suspects, ask = planner.Suspects(m.followed, m.view, m.now)
	m.decideAt = soonest(m.decideAt, ask, m.now.Boot)
	if m.view.Settled > m.now.Boot {
		m.decideAt = soonest(m.decideAt, m.view.Settled, m.now.Boot)
	}
	for _, key := range m.decided.Resolve {
		if !m.resolved[key] {
			m.resolved[key] = true
			todo.Resolve = append(todo.Resolve, key)
		}
	}
	m.stand()
}

// relate finds out how the commits of the documents stand to the one that is
// followed. One that is not here yet is worth a look at the branch.
func (m *Member) relate(todo *Todo) {
	followed := m.followed.Commit.Hash
	if followed == "" {
		return
	}
	commits := []string{m.view.Fleet.Floor}
	for _, id := range m.serviceIDs() {
		commits = append(commits, m.strangest(id))
	}
	for _, commit := range commits {
		if known := m.view.Relations[commit]; known != planner.RelationUnknown {
			continue
		}
		relation := planner.RelationSame
		if commit != followed && commit != "" {
			relation = m.cfg.Relate(commit, followed)
		}
		m.view.Relations[commit] = relation
		todo.Fetch = todo.Fetch || relation == planner.RelationUnknown || relation == planner.RelationAhead
	}
}

// strangest is the commit a document was decided on. Shards may be of
// different ones: the one that is furthest from what is followed counts for all.
func (m *Member) strangest(id planner.ServiceID) string {
	dv := m.view.Docs[id]
	for _, shard := range slices.Sorted(maps.Keys(m.docs[id].shards)) {
		commit := m.docs[id].shards[shard].Commit
		if commit == dv.Doc.Commit || commit == m.followed.Commit.Hash {
			continue
		}
		if r := m.cfg.Relate(commit, m.followed.Commit.Hash); r != planner.RelationAncestor && r != planner.RelationSame {
			dv.Doc.Commit = commit
			m.view.Docs[id] = dv
		}
	}
	return dv.Doc.Commit
}

// remind tells the planner of tokens that only this node's memory still knows.
func (m *Member) remind() {
	m.view.Seen = nil
	for _, t := range m.memory.Tokens {
		if m.view.Docs[t.Service].Doc.Tokens >= t.Tokens {
			continue
		}
		if m.view.Seen == nil {
			m.view.Seen = map[planner.ServiceID]uint64{}
		}
		m.view.Seen[t.Service] = t.Tokens
	}
}

func (m *Member) serviceIDs() []planner.ServiceID { return sortedIDs(m.view.Docs) }

func sortedIDs[V any](m map[planner.ServiceID]V) []planner.ServiceID {
	return slices.SortedFunc(maps.Keys(m), planner.ServiceID.Compare)
}

// settle decides when this member may place services that have no document:
// once those who started with it have been seen, or all whom fleet.yaml lists.
func (m *Member) settle() {
	if !m.own.registered || m.view.Settled != planner.Never && m.view.Settled <= m.now.Boot {
		return
	}
	missing := len(m.followed.Fleet.Nodes) == 0
	for _, name := range m.followed.Fleet.Nodes {
		missing = missing || !m.view.Nodes[name].Live()
	}
	if !missing {
		m.view.Settled = m.now.Boot
		return
	}
	quiet := max(m.own.joined, min(m.view.NodesSince, m.own.joined+joinWait))
	m.view.Settled = quiet + m.view.Poll*11/10 + settleMargin
}

// stand works out what this node must run and must leave alone, and remembers
// the leases for a start without Git.
func (m *Member) stand() {
	if !m.whole {
		m.standing = m.memory.standing()
		return
	}
	if len(m.alarm) > 0 { // as it was
		m.standing.Unsure = map[planner.ServiceID]string{{}: m.view.Alarm}
		return
	}
	since := m.view.Nodes[m.self].Record.Since
	if m.own.foreign == "" {
		// Where the record is of an earlier life of this node, its leases are
		// void once this one has taken the name, and no other's.
		since = math.MaxUint64
	}
	told := m.view.Nodes[m.self]
	now := told
	now.Status.Instances = stillReady(told.Status.Instances, m.report.Instances)
	m.view.Nodes[m.self] = now
	m.standing = planner.StandingOf(m.self, m.mine(), since, m.view)
	m.view.Nodes[m.self] = told
	m.orphans()
	m.remember()
}

// stillReady is what was told of this node's instances, without those that are
// not ready any more: what ran a moment ago takes nobody's place.
func stillReady(told, now []planner.InstanceStatus) []planner.InstanceStatus {
	type run struct {
		slot     planner.SlotID
		revision planner.Revision
	}
	ready := map[run]bool{}
	for _, n := range now {
		if n.Phase == planner.PhaseReady {
			ready[run{n.Slot, n.Revision}] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(told), func(t planner.InstanceStatus) bool { return !ready[run{t.Slot, t.Revision}] })
}

// orphans are instances of services without a document that no deletion
// explains: nothing says that they are not wanted.
func (m *Member) orphans() {
	for _, i := range m.report.Instances {
		id := i.Slot.Service
		if _, known := m.view.Docs[id]; known {
			continue
		}
		_, gone := m.followed.Gone[id]
		if !gone {
			m.standing.Unsure[id] = "found running, but no lease document tells of it"
		}
	}
}

// remember keeps what stands for a start without Git.
func (m *Member) remember() {
	next := m.memory
	next.Docs, next.Keep, next.Behind = nil, nil, nil
	for _, id := range sortedIDs(m.standing.Docs) {
		next.Docs = append(next.Docs, m.standing.Docs[id])
	}
	for _, id := range sortedIDs(m.standing.Keep) {
		next.Keep = append(next.Keep, planner.LeaseDoc{Service: id, Leases: m.standing.Keep[id]})
	}
	for key, why := range m.standing.Behind {
		next.Behind = append(next.Behind, BehindLease{key.Service, key.Token, why})
	}
	slices.SortFunc(next.Behind, func(a, b BehindLease) int {
		return cmp.Or(a.Service.Compare(b.Service), cmp.Compare(a.Token, b.Token))
	})
	same := func(a, b planner.LeaseDoc) bool {
		return a.Service == b.Service && slices.Equal(a.Leases, b.Leases) && a.Commit == b.Commit
	}
	if !slices.EqualFunc(next.Docs, m.memory.Docs, same) || !slices.EqualFunc(next.Keep, m.memory.Keep, same) || !slices.Equal(next.Behind, m.memory.Behind) {
		m.memory, m.unsaved = next, true
	}
}

// standing is what the last process knew to stand. Nothing is stopped by it.
func (m *Memory) standing() planner.Standing {
	s := planner.Standing{
		Docs: map[planner.ServiceID]planner.LeaseDoc{}, Keep: map[planner.ServiceID][]planner.Lease{}, Behind: map[planner.LeaseKey]string{},
		Unsure: map[planner.ServiceID]string{{}: "the records were not read yet"},
	}
	for _, doc := range m.Docs {
		s.Docs[doc.Service] = doc
	}
	for _, doc := range m.Keep {
		s.Keep[doc.Service] = doc.Leases
	}
	for _, b := range m.Behind {
		s.Behind[planner.LeaseKey{Service: b.Service, Token: b.Token}] = b.Reason
	}
	return s
}

// Watchlist is whom a node probes, and the keys of all who may speak to it:
// those that were fenced, too, who are about to return.
type Watchlist struct {
	Probe []Peer
	Known map[string]planner.NodeName // by key
	// Tell lists all other live nodes that can be reached, ordered by name: whom
	// the node announces to what of it takes connections.
	Tell []Peer
}

// Peers is the watchlist as it is now: the same pointer as long as it is the
// same. It must not be changed.
func (m *Member) Peers() *Watchlist {
	if m.watchlist != nil {
		return m.watchlist
	}
	w := &Watchlist{Known: map[string]planner.NodeName{}}
	m.watchlist = w
	if !m.whole && m.own.foreign == "" {
		m.rememberedPeers(w)
		return w
	}
	if !m.own.registered || m.own.foreign != "" {
		return w
	}
	for name, n := range m.view.Nodes {
		if name != m.self && n.Record.Key != "" && !n.Record.Retired {
			w.Known[n.Record.Key] = name
		}
	}
	for _, name := range planner.Watched(m.view) {
		rec := m.view.Nodes[name].Record
		w.Probe = append(w.Probe, Peer{Node: name, Address: rec.Address, Key: rec.Key})
	}
	for _, name := range m.everybody() {
		if rec := m.view.Nodes[name].Record; rec.Address != "" {
			w.Tell = append(w.Tell, Peer{Node: name, Address: rec.Address, Key: rec.Key})
		}
	}
	return w
}

// rememberedPeers is for a start without Git: the nodes as they were last seen.
// They tell each other what takes connections. What they say of others is not
// heeded before the records were read.
func (m *Member) rememberedPeers(w *Watchlist) {
	for _, name := range slices.Sorted(maps.Keys(m.memory.Keys)) {
		if name == m.self {
			continue
		}
		w.Known[m.memory.Keys[name]] = name
		if at := m.memory.Hosts[name]; at != "" {
			w.Tell = append(w.Tell, Peer{Node: name, Address: at, Key: m.memory.Keys[name]})
		}
	}
}

// Suspected lists the nodes this one cannot reach: what it tells its peers.
func (m *Member) Suspected() []planner.NodeName { return planner.Suspected(m.view) }
