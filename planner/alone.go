package planner

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Alone is what a node that grants leases to itself knows of the world.
type Alone struct {
	Node Node
	// Docs are the lease documents as they stand, by service.
	Docs map[ServiceID]LeaseDoc
	// Ready holds the leases whose instance is ready, Available those of them
	// that are for long enough.
	Ready, Available map[LeaseKey]bool
	// Failing holds why instances are given up: see InstanceStatus.Failing.
	Failing map[LeaseKey]string
	// Ended holds the outcome of hooks that have ended: "" = it succeeded.
	Ended map[LeaseKey]string
	// StepSince is DocView.StepSince, by service.
	StepSince map[ServiceID]time.Duration
	// Prepared holds the revisions whose images are ready to start here.
	Prepared map[RevisionKey]bool
	// Running are the instances the drivers list: leases are made for those
	// that run here although no document knows them (the state was lost).
	Running []Instance
	// Specs are the templates of the leases that stand.
	Specs map[Revision]Template
	// Short is set while the node is short of something: no slot gets its first
	// lease.
	Short bool
	Now   Time
}

// LeaseKey names one lease; tokens are unique within a service.
type LeaseKey struct {
	Service ServiceID
	Token   uint64
}

// RevisionKey names one revision of a service.
type RevisionKey struct {
	Service  ServiceID
	Revision Revision
}

// Coordination is the outcome of CoordinateAlone.
type Coordination struct {
	// Docs are the documents that change, ordered by service.
	Docs []LeaseDoc
	// Prepare lists revisions whose images must be ready before a lease can be
	// given, in order.
	Prepare []RevisionKey
	// Next is the boot time at which to decide again although nothing changed;
	// Never if there is nothing to wait for.
	Next time.Duration
}

// CoordinateAlone decides the leases of every service for a node that grants them
// to itself. A slot gets its first lease, or one at a new revision, only when
// the revision's images are prepared and pinned: an image that cannot be
// pulled never takes down what runs.
//
// A new revision replaces one slot at a time: the next begins when all that
// have it are ready. Start-first: the old lease stands until the new one is
// ready. Stop-first, for single-writer slots: the old lease goes first. A
// newer revision replaces a lease of one that never became ready.
func CoordinateAlone(f Followed, v Alone) Coordination {
	var out Coordination
	running := map[ServiceID][]Instance{}
	for _, i := range v.Running {
		running[i.Slot.Service] = append(running[i.Slot.Service], i)
	}
	ids := slices.Collect(maps.Keys(f.Services))
	for id := range v.Docs {
		if _, ok := f.Services[id]; !ok {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, ServiceID.Compare)
	for _, id := range ids {
		s, wanted := f.Services[id]
		doc, known := v.Docs[id]
		if !wanted && len(doc.Leases) == 0 {
			continue
		}
		if !known && len(running[id]) == 0 && !RunsHere(v.Node, f.Fleet, s) {
			continue
		}
		e := &edit{view: v, service: s, doc: cloneDoc(doc, id), commit: f.Commit.Hash}
		e.adopt(running[id])
		switch {
		case !wanted:
			e.doc.Leases, e.doc.Commit, e.changed = nil, f.Commit.Hash, true
		case s.Orphan: // nothing but its instances is known: they stay
		case s.Suspended(v.Now): // the documents stay as they are
			out.Next = earlier(out.Next, v.Now.bootAt(s.Suspend.Until))
		default:
			e.coordinate(f.Fleet)
		}
		if e.changed {
			out.Docs = append(out.Docs, e.doc)
		}
		if e.prepare {
			out.Prepare = append(out.Prepare, RevisionKey{id, s.Revision})
		}
	}
	return out
}

// edit is the work on one document.
type edit struct {
	view    Alone
	service Service
	doc     LeaseDoc
	commit  string
	changed bool
	prepare bool // the target revision is waited for
}

// adopt makes leases for instances that carry a token the document never
// gave: the node's state was lost, what runs is kept. A slot that was in the
// middle of an update gets a lease for each revision that runs, the newest
// instance of each: only the update itself may say which of them goes. The
// counter rises above every token seen, so that none is given twice.
func (e *edit) adopt(running []Instance) {
	known := e.doc.Tokens
	running = slices.Clone(running)
	slices.SortFunc(running, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(b.Token, a.Token), strings.Compare(a.ID, b.ID))
	})
	for _, i := range running {
		if i.Token <= known {
			break
		}
		e.doc.Tokens = max(e.doc.Tokens, i.Token)
		e.changed = true
		leased := func(l Lease) bool { return l.Slot == i.Slot.Name && l.Revision == i.Revision }
		if i.State == StateRunning && !slices.ContainsFunc(e.doc.Leases, leased) {
			e.doc.Leases = append(e.doc.Leases, Lease{Slot: i.Slot.Name, Node: e.view.Node.Name, Epoch: i.Epoch, Token: i.Token, Revision: i.Revision})
		}
	}
	sortLeases(e.doc.Leases)
}

func (e *edit) coordinate(fleet Fleet) {
	slots := Slots(e.view.Node, fleet, e.service)
	before := e.doc.Leases
	bySlot := map[string][]Lease{}
	for _, l := range before {
		bySlot[l.Slot] = append(bySlot[l.Slot], l)
	}
	busy := e.updating(slots, bySlot)
	var after []Lease
	for _, slot := range slots {
		kept, opened := e.slot(slot, bySlot[slot], busy)
		busy = busy || opened
		after = append(after, kept...)
	}
	sortLeases(after)
	if !slices.EqualFunc(before, after, sameLease) {
		e.doc.Leases = after
		e.changed = true
	}
	if e.changed {
		remember(&e.doc, e.service.Revision, e.commit)
	}
}

// updating reports whether a slot that already has the target revision is
// still to become ready, so that no other may begin.
func (e *edit) updating(slots []string, bySlot map[string][]Lease) bool {
	for _, slot := range slots {
		for _, l := range bySlot[slot] {
			if l.Revision == e.service.Revision && !e.ready(l) {
				return true
			}
		}
	}
	return false
}

// slot decides one slot: which of its leases stand, and whether an update of
// it begins now.
func (e *edit) slot(slot string, leases []Lease, busy bool) (kept []Lease, opened bool) {
	target := e.service.Revision
	var current, old *Lease // at the target revision, and the one it replaces
	for i := range leases {
		l := &leases[i]
		switch {
		case l.Revision == target && (current == nil || l.Token > current.Token):
			current = l
		case l.Revision != target && (old == nil || e.ready(*l) && (!e.ready(*old) || l.Token > old.Token)):
			old = l
		}
	}
	switch {
	case current != nil && (old == nil || e.ready(*current)):
		return []Lease{*current}, false
	case current != nil && e.stopFirst(*old):
		return []Lease{*current}, false
	case current != nil:
		return []Lease{*old, *current}, false
	case !e.prepared():
		e.prepare = true
		if old != nil {
			return []Lease{*old}, false
		}
		return nil, false
	case old == nil && e.view.Short:
		return nil, false
	case old == nil:
		return []Lease{e.grant(slot)}, false
	case busy:
		return []Lease{*old}, false
	case e.stopFirst(*old):
		return []Lease{e.grant(slot)}, true
	}
	return []Lease{*old, e.grant(slot)}, true
}

func (e *edit) prepared() bool {
	return e.view.Prepared[RevisionKey{e.service.ID, e.service.Revision}]
}

func (e *edit) ready(l Lease) bool { return e.view.Ready[LeaseKey{e.service.ID, l.Token}] }

func (e *edit) stopFirst(old Lease) bool {
	return stopFirst(e.view.Specs, old, e.service.Template)
}

func (e *edit) grant(slot string) Lease {
	e.doc.Tokens++
	return Lease{Slot: slot, Node: e.view.Node.Name, Token: e.doc.Tokens, Revision: e.service.Revision}
}

// Slots lists the slots of a service that this node is to run, in order.
func Slots(n Node, f Fleet, s Service) []string {
	if !RunsHere(n, f, s) {
		return nil
	}
	if s.EveryNode {
		return []string{string(n.Name)}
	}
	slots := make([]string, max(0, s.Replicas))
	for i := range slots {
		slots[i] = strconv.Itoa(i)
	}
	return slots
}
