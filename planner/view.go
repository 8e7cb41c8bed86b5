package planner

import (
	"slices"
	"time"
)

// View is what a member of the fleet knows of the records, and of its own
// observations. All times are readings of its own boot clock.
type View struct {
	Self  NodeName
	Nodes map[NodeName]NodeView
	Docs  map[ServiceID]DocView
	Fleet FleetRecord
	// Relations tells how the commits of the documents stand to the commit that
	// is followed; a commit that is not in it is RelationUnknown.
	Relations map[string]Relation
	// Resolved holds the digests that self found for the images of a revision;
	// Unresolvable the revisions whose registry did not answer self.
	Resolved     map[RevisionKey]map[string]string
	Unresolvable map[RevisionKey]string
	// Specs are templates by revision, of every lease whose template is known.
	Specs map[Revision]Template
	// Seen is the highest token self ever saw of a service, where the document
	// as it stands shows less: it was destroyed.
	Seen map[ServiceID]uint64
	// Poll is how often self reads, as the budget stretches it; Beat how often
	// nodes without peers beat.
	Poll, Beat time.Duration
	Health     Health
	// Few bounds how many nodes coordinate, for a server that allows few pushes:
	// what one node decides goes in one push. 0 = no bound.
	Few int
	// Settled is when self may begin to place services that have no document
	// yet: before, it may not have seen all who start with it. Never = not yet.
	Settled time.Duration
	// FollowedSince is when self began to follow the commit it follows,
	// NodesSince when the set of nodes, their epochs, or what decides where
	// slots may run last changed for self: who stands in for a coordinator
	// counts from there.
	FollowedSince, NodesSince time.Duration
	// Alarm is set when records went back: nothing is decided.
	Alarm string
}

// Relation is how a commit stands to the one that is followed.
type Relation int

// The relations. Only for the first two may a document be replaced.
const (
	RelationUnknown  Relation = iota // not in the clone: fetch first
	RelationSame                     // the same commit, or none
	RelationAncestor                 // older
	RelationAhead                    // newer: others are further than self
	RelationAside                    // neither: the branch was rewritten
)

// older reports whether the commit is the one that is followed, or before it.
func (r Relation) older() bool { return r == RelationSame || r == RelationAncestor }

// DocView is one lease document as last read and verified.
type DocView struct {
	Doc LeaseDoc
	// Since is when self first saw this value.
	Since time.Duration
	// Format above what self reads: what runs is kept, nothing is started or
	// decided. See StandingOf.
	TooNew bool
	// Before is, of a document that is TooNew, the last value that self could
	// read, as far as it names self; the zero value = none is known.
	Before LeaseDoc
	// StepSince is when self first saw the document with this revision on top of
	// its History, this Step and these Blocked: pauses count from there.
	StepSince time.Duration
	// Earlier is the last value that self saw that was decided on another commit; nil
	// = none is known, an empty one = there was no document.
	Earlier *LeaseDoc
	// Broken says why the value of the ref now is not the document shown here,
	// which is the last good one; "" = it is.
	Broken string
}

// NodeView is one node as self sees it.
type NodeView struct {
	Record NodeRecord
	Status NodeStatus
	// StatusSince is when self first saw this value of the status.
	StatusSince time.Duration
	Sighting
}

// Live reports whether the node takes part.
func (n NodeView) Live() bool { return n.Record.Live() }

// Current reports whether what the status says of instances is of the agent
// process that the record names.
func (n NodeView) Current() bool {
	return n.Status.Incarnation != "" && n.Status.Incarnation == n.Record.Incarnation
}

// Instance is what the node reports of a lease.
func (n NodeView) Instance(slot SlotID, token uint64) (InstanceStatus, bool) {
	if !n.Current() {
		return InstanceStatus{}, false
	}
	for k := range n.Status.Instances { // what differs most is compared first: plans of many services ask often
		if i := &n.Status.Instances[k]; i.Token == token && i.Slot.Name == slot.Name && i.Slot.Service.Name == slot.Service.Name && i.Slot.Service.Namespace == slot.Service.Namespace {
			return *i, true
		}
	}
	return InstanceStatus{}, false
}

// Refuses is the node's standing refusal of a revision.
func (n NodeView) Refuses(key RevisionKey) (Refusal, bool) {
	for _, r := range n.Status.Refusals {
		if r.Service == key.Service && r.Revision == key.Revision {
			return r, true
		}
	}
	return Refusal{}, false
}

// Sighting is what self observed of a node's life.
type Sighting struct {
	Beats     Hash // value of beats/<node> as last read
	BeatsKind BeatKind
	// BeatsSince is when self first saw that value. Of a fenced node it is kept
	// as well: it tells when self saw the fence.
	BeatsSince time.Duration
	// Life is when self last saw a sign of life of the node in the records:
	// its record written by itself, or its beats moving to a value of its ring,
	// or to another challenge (which names a ring value it replaced).
	Life time.Duration
	// Probe is what self's own probes of the node show, ProbeSince since when.
	Probe      ProbeState
	ProbeSince time.Duration
	// SuspectedBy lists other nodes that say they cannot reach it, sorted.
	SuspectedBy []NodeName
	// Blind is set when the node says that it cannot read the repository: it
	// gets no new work.
	Blind bool
}

// ProbeState is the outcome of a node's own probes of another.
type ProbeState int

// The states of probes.
const (
	ProbeNone ProbeState = iota // not probed: not self's task, or no address
	ProbeUp
	ProbeDown // three misses in a row
)

// BeatKind says what the value of a beats ref is.
type BeatKind int

// The kinds of value.
const (
	BeatMissing   BeatKind = iota // no value
	BeatRing                      // of the ring of the life in the record
	BeatChallenge                 // a challenge that names a value of that ring
	BeatFence                     // a fence value of an epoch above the record's: a fence that was begun
	BeatForeign                   // anything else: the ring of another life, a fence that was carried out
)

// Health is how self fares with the repository (design L5).
type Health struct {
	Started    time.Duration // of this process
	Read       time.Duration // begin of the last read that succeeded
	ReadFailed time.Duration // of the last that did not; 0 = none
	Pushed     time.Duration // begin of the last push with an accepted change
	PushFailed time.Duration // of the last without an answer; 0 = none
}

// live lists the names of all live nodes, sorted.
func (v View) live() []NodeName {
	var names []NodeName
	for name, n := range v.Nodes {
		if n.Live() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// documents lists the services that have a document, ordered.
func (v View) documents() []ServiceID {
	ids := make([]ServiceID, 0, len(v.Docs))
	for id := range v.Docs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, ServiceID.Compare)
	return ids
}

// InForce reports whether a lease that stands in its document is in force:
// unmarked, of the epoch of its node's record, which is neither fenced nor
// retired (design L1).
func (v View) InForce(l Lease) bool {
	n, ok := v.Nodes[l.Node]
	return ok && !l.Ending && n.Live() && l.Epoch == n.Record.Epoch
}

// Torn reports whether a lease is newer than its node's record: what was read
// is of two instants, and nothing may be concluded from it.
func (v View) Torn(l Lease) bool { return l.Epoch > v.Nodes[l.Node].Record.Epoch }

// Ready reports whether the holder of a lease reports its instance ready.
func (v View) Ready(slot SlotID, l Lease) bool {
	i, ok := v.Nodes[l.Node].Instance(slot, l.Token)
	return ok && i.Phase == PhaseReady
}

// Available reports whether the holder of a lease of the service reports its
// instance ready, and for long enough.
func (v View) Available(s *Service, l Lease) bool {
	i, ok := v.Nodes[l.Node].Instance(SlotID{s.ID, l.Slot}, l.Token)
	return ok && i.Phase == PhaseReady && (s.MinReady == 0 || i.Available)
}

// Failing is the reason of the holder of a lease for giving its instance up.
func (v View) Failing(slot SlotID, l Lease) (string, bool) {
	i, ok := v.Nodes[l.Node].Instance(slot, l.Token)
	return i.Reason, ok && i.Failing
}

// tornUntil is until when a document with a torn lease is left alone; 0 = it
// has none. What was read at two instants is read at one soon: where neither
// the document nor any node's record changed for brokenPatience the lease is
// void, and no record of its node will ever show otherwise but one that it
// writes anew. Else one whose records were deleted, or a lease of an epoch that
// never was, would hold up the service for ever.
func (v View) tornUntil(dv DocView) time.Duration {
	if !slices.ContainsFunc(dv.Doc.Leases, v.Torn) {
		return 0
	}
	return max(dv.Since, v.NodesSince) + brokenPatience
}
