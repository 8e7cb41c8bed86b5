package planner

import (
	"cmp"
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

// TakeOn decides which of its leases a node takes on: those that its policy,
// its room and its ports allow. policy says what the node has against a
// service; "" = nothing. refused is what was refused so far: a reason stands
// until it is gone, and while it stands nothing more of that revision begins
// here. Of the capacity, zero fields are unknown and bound nothing. While the
// node is short of something it takes on only what it held before; what runs,
// or ran here and is down, is none of that.
//
// What runs keeps its room; then those that are here and down, then the rest
// are taken on in order, each beside all before it, so that leases that come
// together do not each take the same room.
func TakeOn(st NodeState, capacity ResourceList, policy func(Service) string, refused map[RevisionKey]string) Taken {
	t := newTaker(st)
	t.capacity, t.policy = capacity, policy
	for key, reason := range refused {
		if why := cmp.Or(t.still(key), t.sticks(key, reason)); why != "" {
			t.out.Refused[key] = why
		}
	}
	t.down(func(at slotRevision, token uint64) {
		if !t.takes(at, token) {
			t.without[at] = true
		}
	})
	for _, id := range slices.SortedFunc(maps.Keys(st.Docs), ServiceID.Compare) {
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

// PortsBehind says of leases that a node takes on why they cannot start yet:
// something else that runs here, or that begins before them, has a port of the
// node that they need. It is for a node that grants leases to itself; TakeOn
// sees to it on others.
func PortsBehind(st NodeState) map[LeaseKey]string {
	t := newTaker(st)
	t.down(func(at slotRevision, token uint64) {
		key := RevisionKey{Service: at.slot.Service, Revision: at.revision}
		spec, known := t.spec(key)
		if !known {
			return
		}
		if why, _ := t.portTaken(at.slot, spec); why != "" {
			t.out.Behind[LeaseKey{Service: key.Service, Token: token}] = why
		}
		t.claim(at.slot, spec, false)
	})
	return t.out.Behind
}

// down goes through the leases of which nothing runs. What is here and down
// comes before what is new.
func (t *taker) down(do func(at slotRevision, token uint64)) {
	for _, here := range []bool{true, false} {
		for _, id := range slices.SortedFunc(maps.Keys(t.st.Docs), ServiceID.Compare) {
			for _, l := range t.st.Docs[id].Leases {
				at := slotRevision{SlotID{Service: id, Name: l.Slot}, l.Revision}
				if l.Node == t.st.Node && !t.alive[at] && t.here[at] == here {
					do(at, l.Token)
				}
			}
		}
	}
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
	ports       map[hostPort][]slotPort // that slots have here
	// here and alive are the leases that cover an instance; without those that
	// are not taken on.
	here, alive, without map[slotRevision]bool
	out                  Taken
}

// newTaker looks at what runs or begins.
func newTaker(st NodeState) *taker {
	t := &taker{
		st: st, holds: map[SlotID]ResourceList{}, ends: map[SlotID]ResourceList{},
		ports: map[hostPort][]slotPort{},
		here:  map[slotRevision]bool{}, alive: map[slotRevision]bool{}, without: map[slotRevision]bool{},
		out: Taken{Docs: maps.Clone(st.Docs), Behind: map[LeaseKey]string{}, Refused: map[RevisionKey]string{}},
	}
	t.occupy()
	return t
}

// slotPort is a port of the node that a slot has.
type slotPort struct {
	portClaim
	slot SlotID
	ends bool // and will give back soon
}

// occupy counts what runs or begins.
func (t *taker) occupy() {
	listed := map[string]bool{}
	for _, i := range t.st.Have {
		listed[i.ID] = true
		t.count(i, i.Alive())
	}
	for _, id := range slices.Sorted(maps.Keys(t.st.Busy)) {
		if !listed[id] {
			t.count(t.st.Busy[id], true)
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
	into, ends := t.ends, true
	if leased || nothing || unsure || covers(t.st.Keep[i.Slot.Service], t.st.Node, at) {
		into, ends = t.holds, false
	}
	into[i.Slot] = most(into[i.Slot], spec.Asked())
	t.claim(i.Slot, spec, ends)
}

// claim notes the ports of a slot.
func (t *taker) claim(slot SlotID, spec Template, ends bool) {
	s := t.st.Followed.Services[slot.Service]
	for _, c := range s.claims(spec) {
		t.ports[c.hostPort] = append(t.ports[c.hostPort], slotPort{c, slot, ends})
	}
}

// portTaken says what else has one of the ports here that a slot needs, and
// whether that is to be waited for: it is about to give it back, or is of the
// same service. Instances of the slot replace each other.
func (t *taker) portTaken(slot SlotID, spec Template) (why string, wait bool) {
	s := t.st.Followed.Services[slot.Service]
	for _, c := range s.claims(spec) {
		for _, p := range t.ports[c.hostPort] {
			same := p.slot.Service == slot.Service
			switch {
			case p.slot == slot || !p.clashes(c, same):
			case p.ends || same:
				why, wait = c.takenBy(p.slot.Service, slot.Service), true
			default:
				return c.takenBy(p.slot.Service, slot.Service), false
			}
		}
	}
	return why, wait
}

// covers reports whether a lease of the node is for a slot and revision.
func covers(leases []Lease, node NodeName, at slotRevision) bool {
	return slices.ContainsFunc(leases, func(l Lease) bool {
		return l.Node == node && l.Slot == at.slot.Name && l.Revision == at.revision
	})
}

// still says why a revision that was refused is refused further.
func (t *taker) still(key RevisionKey) string {
	if why := t.against(key); why != "" {
		return why
	}
	spec, known := t.spec(key)
	if !known {
		return ""
	}
	if why := lack(t.capacity, sum(t.holds, SlotID{}), spec.Asked()); why != "" || t.runs(key) {
		return why
	}
	if why, wait := t.portTaken(SlotID{Service: key.Service}, spec); why != "" && !wait {
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

// spec is the template of a revision.
func (t *taker) spec(key RevisionKey) (Template, bool) {
	s := t.st.Followed.Services[key.Service]
	return templateOf(&s, t.st.Specs, key.Revision)
}

// against is what the node's policy has against a revision that the manifest
// has, of the service or of one of its hooks.
func (t *taker) against(key RevisionKey) string {
	s := t.st.Followed.Services[key.Service]
	spec, has := s.TemplateOf(key.Revision)
	if !has {
		return ""
	}
	s.Template, s.Revision = spec, key.Revision
	return t.policy(s)
}

// takes reports whether a lease of which nothing runs is taken on, and counts
// it.
func (t *taker) takes(at slotRevision, token uint64) bool {
	if t.begun(at, token) {
		return true // nothing is started any more
	}
	key := RevisionKey{Service: at.slot.Service, Revision: at.revision}
	if why := t.against(key); why != "" {
		t.out.Refused[key] = why
		return false
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
	spec, known := t.spec(key)
	if !known {
		return true // it cannot start before it is
	}
	asked := spec.Asked()
	held := sum(t.holds, at.slot)
	if why := lack(t.capacity, held, asked); why != "" {
		t.out.Refused[key] = why
		return false
	}
	if why := lack(t.capacity, held.plus(sum(t.ends, at.slot)), asked); why != "" {
		t.out.Behind[LeaseKey{Service: key.Service, Token: token}] = why + " until others have ended"
	}
	if why, wait := t.portTaken(at.slot, spec); why != "" {
		if !wait && !t.runs(key) {
			t.out.Refused[key] = why
			return false
		}
		t.out.Behind[LeaseKey{Service: key.Service, Token: token}] = why
	}
	t.holds[at.slot] = most(t.holds[at.slot], asked)
	t.claim(at.slot, spec, false)
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
