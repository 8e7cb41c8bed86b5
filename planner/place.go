package planner

import "slices"

// Node is what a node says of itself.
type Node struct {
	Name   NodeName          `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	OS     string            `json:"os,omitempty"`   // GOOS of the agent
	Arch   string            `json:"arch,omitempty"` // GOARCH of the agent
}

// Labels every node has without being given them.
const (
	LabelNode = "orpheus/node"
	LabelOS   = "orpheus/os"
	LabelArch = "orpheus/arch"
)

// Label is the value of a label of the node, the built-in ones included.
func (n Node) Label(key string) (string, bool) {
	switch key {
	case LabelNode:
		return string(n.Name), true
	case LabelOS:
		return n.OS, true
	case LabelArch:
		return n.Arch, true
	}
	v, ok := n.Labels[key]
	return v, ok
}

// RunsHere is placement for a node that shares no leases with others: it runs
// every service whose selector matches it, and those without a selector only
// if fleet.yaml lists no other node.
func RunsHere(n Node, f Fleet, s Service) bool {
	for key, want := range s.NodeSelector {
		if got, ok := n.Label(key); !ok || got != want {
			return false
		}
	}
	if len(s.NodeSelector) > 0 {
		return true
	}
	for _, other := range f.Nodes {
		if other != n.Name {
			return false
		}
	}
	return true
}

// Unplaced is a slot that no node takes, and why.
type Unplaced struct {
	Slot    SlotID
	Reasons []NodeReason // ordered by node; empty = there are no nodes
}

// NodeReason is why one node does not take a slot.
type NodeReason struct {
	Node   NodeName
	Reason string
}

func (r NodeReason) String() string { return string(r.Node) + ": " + r.Reason }

// unplaced lists the slots that need a place and have none.
func (sv *survey) unplaced() []Unplaced {
	var all []Unplaced
	for _, ss := range sv.services {
		for _, st := range ss.slots {
			if st.kind != slotKeeps && !st.fixed && !st.held && st.node == "" {
				all = append(all, Unplaced{st.id, st.reasons})
			}
		}
		if ss.hook != nil && ss.hook.node == "" {
			all = append(all, Unplaced{ss.hook.id, ss.hook.reasons})
		}
	}
	return all
}

// place finds a node for every slot that needs one. What has no instance comes
// before what merely should change, in all services. Slots stay where they are
// as long as they may; the others go, service by service and slot by slot, to
// the node with the fewest slots of their service, then where soft spread
// constraints are met best, then where the fullest resource is least full (in
// steps of a twentieth), then where the fewest slots are. For the last two slots
// count where they are to be: see settled. It is deterministic
// and total; all nodes of one version that know the same come to the same.
func (sv *survey) place() {
	sv.occupy()
	for _, ss := range sv.services {
		reach(&sv.filled, ss)
		for _, st := range ss.slots {
			if !st.fixed && !st.held && (st.kind == slotFirst || st.kind == slotRecovers) {
				sv.fill(ss, st)
			}
		}
	}
	for _, ss := range sv.services {
		sv.passTurns(ss)
	}
	reach(&sv.filled, nil)
	for _, ss := range sv.services {
		reach(&sv.changed, ss)
		if !ss.changes() {
			continue
		}
		for _, st := range ss.slots {
			st.oldReady = st.old != nil && sv.serves(st.id, *st.old)
		}
		sv.replaceAll(ss, false)
		sv.handOver(ss)
		sv.replaceAll(ss, true)
	}
	reach(&sv.changed, nil)
	for _, ss := range sv.services {
		if ss.roll == nil {
			continue
		}
		if n, whole := sv.whole(ss); whole && ss.stepping.through {
			ss.roll.completes(n)
		}
		sv.hook(ss)
	}
}

// changes reports whether a slot of the service changes, or is to.
func (ss *serviceState) changes() bool {
	return slices.ContainsFunc(ss.slots, func(st *slotState) bool {
		return !st.fixed && (st.kind == slotChanges || st.cur != nil && st.old != nil && !st.available)
	})
}

// replaceAll places the slots that are to change, those that have a ready instance
// or those that have none to lose. Those that have two leases already go
// first: they may keep both, and with them a part of the surge.
func (sv *survey) replaceAll(ss *serviceState, ready bool) {
	for _, two := range []bool{true, false} {
		for _, st := range ss.slots {
			if !st.fixed && st.kind == slotChanges && st.oldReady == ready && len(st.leases)-len(st.void) > 1 == two {
				sv.replace(ss, st)
			}
		}
	}
}

// whole reports whether all slots that have leases in force, or get some, have
// the wanted revision and are available, and how many they are.
func (sv *survey) whole(ss *serviceState) (n int, whole bool) {
	for _, st := range ss.slots {
		switch {
		case st.cur != nil && st.available && st.cur.Revision == ss.s.Revision:
			n++
		case st.cur != nil, st.old != nil, st.fixed, st.grant:
			return 0, false
		}
	}
	return n, true
}

// fill places a slot that has nothing in force. Its place is taken even if it
// has to wait for its images' digests.
func (sv *survey) fill(ss *serviceState, st *slotState) {
	sv.neighbours(ss)
	st.want = sv.recoverAt(ss, st)
	if _, known := sv.template(ss, st.want); ss.kept && !known {
		st.reasons = []NodeReason{{sv.v.Self, "does not know " + st.want.Short() + ", at which it is kept"}}
		return
	}
	var h *host
	if h, st.reasons = sv.choose(ss, st); h == nil {
		if ss.retries(st) {
			ss.pace.trying--
		}
		return
	}
	st.node, st.grant = h.name, ss.grantable(st, st.want)
	sv.take(ss, st, h)
	if !st.grant || st.want != ss.s.Revision {
		return
	}
	if ss.pins == pinsByNode {
		ss.holder = st.id.Name
	}
	if len(st.void) > 0 && st.void[len(st.void)-1].Revision != st.want {
		ss.pace.trying++
	}
}

// recoverAt is the revision at which a slot is leased that has nothing in
// force. No more slots at a time try a new revision than the budget allows, until
// one has shown that it works: the loss of a node must not spread a bad one.
func (sv *survey) recoverAt(ss *serviceState, st *slotState) Revision {
	wanted := ss.s.Revision
	if ss.kept || st.want != wanted {
		return st.want // its own
	}
	if st.kind != slotRecovers || st.old != nil || ss.doc.LastGood == wanted {
		return wanted
	}
	before := st.void[len(st.void)-1].Revision
	if before == wanted || ss.grantable(st, wanted) && (ss.proven || ss.pace.trying < ss.pace.atOnce()) {
		return wanted
	}
	if _, known := sv.template(ss, before); known {
		return before
	}
	return wanted
}

// replace places a slot that runs but is to change. Only those change now, and
// take their place, that the budget allows; for the others it is a forecast.
func (sv *survey) replace(ss *serviceState, st *slotState) {
	sv.neighbours(ss)
	p, u := ss.pace, ss.s.Update
	single := sv.single(ss, *st.old, st.want)
	stops, begins := p.begins(u, st.old.Revision != st.want, single, st.oldReady)
	st.stopFirst = !single && (begins && stops || !begins && p.stopsFirst(u))
	var h *host
	if h, st.reasons = sv.choose(ss, st); h == nil {
		if st.givesUp {
			st.stay()
		}
		return
	}
	if l := sv.failsOn(st, h.name); l != nil {
		st.cur, st.kind = l, slotKeeps // another lease would have it fail anew
		sv.underWay(ss, st)
		return
	}
	st.node, st.grant = h.name, begins && ss.grantable(st, st.want)
	if !st.grant && !(begins && ss.pins == pinsAsked) {
		sv.settles(ss, st, h) // later: whoever goes before it is to find it there
		return
	}
	// Who coordinates the service may know the digests that are asked for here.
	ss.pace = p
	if ss.pins == pinsByNode {
		ss.holder = st.id.Name
	}
	sv.take(ss, st, h)
}
