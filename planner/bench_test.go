package planner

import (
	"fmt"
	"testing"
	"time"
)

// restingFleet is a fleet of 100 nodes that rolls nothing out: 1,000 services of
// three slots, each leased and ready, as the node n000 sees it.
func restingFleet() (Followed, View) { return restingOn(100) }

// restingOn is that with so many nodes.
func restingOn(nodes int) (Followed, View) {
	const services, slots = 1000, 3
	f := Followed{Commit: Commit{Hash: hash("c")}, Services: map[ServiceID]Service{}, Nodes: map[NodeName]NodeSpec{}}
	v := View{Self: "n000", Nodes: map[NodeName]NodeView{}, Docs: map[ServiceID]DocView{}, Specs: map[Revision]Template{}, Settled: time.Minute}
	name := func(i int) NodeName { return NodeName(fmt.Sprintf("n%03d", i%nodes)) }
	for i := range nodes {
		v.Nodes[name(i)] = NodeView{
			Record: NodeRecord{Node: name(i), Epoch: 1, Incarnation: "i", Labels: map[string]string{"zone": fmt.Sprint(i % 3)}},
			Status: NodeStatus{Node: name(i), Incarnation: "i"},
		}
	}
	for i := range services {
		s := service(ServiceID{DefaultNamespace, fmt.Sprintf("s%04d", i)}, slots, revs["P"])
		f.Services[s.ID], v.Specs[s.Revision] = s, s.Template
		doc := LeaseDoc{Service: s.ID, Format: FormatLeases, Commit: f.Commit.Hash, Tokens: slots,
			Images:  map[Revision]map[string]string{s.Revision: digestsOf(s.Template)},
			History: []Applied{{Revision: s.Revision, Commit: f.Commit.Hash}}}
		for k := range slots {
			l := Lease{Slot: fmt.Sprint(k), Node: name(i + k), Epoch: 1, Token: uint64(k + 1), Revision: s.Revision}
			doc.Leases = append(doc.Leases, l)
			n := v.Nodes[l.Node]
			n.Status.Instances = append(n.Status.Instances, InstanceStatus{Slot: SlotID{s.ID, l.Slot}, Token: l.Token, Revision: l.Revision, Phase: PhaseReady})
			v.Nodes[l.Node] = n
		}
		v.Docs[s.ID] = DocView{Doc: doc, Since: fleetNow}
	}
	return f, v
}

// BenchmarkCoordinate is what a look at the records costs a node of a fleet: at
// rest, and with one service that changes.
func BenchmarkCoordinate(b *testing.B) {
	f, v := restingFleet()
	run := func(name string, docs int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if out := Coordinate(f, v, Time{Boot: fleetNow}); len(out.Docs) != docs {
					b.Fatalf("%d documents change: %v", len(out.Docs), out.Waiting)
				}
			}
		})
	}
	run("rest", 0)
	for id, s := range f.Services {
		if c := v.Coordinators(id); c[0] != v.Self {
			continue
		}
		s.Template = asking(plain("next"))
		s.Revision = RevisionOf(s.Template)
		f.Services[id], v.Specs[s.Revision] = s, s.Template
		v.Resolved = map[RevisionKey]map[string]string{{id, s.Revision}: digestsOf(s.Template)}
		break
	}
	run("change", 1)
}

// BenchmarkCoordinateAlone is the same for a node that grants leases to itself:
// 200 services of three slots.
func BenchmarkCoordinateAlone(b *testing.B) {
	f, fleet := restingFleet()
	v := Alone{Node: Node{Name: "n1"}, Docs: map[ServiceID]LeaseDoc{}, Ready: map[LeaseKey]bool{}, Prepared: map[RevisionKey]bool{}, Specs: fleet.Specs}
	for id, s := range f.Services {
		if id.Name >= "s0200" {
			delete(f.Services, id)
			continue
		}
		doc := fleet.Docs[id].Doc
		for i := range doc.Leases {
			l := &doc.Leases[i]
			l.Node = "n1"
			v.Ready[LeaseKey{id, l.Token}] = true
			v.Running = append(v.Running, Instance{ID: InstanceID(SlotID{id, l.Slot}, *l), Driver: DriverContainerd, Slot: SlotID{id, l.Slot}, Node: "n1", Token: l.Token, Revision: l.Revision, State: StateRunning})
		}
		v.Docs[id], v.Prepared[RevisionKey{id, s.Revision}] = doc, true
	}
	b.ReportAllocs()
	for b.Loop() {
		if out := CoordinateAlone(f, v); len(out.Docs) != 0 {
			b.Fatalf("%d documents change", len(out.Docs))
		}
	}
}

// BenchmarkReconcile is what a pass decides on a node with 150 instances that
// all run.
func BenchmarkReconcile(b *testing.B) {
	f, v := restingFleet()
	st := NodeState{Node: "n1", Followed: f, Docs: map[ServiceID]LeaseDoc{}, Specs: v.Specs}
	for id := range f.Services {
		if id.Name >= "s0050" {
			continue
		}
		doc := v.Docs[id].Doc
		for i := range doc.Leases {
			l := &doc.Leases[i]
			l.Node = "n1"
			st.Have = append(st.Have, Instance{ID: InstanceID(SlotID{id, l.Slot}, *l), Driver: DriverContainerd, Slot: SlotID{id, l.Slot}, Node: "n1", Token: l.Token, Revision: l.Revision, State: StateRunning})
		}
		st.Docs[id] = doc
	}
	b.ReportAllocs()
	for b.Loop() {
		if plan := Reconcile(st); len(plan.Actions) != 0 {
			b.Fatalf("%v", plan.Actions)
		}
	}
}
