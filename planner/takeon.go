package planner

import (
	"maps"
	"slices"
)

// Taken is what of its leases a node takes on.
type Taken struct {
	// Docs are the documents without the leases that are refused.
	Docs map[ServiceID]LeaseDoc
	// Behind says of leases that are taken on why they cannot start yet, beside
	// NodeState.Behind: what is about to end still takes their room.
	Behind map[LeaseKey]string
	// Refused says why the node does not run a revision. It is to be told in the
	// node's status, so that no lease is placed against it (design L8).
	Refused map[RevisionKey]string
}

// TakeOn decides which of its leases a node takes on: those that its policy
// and its room allow. policy says what the node has against a service; "" =
// nothing. refused is what was refused so far: a reason stands until it is
// gone, and while it stands nothing more of that revision begins here. Of the
// capacity, zero fields are unknown and bound nothing. While the node is short
// of something it takes on only what it held before; what runs, or ran here and
// is down, is none of that.
//
// What runs keeps its room; then those that are here and down, then the rest
// are taken on in order, each beside all before it, so that leases that come
// together do not each take the same room.
func TakeOn(st NodeState, capacity ResourceList, policy func(Service) string, refused map[RevisionKey]string) Taken {
	t := &taker{st: st, capacity: capacity, policy: policy, holds: map[SlotID]ResourceList{}, ends: map[SlotID]ResourceList{},
		here: map[slotRevision]bool{}, alive: map[slotRevision]bool{}, without: map[slotRevision]bool{}}
	t.out = Taken{Docs: maps.Clone(st.Docs), Behind: map[LeaseKey]string{}, Refused: map[RevisionKey]string{}}
	t.occupy()
	for key := range refused {
		if why := t.still(key); why != "" {
			t.out.Refused[key] = why
		}
	}
	ids := slices.SortedFunc(maps.Keys(st.Docs), ServiceID.Compare)
	for _, down := range []bool{true, false} { // what is here and down comes before what is new
		for _, id := range ids {
			for _, l := range st.Docs[id].Leases {
				at := slotRevision{SlotID{Service: id, Name: l.Slot}, l.Revision}
				if l.Node == st.Node && !t.alive[at] && t.here[at] == down && !t.takes(at, l.Token) {
					t.without[at] = true
				}
			}
		}
	}
	for _, id := range ids {
		doc := st.Docs[id]
		kept := slices.DeleteFunc(slices.Clone(doc.Leases), func(l Lease) bool {
			return l.Node == st.Node && t.without[slotRevision{SlotID{Service: id, Name: l.Slot}, l.Revision}]
		})
		if len(kept) < len(doc.Leases) {
			doc.Leases = kept
			t.out.Docs[id] = doc
		}
	}
	return t.out
}

// slotRevision is what an instance and the leases that cover it have in common.
type slotRevision struct {
	slot     SlotID
	revision Revision
}

type taker struct {
	st       NodeState
	capacity ResourceList
	policy   func(Service) string
	// holds is the room that slots take for good, ends what others will give
	// back soon. Instances of one slot that replace each other count once.
	holds, ends map[SlotID]ResourceList
	// here and alive are the leases that cover an instance; without those that
	// are not taken on.
	here, alive, without map[slotRevision]bool
	out                  Taken
}

// occupy counts what runs or begins.
func (t *taker) occupy() {
	listed := map[string]bool{}
	for _, i := range t.st.Have {
		listed[i.ID] = true
		t.count(i, i.Alive())
	}
	for id, i := range t.st.Busy {
		if !listed[id] {
			t.count(i, true)
		}
	}
}

// count notes one instance.
func (t *taker) count(i Instance, alive bool) {
	at := slotRevision{i.Slot, i.Revision}
	leased := covers(t.st.Docs[i.Slot.Service].Leases, t.st.Node, at)
	if leased {
		t.here[at] = true
		t.alive[at] = t.alive[at] || alive
	}
	spec, known := t.st.Specs[i.Revision]
	if !alive || !known {
		return
	}
	_, nothing := t.st.Unsure[ServiceID{}]
	_, unsure := t.st.Unsure[i.Slot.Service]
	into := t.ends
	if leased || nothing || unsure || covers(t.st.Keep[i.Slot.Service], t.st.Node, at) {
		into = t.holds
	}
	into[i.Slot] = most(into[i.Slot], spec.Asked())
}

// covers reports whether a lease of the node is for a slot and revision.
func covers(leases []Lease, node NodeName, at slotRevision) bool {
	return slices.ContainsFunc(leases, func(l Lease) bool {
		return l.Node == node && l.Slot == at.slot.Name && l.Revision == at.revision
	})
}

// still says why a revision that was refused is refused further.
func (t *taker) still(key RevisionKey) string {
	s := t.st.Followed.Services[key.Service]
	if s.Revision == key.Revision {
		if why := t.policy(s); why != "" {
			return why
		}
	}
	asked, known := t.asked(key)
	if !known {
		return ""
	}
	if why := lack(t.capacity, sum(t.holds, SlotID{}), asked); why != "" || t.runs(key) {
		return why
	}
	return t.st.Short
}

// runs reports whether any slot of a revision runs here.
func (t *taker) runs(key RevisionKey) bool {
	return slices.ContainsFunc(t.st.Have, func(i Instance) bool {
		return i.Slot.Service == key.Service && i.Revision == key.Revision && i.Alive()
	})
}

// asked is what an instance of a revision asks for.
func (t *taker) asked(key RevisionKey) (ResourceList, bool) {
	if s := t.st.Followed.Services[key.Service]; s.Revision == key.Revision {
		return s.Template.Asked(), true
	}
	spec, known := t.st.Specs[key.Revision]
	return spec.Asked(), known
}

// takes reports whether a lease of which nothing runs is taken on, and counts
// it.
func (t *taker) takes(at slotRevision, token uint64) bool {
	key := RevisionKey{Service: at.slot.Service, Revision: at.revision}
	if s := t.st.Followed.Services[key.Service]; s.Revision == key.Revision {
		if why := t.policy(s); why != "" {
			t.out.Refused[key] = why
			return false
		}
	}
	if t.out.Refused[key] != "" && !t.here[at] {
		return false
	}
	if t.st.Short != "" && !t.here[at] && !t.st.Held[LeaseKey{Service: key.Service, Token: token}] {
		if !t.runs(key) {
			t.out.Refused[key] = t.st.Short
			return false
		}
		// A refusal is one of the whole revision, and would move what runs.
		t.out.Behind[LeaseKey{Service: key.Service, Token: token}] = t.st.Short
	}
	asked, known := t.asked(key)
	if !known {
		return true // it cannot start before it is
	}
	held := sum(t.holds, at.slot)
	if why := lack(t.capacity, held, asked); why != "" {
		t.out.Refused[key] = why
		return false
	}
	if why := lack(t.capacity, held.plus(sum(t.ends, at.slot)), asked); why != "" {
		t.out.Behind[LeaseKey{Service: key.Service, Token: token}] = why + " until others have ended"
	}
	t.holds[at.slot] = most(t.holds[at.slot], asked)
	return true
}

// sum adds up the room of all slots but one.
func sum(rooms map[SlotID]ResourceList, but SlotID) (total ResourceList) {
	for slot, r := range rooms {
		if slot != but {
			total = total.plus(r)
		}
	}
	return total
}

// most is the larger of two amounts, each for itself.
func most(a, b ResourceList) ResourceList {
	return ResourceList{CPUMillis: max(a.CPUMillis, b.CPUMillis), MemoryBytes: max(a.MemoryBytes, b.MemoryBytes)}
}
