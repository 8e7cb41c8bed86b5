package fleettest

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

func copyOf[K comparable, V any](m map[K]V) map[K]V { return maps.Clone(m) }

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func subject(message string) string {
	line, _, _ := strings.Cut(message, "\n")
	return line
}

// belongs reports whether the record of a process's node, as it last read it,
// is its own and not fenced.
func (p *process) belongs() bool { return p.m.owns(p.member.View().Nodes[p.m.node].Record) }

// owns reports whether a record is that of a machine's life, and not fenced.
func (m *machine) owns(rec planner.NodeRecord) bool {
	return rec.Fence == nil && !rec.Retired && rec.Life == m.life && rec.Key == m.key.public()
}

// stands checks what a process takes for its duties: every one is a lease that
// was really given, and that is in force by what it last read.
func (wit *witness) stands(p *process) {
	v := p.member.View()
	rec := v.Nodes[p.m.node].Record
	for _, id := range sortedIDs(p.standing.Docs) {
		for _, l := range p.standing.Docs[id].Leases {
			switch {
			case l.Node != p.m.node:
				wit.w.fail("L1: %s takes a lease of %s for its own", p.m.called, l.Node)
			case !p.member.Whole():
				if !onDisk(p.m.disk, id, l) {
					wit.w.fail("L13: %s has read nothing, and works by a lease of %s that is not on its disk", p.m.called, id)
				}
			case v.Alarm != "":
			case !p.belongs() || rec.Epoch != l.Epoch:
				wit.w.fail("L1: %s (epoch %d, its own: %v) works by lease %+v", p.m.called, rec.Epoch, p.belongs(), l)
			case !slices.ContainsFunc(v.Docs[id].Doc.Leases, func(o planner.Lease) bool { return identity(o) == identity(l) }):
				wit.w.fail("L1: %s works by a lease that does not stand: %+v", p.m.called, l)
			}
		}
	}
}

func onDisk(d disk, id planner.ServiceID, l planner.Lease) bool {
	return slices.ContainsFunc(d.memory.Docs, func(doc planner.LeaseDoc) bool {
		return doc.Service == id && slices.ContainsFunc(doc.Leases, func(o planner.Lease) bool { return identity(o) == identity(l) })
	})
}

// starts checks an instance that is about to start.
func (wit *witness) starts(p *process, a planner.Action) {
	id := a.Slot.Service
	wit.hooks.starts(wit, p, a, p.specs[a.Lease.Revision])
	if !slices.ContainsFunc(p.standing.Docs[id].Leases, func(l planner.Lease) bool { return l == a.Lease }) {
		wit.w.fail("L1: %s starts %s without a lease in force", p.m.called, a.Instance)
	}
	if l, given := wit.given[id][a.Lease.Token]; !given || l != identity(a.Lease) {
		if wit.w.restores == 0 {
			wit.w.fail("L1: %s starts %s by a lease nobody gave: %+v", p.m.called, a.Instance, a.Lease)
		}
	}
}

// ends checks an instance that is about to be stopped: only for what was read
// and verified, and under a void lease only by L9. While the agent reads what
// has moved since, it goes by what it read before.
func (wit *witness) ends(p *process, a planner.Action) {
	w, v := wit.w, p.seen
	i := p.m.instances[a.Instance]
	if i == nil || !i.Alive() {
		return
	}
	wit.endsOnPurpose(p, i)
	switch {
	case !p.member.Whole():
		w.fail("L13: %s stops %s before it has read the records", p.m.called, a.Instance)
		return
	case p.member.View().Alarm != "":
		w.fail("L12: %s stops %s while the records are in alarm", p.m.called, a.Instance)
		return
	}
	dv, known := v.Docs[a.Slot.Service]
	if !known {
		if _, gone := p.m.disk.followed.Gone[a.Slot.Service]; !gone && !wit.deleted[a.Slot.Service] {
			w.fail("L13: %s stops %s, of whose service there is no document", p.m.called, a.Instance)
		}
		return
	}
	if dv.Broken != "" && dv.Doc.Tokens == 0 {
		w.fail("L13: %s stops %s, whose document it never could read", p.m.called, a.Instance)
	}
	for _, l := range dv.Doc.Leases {
		if l.Node == p.m.node && l.Slot == a.Slot.Name && l.Revision == i.Revision {
			wit.endsUnder(p, i, l, dv.Doc)
		}
	}
}

// endsUnder checks the end of an instance of which a lease of its node stands.
func (wit *witness) endsUnder(p *process, i *instance, l planner.Lease, doc planner.LeaseDoc) {
	w, v := wit.w, p.seen
	rec := v.Nodes[p.m.node].Record
	switch {
	case l.Epoch > rec.Epoch:
		w.fail("L1: %s stops %s by a torn read", p.m.called, i.ID)
	case p.m.owns(rec) && l.Epoch == rec.Epoch:
		if !p.m.runsTwice(i) {
			w.fail("L1: %s stops %s, which lease %+v covers", p.m.called, i.ID, l)
		}
	case rec.Life != p.m.life && l.Epoch >= rec.Since: // of the other life
	default:
		taken := slices.ContainsFunc(doc.Leases, func(o planner.Lease) bool {
			holder := v.Nodes[o.Node]
			ready := holder.Status.Incarnation == holder.Record.Incarnation && slices.ContainsFunc(holder.Status.Instances, func(s planner.InstanceStatus) bool {
				return s.Slot == i.Slot && s.Token == o.Token && s.Phase == planner.PhaseReady
			})
			return o.Slot == l.Slot && o.Token != l.Token && holder.Record.Fence == nil && holder.Record.Epoch == o.Epoch && ready
		})
		if !taken && !p.m.runsTwice(i) {
			w.fail("L9: %s stops %s under a void lease that nobody has taken over", p.m.called, i.ID)
		}
	}
}

// runsTwice reports whether another instance of the slot and revision lives
// here.
func (m *machine) runsTwice(i *instance) bool {
	for _, o := range m.instances {
		if o != i && o.Slot == i.Slot && o.Revision == i.Revision && o.Alive() {
			return true
		}
	}
	return false
}

// ran checks what lives on a machine: no single writer twice, no more than
// there is room for.
func (wit *witness) ran(m *machine) {
	slots := map[planner.SlotID]int64{}
	sum := int64(0)
	for _, i := range m.instances {
		if !i.Alive() || m.proc == nil {
			continue
		}
		t, known := m.proc.specs[i.Revision]
		if !known {
			continue
		}
		if t.SingleWriter() {
			for _, o := range m.instances {
				if o != i && o.Slot == i.Slot && o.Alive() {
					wit.w.fail("%s runs %s and %s of a single writer", m.called, i.ID, o.ID)
				}
			}
		}
		if asked := t.Asked().CPUMillis; asked > slots[i.Slot] {
			sum += asked - slots[i.Slot]
			slots[i.Slot] = asked
		}
	}
	if sum > m.cores {
		wit.w.fail("L8: instances on %s ask for %d of %d", m.called, sum, m.cores)
	}
}

// sends checks what a member is about to push against what it knows.
func (wit *witness) sends(p *process, push gitsync.Push) {
	v := p.member.View()
	for _, change := range push.Changes {
		parts := change.Ref.Parse()
		if v.Alarm != "" && parts.Kind != planner.RefFleet {
			wit.w.fail("L12: %s writes %s while the records are in alarm", p.m.called, change.Ref)
		}
		if parts.Kind != planner.RefLeases || change.New == nil {
			continue
		}
		if !p.belongs() {
			wit.w.fail("L3: %s writes %s although its record is fenced or another's", p.m.called, change.Ref)
		}
		msg, err := planner.ParseMessage(change.New.Message)
		if err != nil {
			wit.w.fail("%s writes %s, which cannot be read: %v", p.m.called, change.Ref, err)
			continue
		}
		doc, err := planner.ParseLeaseDoc(msg.Parts[0].Body)
		if err != nil {
			wit.w.fail("%s writes %s, which cannot be read: %v", p.m.called, change.Ref, err)
			continue
		}
		wit.decides(p, parts.Service, v.Docs[parts.Service], doc)
	}
}

// decides checks one decision: who takes it, and that no slot loses its last
// ready instance by it.
func (wit *witness) decides(p *process, id planner.ServiceID, old planner.DocView, now planner.LeaseDoc) {
	w, v := wit.w, p.member.View()
	f := p.m.disk.followed
	if !p.m.other {
		if first := coordinator(v, id); first != p.m.node && wit.valid(f, v, id, old) {
			w.fail("L7: %s wrote the valid document of %s, which %s coordinates", p.m.called, id, first)
		}
	}
	s, wanted := f.Services[id]
	for _, l := range now.Leases {
		if slices.ContainsFunc(old.Doc.Leases, func(o planner.Lease) bool { return o.Token == l.Token }) {
			continue
		}
		n := v.Nodes[l.Node]
		switch spec := f.Nodes[l.Node]; {
		case !n.Live() || l.Epoch != n.Record.Epoch:
			w.fail("L7: %s leased %s-%s to %s, which is not there", p.m.called, id, l.Slot, l.Node)
		case (spec.Drain || spec.Unschedulable) && !s.EveryNode && !s.HasVolumes() && !bound(old.Doc, l):
			w.fail("L7: %s leased %s-%s to %s, which takes no new work", p.m.called, id, l.Slot, l.Node)
		case slices.ContainsFunc(n.Status.Refusals, func(r planner.Refusal) bool { return r.Service == id && r.Revision == l.Revision }):
			w.fail("L8: %s leased %s-%s to %s, which refuses it", p.m.called, id, l.Slot, l.Node)
		}
	}
	if !wanted {
		return
	}
	wit.paces(p, s, old, now)
	_, unavailable := limits(s, slotsOf(s, f, v, old.Doc, now), old.Doc, now)
	for _, l := range old.Doc.Leases {
		slot := planner.SlotID{Service: id, Name: l.Slot}
		kept := slices.ContainsFunc(now.Leases, func(o planner.Lease) bool { return o.Token == l.Token })
		spec, known := v.Specs[l.Revision]
		single := s.Template.SingleWriter() || !known || spec.SingleWriter()
		if kept || !v.InForce(l) || !v.Ready(slot, l) || single || unavailable > 0 || l.Hook != "" || !hasSlot(s, l.Slot, f, v) {
			continue
		}
		if !slices.ContainsFunc(now.Leases, func(o planner.Lease) bool { return o.Slot == l.Slot && v.InForce(o) && v.Ready(slot, o) }) {
			w.fail("§8: %s takes %s from %s before anything else is ready: %+v becomes %+v", p.m.called, slot, l.Node, old.Doc.Leases, now.Leases)
		}
	}
}

// bound reports whether the slot had a lease on the node before: its data may
// be there.
func bound(old planner.LeaseDoc, l planner.Lease) bool {
	return slices.ContainsFunc(old.Leases, func(o planner.Lease) bool { return o.Slot == l.Slot && o.Node == l.Node })
}

// coordinator is the node that the view says decides a service: the first in
// rank that says it can read the repository.
func coordinator(v planner.View, id planner.ServiceID) planner.NodeName {
	for _, name := range v.Coordinators(id) {
		if !v.Nodes[name].Blind {
			return name
		}
	}
	return ""
}

// valid says in the witness's words whether nothing is wrong with a document.
func (wit *witness) valid(f planner.Followed, v planner.View, id planner.ServiceID, dv planner.DocView) bool {
	s, wanted := f.Services[id]
	if dv.Broken != "" || !wanted || dv.Doc.Commit == "" {
		return false
	}
	slots := map[string]int{}
	good := dv.Doc.LastGood
	if good != s.Revision && (good != "" || len(dv.Doc.History) > 1) || len(dv.Doc.Blocked)+len(dv.Doc.Failed)+len(dv.Doc.Hooks) > 0 || len(s.Hooks) > 0 || len(s.Update.Steps) > 0 {
		return false // what its rollout needs is for the planner to say
	}
	for _, l := range dv.Doc.Leases {
		if i, _ := v.Nodes[l.Node].Instance(planner.SlotID{Service: id, Name: l.Slot}, l.Token); i.Failing || i.Lapsed {
			return false
		}
		n := v.Nodes[l.Node]
		refuses := slices.ContainsFunc(n.Status.Refusals, func(r planner.Refusal) bool { return r.Service == id && r.Revision == l.Revision })
		if !n.Live() || n.Record.Epoch != l.Epoch || l.Hook == "" && l.Revision != s.Revision || refuses || f.Nodes[l.Node].Drain && !s.EveryNode || !suits(s, f, l.Node) || !hasSlot(s, l.Slot, f, v) {
			return false
		}
		if l.Hook == "" {
			slots[l.Slot]++
		}
	}
	if s.EveryNode {
		return false // which nodes are to have one is for the planner to say
	}
	for _, n := range slots {
		if n != 1 {
			return false
		}
	}
	return len(slots) == s.Replicas
}

func hasSlot(s planner.Service, slot string, f planner.Followed, v planner.View) bool {
	if s.EveryNode {
		name := planner.NodeName(slot)
		return v.Nodes[name].Live() && suits(s, f, name)
	}
	for k := range s.Replicas {
		if slot == itoa(k) {
			return true
		}
	}
	return false
}

// suits reports whether what people say of a node lets a service be there, leaving
// drains aside. Nodes of the simulation have no labels of their own.
func suits(s planner.Service, f planner.Followed, node planner.NodeName) bool {
	spec := f.Nodes[node]
	if len(f.Fleet.Nodes) > 0 && !slices.Contains(f.Fleet.Nodes, node) {
		return false
	}
	for key, value := range s.NodeSelector {
		if spec.Labels[key] != value {
			return false
		}
	}
	return !slices.ContainsFunc(spec.Taints, func(t planner.Taint) bool {
		return t.Effect == "NoExecute" && !slices.ContainsFunc(s.Tolerations, func(o planner.Toleration) bool { return o.Key == "" || o.Key == t.Key })
	})
}
