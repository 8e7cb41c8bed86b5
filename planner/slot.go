package planner

import (
	"cmp"
	"slices"
)

// slotKind says what a slot needs.
type slotKind int

// The kinds.
const (
	slotKeeps    slotKind = iota // nothing: a lease at the wanted revision is in force where it may be, or its node must return
	slotFirst                    // it has no lease at all
	slotRecovers                 // its leases are void or refused: replaced at once
	slotChanges                  // a lease is in force, at another revision or on a node it should leave
)

// slotState is one slot with its leases.
type slotState struct {
	id     SlotID
	leases []Lease // all that stand, in order of tokens
	kind   slotKind
	// fixed: a lease of it is exclusive or ending; the rules for those decide.
	fixed bool
	// hook: it is that of a hook.
	hook bool
	// held: it has no lease, and gets none for now.
	held bool
	// available: the instance under cur is; oldReady: that under old is ready, or
	// may be (see serves), known once the budget was counted.
	available, oldReady bool
	// givesUp: all that is wrong with old is that it keeps failing on its node.
	givesUp bool
	// bound is the node that has the slot's data; "" = none.
	bound NodeName
	// cur is in force at the wanted revision on a node that suits; old is in
	// force and replaced by cur, or by what is still to be given.
	cur, old *Lease
	void     []Lease // not in force, in order of tokens
	// why says in the user's words what is wrong with old or, if nothing is in
	// force, with the newest void lease.
	why string
	// want is the revision of the lease it needs, node where that is to be (""
	// = no node takes it, for the reasons given), and grant whether it is given
	// now; stopFirst: old ends before it starts. yields: old goes although cur is
	// not available. All are place's.
	want      Revision
	node      NodeName
	grant     bool
	stopFirst bool
	yields    bool
	reasons   []NodeReason
}

// at is the node that counts as the slot's; "" = none.
func (st *slotState) at() NodeName {
	switch {
	case st.cur != nil:
		return st.cur.Node
	case st.old != nil && st.kind == slotChanges:
		return st.old.Node
	case st.grant:
		return st.node
	case st.fixed && len(st.leases) > 0:
		return st.leases[len(st.leases)-1].Node
	}
	return ""
}

// slot describes one slot of a service.
func (sv *survey) slot(ss *serviceState, name string, leases []Lease) *slotState {
	st := &slotState{id: SlotID{ss.id, name}, leases: leases, want: ss.s.Revision}
	for _, l := range leases {
		st.fixed = st.fixed || l.Ending || l.Exclusive != nil
	}
	if st.fixed {
		return st
	}
	if ss.turns != nil && !ss.turns[name] {
		st.want = sv.own(ss, st)
		st.held = st.want == ""
	}
	st.bound = sv.bound(ss, st)
	for i := range leases {
		l := &leases[i]
		switch {
		case !sv.v.InForce(*l):
			st.void = append(st.void, *l)
		case sv.overtaken(ss, st, *l):
		case sv.misfit(ss, st, *l) == "" && sv.givenUp(ss, st, *l) == "":
			// Of two the older stays: a move that is taken back leaves no trace.
			if st.cur == nil || sv.standing(ss, st, *l) > sv.standing(ss, st, *st.cur) {
				st.cur = l
			}
		case st.old == nil || cmp.Or(sv.standing(ss, st, *l)-sv.standing(ss, st, *st.old), 1) > 0:
			st.old = l // the readiest, of these the newest
		}
	}
	if newest := len(leases) - 1; ss.kept && newest >= 0 {
		st.want = leases[newest].Revision
	}
	sv.need(ss, st)
	return st
}

// need works out what the slot needs, and why.
func (sv *survey) need(ss *serviceState, st *slotState) {
	switch {
	case st.cur != nil, ss.ofNode(st.id.Name) && !sv.v.Nodes[NodeName(st.id.Name)].Live():
		st.kind = slotKeeps
	case st.old != nil:
		st.kind = slotChanges
		st.why = sv.misfit(ss, st, *st.old)
		if st.givesUp = st.why == ""; st.givesUp {
			st.why = sv.givenUp(ss, st, *st.old)
		}
		if _, refused := sv.refused(ss, st.old.Node, st.old.Revision); refused && !sv.v.Ready(st.id, *st.old) {
			st.kind = slotRecovers
		}
	case len(st.void) > 0:
		st.kind = slotRecovers
		st.why = sv.voided(st.void[len(st.void)-1])
	default:
		st.kind = slotFirst
	}
	if st.cur != nil && st.old != nil {
		st.why = cmp.Or(sv.misfit(ss, st, *st.old), sv.givenUp(ss, st, *st.old))
	}
}

// standing ranks leases in force: available, or ready, or perhaps (the agent
// restarted and has not told yet), or not ready.
func (sv *survey) standing(ss *serviceState, st *slotState, l Lease) int {
	switch {
	case sv.v.Available(ss.s, l):
		return 3
	case sv.v.Ready(st.id, l):
		return 2
	case !sv.v.Nodes[l.Node].Current():
		return 1
	}
	return 0
}

// misfit says why a lease in force is not what is wanted; "" = it is.
func (sv *survey) misfit(ss *serviceState, st *slotState, l Lease) string {
	if l.Revision != st.want && !ss.kept {
		if ss.roll.doc.IsBlocked(l.Revision) {
			return l.Revision.Short() + " is blocked"
		}
		commit := ss.doc.changedBy(cmp.Or(st.want, ss.s.Revision), sv.f.Commit.Hash)
		return "commit " + Commit{Hash: commit}.Short() + " changed it"
	}
	if reason, refused := sv.refused(ss, l.Node, l.Revision); refused && !(ss.kept && sv.v.Ready(st.id, l)) {
		return string(l.Node) + " refuses: " + reason
	}
	if st.bound == l.Node || ss.kept {
		return "" // where the data is, or of a service that is kept: neither a drain nor a taint moves it
	}
	h, ok := sv.byName[l.Node]
	if !ok {
		return string(l.Node) + " is unknown"
	}
	if why := h.leaves(ss.s); why != "" {
		return string(l.Node) + ": " + why
	}
	return ""
}

// voided says why a lease is void.
func (sv *survey) voided(l Lease) string {
	n := sv.v.Nodes[l.Node].Record
	switch {
	case n.Epoch == 0:
		return string(l.Node) + " has no record"
	case sv.v.Torn(l):
		return string(l.Node) + " never had the lease's epoch"
	case n.Retired:
		return string(l.Node) + " is retired"
	case n.Fence != nil:
		return string(l.Node) + " was fenced by " + string(n.Fence.By)
	}
	return string(l.Node) + " came back under a new epoch"
}

// abandoned reports whether people gave up what is in a node's volumes. Of one
// that is live they cannot: what it has is there.
func (sv *survey) abandoned(node NodeName) bool {
	return sv.f.Nodes[node].Abandoned && !sv.v.Nodes[node].Live()
}

// dataThere says why a slot with data on a node can be nowhere else, and what a
// person may do where that node is not to be had.
func (sv *survey) dataThere(ss *serviceState, node NodeName) string {
	const why = "; the data of the slot is there"
	if ss.kept || sv.v.Nodes[node].Live() {
		return why
	}
	return why + ": if it is lost for good, give it up with \"orpheus abandon " + string(node) + "\""
}

// bound is the node that has the data of a slot with local volumes: that of
// its newest lease, or one that says so. A node that refuses the slot and has
// no data of it binds nothing, nor does one whose data people gave up.
func (sv *survey) bound(ss *serviceState, st *slotState) NodeName {
	var newest Lease // by token, in whose order they are
	if n := len(st.leases); n > 0 {
		newest = st.leases[n-1]
	}
	has := sv.data[st.id]
	if !ss.kept {
		has = slices.DeleteFunc(slices.Clone(has), sv.abandoned)
		if sv.abandoned(newest.Node) {
			newest = Lease{}
		}
	}
	switch {
	case !sv.keepsData(ss, newest):
		return ""
	case newest.Token == 0 && len(has) == 0:
		return ""
	case newest.Token == 0:
		return has[0]
	}
	if _, refused := sv.refused(ss, newest.Node, newest.Revision); refused && len(has) > 0 {
		return has[0]
	} else if refused {
		return ""
	}
	return newest.Node
}
