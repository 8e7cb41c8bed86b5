// Package fleet is one node's part in the fleet: what it knows of the records,
// and what it is to do about them.
//
// A Member is a state machine without goroutines, clock or I/O. Its owner
// tells it what happened (Listed, Read, Pushed, Heard, Followed, Report …),
// asks it what to do (Step), does that, and tells it the outcome. Everything a
// Member decides follows from what it was told and from its Config, in the
// order it was told: a run can be replayed exactly. The agent owns one and
// feeds it from its loop; the simulation owns dozens.
package fleet

import (
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// Config is what a member is made of.
type Config struct {
	// Self is what the node says of itself: name, key, life, address, capacity,
	// labels, taints, drivers. Epoch, Since, Incarnation and Salt are the member's.
	Self planner.NodeRecord
	// Sign signs a part of a record; Verify returns the key (in the form of
	// NodeRecord.Key) whose signature it is.
	Sign   func(ref planner.Ref, body string) (signature string, err error)
	Verify func(ref planner.Ref, body, signature string) (key string, err error)
	// Relate says how a commit stands to the one that is followed.
	Relate func(commit, followed string) planner.Relation
	// Random makes names that never repeat, and jitter; seeded in simulations.
	Random func() uint64
	// Coordinate decides the documents; nil = planner.Coordinate. Simulations
	// let versions of the planner disagree.
	Coordinate func(planner.Followed, planner.View, planner.Time) planner.Decisions
	// Memory is what the last process of this node kept; the zero value at the
	// first start.
	Memory Memory
	Log    *slog.Logger
}

// Todo is what the owner is to do now. Of List, Read and Push each at most one
// is under way at a time: the member asks for the next only after it was told
// the outcome.
type Todo struct {
	// Save asks for Memory to be on disk before Push is sent and before what
	// Standing says is acted on.
	Save bool
	List bool
	Read map[planner.Ref]planner.Hash
	Push *gitsync.Push
	// Poke lists nodes to be told to look now, once a push has been accepted.
	Poke []Peer
	// Resolve lists revisions whose image digests are asked for; the owner
	// answers each once with Resolved.
	Resolve []planner.RevisionKey
	// Specs lists older commits whose services are asked for; the owner answers
	// each once with Learned.
	Specs []string
	// Fetch asks for a look at the manifests now: a document was decided on a
	// commit that is not here yet.
	Fetch bool
	// Next is the boot time of the next Step although nothing happens.
	Next time.Duration
}

// Peer is a node as its peers reach it.
type Peer struct {
	Node    planner.NodeName
	Address string
	Key     string
}

// Sighting is what a probe of a peer showed. The owner tells every change.
type Sighting struct {
	Node     planner.NodeName
	State    planner.ProbeState
	Suspects []planner.NodeName // whom that node cannot reach
	Blind    bool               // it cannot read the repository
}

// Announced is what a node told this one directly: which of its instances take
// connections.
type Announced struct {
	Node planner.NodeName
	planner.Announcement
}

// Report is what the node tells the fleet of itself: the part of its status
// that the agent knows.
type Report struct {
	Applied   string
	Rejected  *planner.RejectedCommit
	Instances []planner.InstanceStatus // ordered by slot, then token
	Refusals  []planner.Refusal        // ordered
	Images    []planner.ResolvedImages // ordered
	Pressure  []string
	Failing   string // see planner.NodeStatus
	// Volumes lists the slots whose local volumes lie here, ordered.
	Volumes []planner.SlotID
	// Drivers that work and may be used, ordered.
	Drivers []string
	// Serving counts the changes of endpoints, from 1: see planner.NodeStatus.
	Serving uint64
	// Specs are the templates by revision of what this node runs.
	Specs map[planner.Revision]planner.Template
}

// Stats counts what was asked of the records' server.
type Stats struct {
	Lists, Reads, Pushes uint64
	Won, Lost, Unknown   uint64
	Challenges, Fences   uint64
	Refused              uint64 // records that were not accepted
}

// Member is one node's part in the fleet. Its methods are for one goroutine.
type Member struct {
	cfg  Config
	log  *slog.Logger
	self planner.NodeName
	now  planner.Time

	memory     Memory
	unsaved    bool
	alarm      []string // records that went back
	laterFleet bool     // the fleet record is of a later format: it is not replaced

	followed planner.Followed
	report   Report
	sights   map[planner.NodeName]Sighting
	probed   time.Duration // when a peer last probed this node

	entries map[planner.Ref]*entry
	docs    map[planner.ServiceID]*document
	rings   map[planner.NodeName]ring
	view    planner.View
	fresh   bool // every record of the last listing was read
	whole   bool // that was so at least once
	dirty   bool // something was learnt since the last decision

	look   lookState
	own    ownState
	pusher pushState
	ledger ledger

	decided   planner.Decisions
	suspects  []planner.Suspicion
	watchlist *Watchlist // nil = to be made anew
	decideAt  time.Duration
	standing  planner.Standing
	addresses addressState
	resolved  map[planner.RevisionKey]bool // asked for
	missing   []string                     // commits whose templates are to be asked for
	asked     map[string]time.Duration     // when the templates of a commit were asked for
	stats     Stats
}

// New makes a member that knows what its memory says and nothing else.
func New(cfg Config, now planner.Time) *Member {
	if cfg.Coordinate == nil {
		cfg.Coordinate = planner.Coordinate
	}
	m := &Member{
		cfg: cfg, log: cfg.Log, self: cfg.Self.Node, now: now, memory: cfg.Memory.clone(),
		sights: map[planner.NodeName]Sighting{}, entries: map[planner.Ref]*entry{},
		docs: map[planner.ServiceID]*document{}, rings: map[planner.NodeName]ring{}, resolved: map[planner.RevisionKey]bool{}, asked: map[string]time.Duration{}, dirty: true,
	}
	m.view = planner.View{
		Self: m.self, Nodes: map[planner.NodeName]planner.NodeView{}, Docs: map[planner.ServiceID]planner.DocView{},
		Relations: map[string]planner.Relation{}, Resolved: map[planner.RevisionKey]map[string]string{},
		Unresolvable: map[planner.RevisionKey]string{}, Specs: map[planner.Revision]planner.Template{},
		Health: planner.Health{Started: now.Boot}, FollowedSince: now.Boot, NodesSince: now.Boot,
	}
	m.recordedAddresses(m.memory.Addresses)
	m.own = newOwn(m)
	m.pusher.unwritable, m.pusher.untold, m.pusher.half = map[planner.Ref]string{}, map[planner.Ref]untold{}, map[planner.NodeName]half{}
	m.stretch()
	m.stand()
	return m
}

// Followed tells what the node works towards.
func (m *Member) Followed(f planner.Followed, now planner.Time) {
	m.now = now
	rekeyed := keysOf(f.Nodes) != keysOf(m.followed.Nodes)
	if f.Commit.Hash != m.followed.Commit.Hash {
		clear(m.view.Relations)
		clear(m.asked)
	}
	m.followed = f
	if rekeyed {
		m.reverify()
	}
	m.view.FollowedSince = now.Boot
	if f.Commit.Hash != "" && m.memory.Followed != f.Commit.Hash {
		// Only a commit that is new moves the floor: one that was followed before
		// the floor was reset does not bring the old one back.
		m.memory.Followed, m.memory.Floor, m.unsaved = f.Commit.Hash, f.Commit.Hash, true
	}
	m.stretch()
	m.dirty = true
}

// Report tells how the node's instances fare.
func (m *Member) Report(r Report, now planner.Time) {
	m.now = now
	if reflect.DeepEqual(r, m.report) {
		return
	}
	m.report = r
	m.own.body = ""
	m.dirty = true
}

// Resolved answers Todo.Resolve: the digests of a revision's images, or why
// they are not known.
func (m *Member) Resolved(key planner.RevisionKey, digests map[string]string, err error, now planner.Time) {
	m.now = now
	delete(m.resolved, key)
	delete(m.view.Unresolvable, key)
	if err != nil {
		m.view.Unresolvable[key] = err.Error()
	} else {
		m.view.Resolved[key] = digests
	}
	m.dirty = true
}

// Heard tells what a probe of a peer showed.
func (m *Member) Heard(s Sighting, now planner.Time) {
	m.now = now
	before := m.sights[s.Node]
	m.sights[s.Node] = s
	if n, known := m.view.Nodes[s.Node]; known && before.State != s.State {
		n.Probe, n.ProbeSince = s.State, now.Boot
		m.view.Nodes[s.Node] = n
		m.watchlist = nil
	}
	m.gather()
	m.dirty = true
}

// gather lays what peers say of each other over the view.
func (m *Member) gather() {
	said := map[planner.NodeName][]planner.NodeName{}
	for from, s := range m.sights {
		if s.State == planner.ProbeDown || !m.view.Nodes[from].Live() {
			continue
		}
		for _, suspect := range s.Suspects {
			said[suspect] = append(said[suspect], from)
		}
	}
	for name, n := range m.view.Nodes {
		n.SuspectedBy = said[name]
		slices.Sort(n.SuspectedBy)
		s := m.sights[name]
		n.Blind = s.State == planner.ProbeUp && s.Blind
		m.view.Nodes[name] = n
	}
}

// Probed tells that a peer has probed this node.
func (m *Member) Probed(now planner.Time) { m.now, m.probed = now, now.Boot }

// Poked tells that somebody says there is news. Many may be poked at once:
// where reads are few, they look one after the other.
func (m *Member) Poked(now planner.Time) {
	m.now = now
	m.look.next = min(m.look.next, now.Boot+m.turn())
}

// Step decides what to do now. It may be called at any time; it must be after
// the member was told something, and at Todo.Next.
func (m *Member) Step(now planner.Time) Todo {
	m.now = now
	var todo Todo
	m.stepLook(&todo)
	if m.fresh {
		m.decide(&todo)
		todo.Push = m.stepPush()
	}
	todo.Poke, m.pusher.poke = m.pusher.poke, nil
	todo.Save, m.unsaved = m.unsaved, false
	todo.Next = m.next()
	return todo
}

// next is the soonest instant at which Step has something to do.
func (m *Member) next() time.Duration {
	at := m.now.Boot + time.Minute
	for _, t := range []time.Duration{m.look.next, m.decideAt, m.pusher.retry, m.ledger.wait, m.own.wait} {
		if t > m.now.Boot {
			at = min(at, t)
		}
	}
	return at
}

// Memory is what must be on disk now. The result may be kept.
func (m *Member) Memory() Memory { return m.memory.clone() }

// View is what the member knows; it must not be changed nor kept.
func (m *Member) View() planner.View { return m.view }

// Decided is the last outcome of Coordinate, for status; it must not be changed.
func (m *Member) Decided() planner.Decisions { return m.decided }

// Stats counts what was asked of the server so far.
func (m *Member) Stats() Stats { return m.stats }

// Standing says what this node must run and must leave alone.
func (m *Member) Standing() planner.Standing { return m.standing }

// Whole reports whether all records were read at least once in this process:
// before, nothing is ended on their account.
func (m *Member) Whole() bool { return m.whole }

// Tip is the branch's tip as the last look showed it, where records and
// manifests share a repository; else "".
func (m *Member) Tip() planner.Hash { return m.look.tip }

// Floors lists the commits that every commit to be followed must come after:
// what this node has followed in this generation, and what the fleet has.
func (m *Member) Floors() []string {
	var floors []string
	if m.memory.Floor != "" {
		floors = append(floors, m.memory.Floor)
	}
	if f := m.view.Fleet; f.Floor != "" && f.Floor != m.memory.Floor && f.Generation >= m.memory.Generation {
		floors = append(floors, f.Floor)
	}
	return floors
}

// Bad lists the records that are not accepted, with the reason, at most limit.
func (m *Member) Bad(limit int) []string {
	var out []string
	for _, ref := range sortedRefs(m.entries) {
		if e := m.entries[ref]; e.bad != "" && len(out) < limit {
			out = append(out, string(ref)+": "+planner.OneLine(e.bad, 200))
		}
	}
	return out
}

// Look says since when, by the boot clock, the records cannot be read, and
// why; "" = they can.
func (m *Member) Look() (err string, since time.Duration) { return m.look.err, m.look.since }

// Ignored counts refs beside the records that are none.
func (m *Member) Ignored() int { return m.look.ignored }

// Registered reports whether the fleet knows this process.
func (m *Member) Registered() bool { return m.own.registered }
