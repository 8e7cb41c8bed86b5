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
	// Lapsed holds why instances hold up a rollout: see InstanceStatus.Lapsed.
	Lapsed map[LeaseKey]string
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
	// Waiting says for which services something is still to be done, and what it
	// waits for, as Decisions.Waiting does.
	Waiting map[ServiceID]string
	// Next is the boot time at which to decide again although nothing changed;
	// Never if there is nothing to wait for.
	Next time.Duration
}

// CoordinateAlone decides the leases of every service for a node that grants them
// to itself. A slot gets its first lease, or one at a new revision, only when
// the revision's images are prepared and pinned: an image that cannot be
// pulled never takes down what runs.
//
// A new revision replaces what runs as in a fleet: within the disruption budget,
// held back by dependencies, hooks and steps, and blocked where it fails.
// Start-first: the old lease stands until the new one is available. Stop-first:
// the old lease goes first. A newer revision replaces a lease of one that never
// became ready. A slot that keeps failing stays: there is no other node.
func CoordinateAlone(f Followed, v Alone) Coordination {
	out := Coordination{Waiting: map[ServiceID]string{}}
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
	e := new(edit) // of one document after the other
	for _, id := range ids {
		s, wanted := f.Services[id]
		doc, known := v.Docs[id]
		if !wanted && len(doc.Leases) == 0 && len(doc.Blocked) == 0 {
			continue
		}
		if !known && len(running[id]) == 0 && !RunsHere(v.Node, f.Fleet, s) {
			continue
		}
		*e = edit{view: &v, followed: &f, service: &s, doc: cloneDoc(doc, id), slots: e.slots[:0]}
		e.adopt(running[id])
		switch {
		case !wanted:
			e.doc.endRollout()
			e.doc.Leases, e.doc.Commit, e.changed = nil, f.Commit.Hash, true
		case s.Orphan: // nothing but its instances is known: they stay
		case s.Suspended(v.Now): // the documents stay as they are
			out.Next, out.Waiting[id] = earlier(out.Next, v.Now.bootAt(s.Suspend.Until)), s.Suspend.String()
		default:
			e.coordinate()
		}
		if e.changed {
			out.Docs = append(out.Docs, e.doc)
		}
		for _, rev := range e.prepare {
			out.Prepare = append(out.Prepare, RevisionKey{id, rev})
		}
		if e.waits != "" {
			out.Waiting[id] = e.waits
		}
		out.Next = earlier(out.Next, e.stepping.next)
	}
	return out
}

// adopt makes leases for instances that carry a token the document never
// gave: the node's state was lost, what runs is kept. A slot that was in the
// middle of an update gets a lease for each revision that runs, the newest
// instance of each: only the update itself may say which of them goes. The
// counter rises above every token seen, so that none is given twice. It puts
// running in another order.
func (e *edit) adopt(running []Instance) {
	known := e.doc.Tokens
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
			l := Lease{Slot: i.Slot.Name, Node: e.view.Node.Name, Epoch: i.Epoch, Token: i.Token, Revision: i.Revision}
			if kind := HookKind(l.Slot); slices.Contains(HookKinds, kind) {
				l.Hook = kind
			}
			e.doc.Leases = append(e.doc.Leases, l)
		}
	}
	sortLeases(e.doc.Leases)
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
