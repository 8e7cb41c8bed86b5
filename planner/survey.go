package planner

import (
	"maps"
	"slices"
	"strconv"
)

// survey is what placement and coordination both work from: every node and
// every slot as one view shows them.
type survey struct {
	f        Followed
	v        View
	now      Time
	hosts    []*host // ordered by name
	byName   map[NodeName]*host
	services []*serviceState // ordered by id
	byID     map[ServiceID]*serviceState
	kept     map[ServiceID]bool
	data     map[SlotID][]NodeName // where the local volumes of slots lie, by name
	running  map[SlotID][]report   // what nodes report ready, by name; see runs
	// everywhere are the ports that are opened on every node.
	everywhere everywhere
	// filled and changed are the slots that the commit has brought and moved: see
	// settled.
	filled, changed []turnOf
	away            *turnedAway // see coordination
}

// report is an instance that a node says is ready.
type report struct {
	node     NodeName
	revision Revision
}

// serviceState is one service that is followed, with its document.
type serviceState struct {
	id ServiceID
	// s is the service with the revision that is wanted, manifest as the manifest
	// has it. Neither is changed.
	s, manifest *Service
	doc         LeaseDoc // with the pins and outcomes that are known by now
	known       bool     // there is a document
	// roll is nil where the service is kept.
	roll *rollout
	// kept: it stays as it was because the commit does not speak for it. Nodes
	// that came to the commit by different ways may have kept different
	// revisions of it, or have deleted it: what is wanted of it is what its
	// leases in force say, and only what is void is given again.
	kept bool
	pins pinning
	// holder is the first slot with a lease at the wanted revision, where its
	// pins are not known.
	holder string
	names  []string // of its slots, in order
	leased map[string][]Lease
	slots  []*slotState
	extra  []Lease // of slots that the service does not have
	// turns are the slots that are to have the wanted revision; nil = all. The
	// others stay at the revision that they have: see own.
	turns map[string]bool
	// stepping is how far its steps let a rollout go.
	stepping stepping
	pace     pace
	// proven: an instance of the wanted revision is available.
	proven bool
	// hook is the place of the hook that is to begin; nil = none is.
	hook *slotState
	// waits tells people what it waits for; "" = see coordination.held.
	waits string
	// neighbours is where its slots are, for placement; nil = not counted yet.
	neighbours *neighbours
	choices    map[Revision]*choice
}

// newSurvey looks at everything once.
func newSurvey(f Followed, v View, now Time) *survey { return surveyBut(f, v, now, nil) }

// surveyBut is that, but services that are still only take their room: nothing is
// worked out for them.
func surveyBut(f Followed, v View, now Time, still map[ServiceID]stillness) *survey {
	sv := &survey{
		f: f, v: v, now: now, byName: map[NodeName]*host{}, byID: make(map[ServiceID]*serviceState, len(f.Services)),
		kept: map[ServiceID]bool{}, data: map[SlotID][]NodeName{}, everywhere: everywhere{},
	}
	for _, h := range f.Held {
		sv.kept[h.Service] = true
	}
	for _, name := range v.names() {
		n := v.Nodes[name]
		if n.Record.Node != name {
			continue
		}
		h := newHost(f, n)
		h.index = len(sv.hosts)
		sv.hosts = append(sv.hosts, h)
		sv.byName[name] = h
		for _, slot := range n.Record.Volumes {
			sv.data[slot] = append(sv.data[slot], name)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(f.Services), ServiceID.Compare) {
		s := f.Services[id]
		if s.Orphan {
			continue
		}
		sv.everywhere.add(&s)
		if at, is := still[id]; is {
			sv.byID[id] = at.state
			continue
		}
		if s.Suspended(now) {
			sv.kept[id] = true
		}
		sv.byID[id] = sv.service(&s)
		sv.services = append(sv.services, sv.byID[id])
	}
	for _, ss := range sv.services {
		sv.slots(ss)
	}
	return sv
}

// service describes one service, but for its slots: when they change depends on
// other services.
func (sv *survey) service(s *Service) *serviceState {
	dv, known := sv.v.Docs[s.ID]
	ss := &serviceState{id: s.ID, s: s, manifest: s, known: known, kept: sv.kept[s.ID], doc: cloneDoc(dv.Doc, s.ID)}
	sortLeases(ss.doc.Leases)
	if !ss.kept {
		ss.roll = newRollout(s, &ss.doc, &fleetFacts{&sv.v, s}, sv.f.Commit.Hash)
		ss.s = ss.roll.s
		if !ss.roll.stays {
			sv.pin(ss)
		}
	}
	ss.leased = bySlot(slotLeases(ss.doc.Leases))
	ss.names = sv.slotNames(ss, ss.leased)
	ss.pace = newPace(ss.s.Update, len(ss.names))
	return ss
}

// slots describes the slots of a service.
func (sv *survey) slots(ss *serviceState) {
	if !ss.kept {
		ss.turns = sv.turns(ss)
	}
	own := make(map[string]bool, len(ss.names))
	for _, name := range ss.names {
		ss.slots = append(ss.slots, sv.slot(ss, name, ss.leased[name]))
		own[name] = true
	}
	for _, l := range slotLeases(ss.doc.Leases) {
		if !own[l.Slot] {
			ss.extra = append(ss.extra, l)
		}
	}
	for _, st := range ss.slots {
		sv.underWay(ss, st)
	}
}

// retries reports whether a slot has lost what it had at the wanted revision
// before that has proved itself: it gets it again.
func (ss *serviceState) retries(st *slotState) bool {
	newest := len(st.void) - 1
	return st.kind == slotRecovers && newest >= 0 && st.void[newest].Revision == ss.s.Revision && ss.doc.LastGood != ss.s.Revision
}

// underWay counts a slot whose change has begun.
func (sv *survey) underWay(ss *serviceState, st *slotState) {
	if st.cur == nil {
		if ss.retries(st) {
			ss.pace.trying++
		}
		return
	}
	st.available = sv.v.Available(ss.s, *st.cur)
	wanted := st.cur.Revision == ss.s.Revision
	if st.available {
		ss.proven = ss.proven || wanted
		return
	}
	p := &ss.pace
	if st.old != nil {
		beside := !sv.stopsFirst(ss, st)
		if !beside && sv.v.Ready(st.id, *st.old) {
			p.waiting++
			return
		}
		if beside {
			p.pairs++
		}
		p.moving++
	}
	if wanted {
		p.trying++
	}
}

// maxSlots bounds the slots of a service: as many as its document can hold.
const maxSlots = ShardSlots * MaxShards

// slotNames lists the slots a service is to have, in order. A service that
// runs on every node has one on each that takes it, and keeps those of fenced
// nodes: their void leases are given again when the nodes return. A node that is
// named like the slot of a hook has none. A service that is kept has the slots
// that it has.
func (sv *survey) slotNames(ss *serviceState, leased map[string][]Lease) []string {
	s := ss.s
	var names []string
	if ss.kept {
		for _, l := range slotLeases(ss.doc.Leases) {
			names = append(names, l.Slot)
		}
		return slices.Compact(names)
	}
	if s.EveryNode {
		for _, h := range sv.hosts {
			why := h.closed(s)
			if len(leased[string(h.name)]) > 0 {
				why = h.leaves(s)
			}
			if why == "" && !slices.Contains(HookKinds, HookKind(h.name)) {
				names = append(names, string(h.name))
			}
		}
		return names
	}
	for i := range min(max(0, s.Replicas), maxSlots) {
		names = append(names, strconv.Itoa(i))
	}
	return names
}

// ofNode reports whether a slot is that of the node it is named for. Of a
// service that is kept the name tells: others may have kept another.
func (ss *serviceState) ofNode(slot string) bool {
	if ss.kept {
		_, err := strconv.Atoi(slot)
		return err != nil
	}
	return ss.s.EveryNode
}

// keepsData reports whether a slot has data on a node. Of a service that is
// kept the template of its newest lease tells; one that nobody knows has.
func (sv *survey) keepsData(ss *serviceState, newest Lease) bool {
	if !ss.kept {
		return ss.s.HasVolumes()
	}
	t, known := sv.template(ss, newest.Revision)
	return !known || Service{Template: t}.HasVolumes()
}

// template is the template of a revision of the service, if it is known.
func (sv *survey) template(ss *serviceState, rev Revision) (Template, bool) {
	if rev == ss.s.Revision {
		return ss.s.Template, true
	}
	return templateOf(ss.manifest, sv.v.Specs, rev)
}

// refused is the standing refusal of a node to a revision of the service.
func (sv *survey) refused(ss *serviceState, node NodeName, rev Revision) (string, bool) {
	r, ok := sv.v.Nodes[node].Refuses(RevisionKey{ss.id, rev})
	return r.Reason, ok
}

// runs lists the nodes that report an instance of the slot ready at the
// revision: where a document was lost, they are its memory.
func (sv *survey) runs(slot SlotID, rev Revision) []NodeName {
	var nodes []NodeName
	for _, r := range sv.reports(slot) {
		if r.revision == rev {
			nodes = append(nodes, r.node)
		}
	}
	return nodes
}

// found is the revision at which a slot is reported ready that has no lease,
// for the document was lost: the wanted one, or one that is known. "" = none is.
func (sv *survey) found(ss *serviceState, name string) (rev Revision) {
	if len(ss.doc.History) > 0 || len(ss.leased[name]) > 0 {
		return ""
	}
	for _, r := range sv.reports(SlotID{ss.id, name}) {
		_, known := sv.template(ss, r.revision)
		if sv.byName[r.node].out == "" && (r.revision == ss.s.Revision || known && rev == "") {
			rev = r.revision
		}
	}
	return rev
}

// reports lists what nodes report ready of a slot.
func (sv *survey) reports(slot SlotID) []report {
	if sv.running == nil {
		sv.running = map[SlotID][]report{}
		for _, h := range sv.hosts {
			if !h.view.Current() {
				continue
			}
			for _, i := range h.view.Status.Instances {
				if i.Phase == PhaseReady {
					sv.running[i.Slot] = append(sv.running[i.Slot], report{h.name, i.Revision})
				}
			}
		}
	}
	return sv.running[slot]
}
