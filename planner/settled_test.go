package planner

import (
	"fmt"
	"testing"
)

// threeServices are new, or move away from a node that is drained, on five nodes,
// some of which have something already.
func threeServices(moves bool) (Followed, View) {
	f := Followed{Commit: Commit{Hash: hash("c")}, Services: map[ServiceID]Service{}, Nodes: map[NodeName]NodeSpec{}}
	v := View{Nodes: map[NodeName]NodeView{}, Docs: map[ServiceID]DocView{}, Specs: map[Revision]Template{}}
	for k := range 5 {
		name := NodeName(fmt.Sprint("n", k+1))
		v.Nodes[name] = NodeView{Record: NodeRecord{Node: name, Epoch: 1, Incarnation: "i", Capacity: ResourceList{MemoryBytes: 1000}}, Status: NodeStatus{Node: name, Incarnation: "i"}}
	}
	add := func(s Service, nodes ...NodeName) {
		f.Services[s.ID], v.Specs[s.Revision] = s, s.Template
		if len(nodes) == 0 {
			return
		}
		doc := LeaseDoc{Service: s.ID, Format: FormatLeases, Commit: hash("b"), LastGood: s.Revision, Images: map[Revision]map[string]string{s.Revision: digestsOf(s.Template)}}
		for k, name := range nodes {
			doc.Tokens++
			doc.Leases = append(doc.Leases, Lease{Slot: fmt.Sprint(k), Node: name, Epoch: 1, Token: doc.Tokens, Revision: s.Revision})
			n := v.Nodes[name]
			n.Status.Instances = append(n.Status.Instances, InstanceStatus{Slot: SlotID{s.ID, fmt.Sprint(k)}, Token: doc.Tokens, Revision: s.Revision, Phase: PhaseReady})
			v.Nodes[name] = n
		}
		v.Docs[s.ID] = DocView{Doc: doc}
	}
	add(service(ServiceID{DefaultNamespace, "base"}, 2, revs["P"]), "n1", "n3")
	for _, name := range []string{"a", "m", "z"} {
		s := service(ServiceID{DefaultNamespace, name}, 3, revs["P"])
		if s.Update = (Update{MaxSurge: amount(3)}); moves {
			add(s, "n2", "n2", "n4")
		} else {
			add(s)
		}
	}
	if moves {
		f.Nodes["n2"] = NodeSpec{Name: "n2", Drain: true}
	}
	return f, v
}

// TestPlacesWhoeverIsFirst: services that are new, or move, go to the same nodes
// whichever of them is decided first, and however far that is by then.
func TestPlacesWhoeverIsFirst(t *testing.T) {
	for _, moves := range []bool{false, true} {
		f, v := threeServices(moves)
		end := Foresee(f, v).View
		for id := range f.Services {
			for _, steps := range []int{1, 2, 9} { // of this one, before the others begin
				w := newForesight(f, v)
				for range steps {
					w.resolve(w.decide().Resolve)
					for _, d := range w.decide().Docs {
						if d.Doc.Service == id {
							w.land([]Decision{d})
						}
					}
					w.fare()
				}
				got := w.forecast().View
				for other := range f.Services {
					if a, b := showFleetLeases(end.Docs[other].Doc.Leases), showFleetLeases(got.Docs[other].Doc.Leases); a != b {
						t.Errorf("moves %v, %s first by %d steps: %s has %s, and %s if all begin at once", moves, id, steps, other, b, a)
					}
				}
			}
		}
	}
}

// TestCommitThatIsOver: who sees that others follow a newer commit does nothing new on
// its own, but makes good what was lost; not for ever.
func TestCommitThatIsOver(t *testing.T) {
	other := ServiceID{DefaultNamespace, "other"}
	tests := []struct {
		name, nodes, before string
		commit              string // on which another document was decided
		later               bool
		want                bool // the document changes
	}{
		{"a new slot", "n1 n2", "0:a1@n1+", hash("b"), false, true},
		{"the same, and others are further", "n1 n2", "0:a1@n1+", hash("f"), false, false},
		{"the same, later", "n1 n2", "0:a1@n1+", hash("f"), true, true},
		{"one that was lost", "n1:fenced n2", "0:a1@n1v 1:a2@n2+", hash("f"), false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := fleetCase{nodes: tt.nodes, replicas: 2, target: "a", before: tt.before}.build(t)
			v.Docs[other] = DocView{Doc: LeaseDoc{Service: other, Format: FormatLeases, Commit: tt.commit}, Since: fleetNow}
			now := Time{Boot: fleetNow}
			if tt.later {
				now.Boot += newerPatience
			}
			d := Coordinate(f, v, now)
			if got := len(d.Docs) > 0; got != tt.want || !got && (d.Next != fleetNow+newerPatience || d.Waiting[web] == "") {
				t.Errorf("%+v, next %v, waiting %v", d.Docs, d.Next, d.Waiting)
			}
		})
	}
}
