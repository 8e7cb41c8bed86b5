package planner

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestRaces: a forecast says on which nodes the outcome hangs on who is quicker.
func TestRaces(t *testing.T) {
	tests := []struct {
		name     string
		capacity int64 // of each of two nodes, on which two services have two slots of 100 each
		change   func(f *Followed)
		want     string
	}{
		{"nothing changes", 250, func(*Followed) {}, ""},
		{"room for all", 400, func(f *Followed) { release(f, "a"); release(f, "b") }, ""},
		{"room for one beside two", 300, func(f *Followed) { release(f, "a"); release(f, "b") }, "n1: a b, n2: a b"},
		{"of one service", 300, func(f *Followed) { release(f, "a") }, ""},
		// What waits for room at any rate races with nobody.
		{"room by a deletion", 250, func(f *Followed) { release(f, "a"); remove(f, "b") }, ""},
		{"only one comes", 200, func(f *Followed) { remove(f, "b"); more(f, "a") }, ""},
		{"two new ones, and room for one", 200, func(f *Followed) { remove(f, "b"); more(f, "a"); more(f, "c") }, "n1: a b c, n2: a b c"},
		{"the same port", 400, func(f *Followed) { listens(f, "a"); listens(f, "b") }, "n1: a b, n2: a b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := twoServices(tt.capacity)
			tt.change(&f)
			var got []string
			for _, r := range Foresee(f, v).Races {
				var names []string
				for _, id := range r.Services {
					names = append(names, id.Name)
				}
				got = append(got, fmt.Sprintf("%s: %s", r.Node, strings.Join(names, " ")))
			}
			if text := strings.Join(got, ", "); text != tt.want {
				t.Errorf("%q, want %q", text, tt.want)
			}
		})
	}
}

func twoServices(capacity int64) (Followed, View) {
	f := Followed{Commit: Commit{Hash: hash("c")}, Services: map[ServiceID]Service{}, Nodes: map[NodeName]NodeSpec{}, Gone: map[ServiceID]string{}}
	v := View{Nodes: parseNodesWith(capacity, "n1", "n2"), Docs: map[ServiceID]DocView{}, Specs: map[Revision]Template{}}
	for _, name := range []string{"a", "b"} {
		s := service(ServiceID{DefaultNamespace, name}, 2, revs["P"])
		f.Services[s.ID], v.Specs[s.Revision] = s, s.Template
		doc := LeaseDoc{Service: s.ID, Format: FormatLeases, Commit: hash("b"), LastGood: s.Revision, Tokens: 2, Images: map[Revision]map[string]string{s.Revision: digestsOf(s.Template)}}
		for k, node := range []NodeName{"n1", "n2"} {
			doc.Leases = append(doc.Leases, Lease{Slot: fmt.Sprint(k), Node: node, Epoch: 1, Token: uint64(k + 1), Revision: s.Revision})
			n := v.Nodes[node]
			n.Status.Instances = append(n.Status.Instances, InstanceStatus{Slot: SlotID{s.ID, fmt.Sprint(k)}, Token: uint64(k + 1), Revision: s.Revision, Phase: PhaseReady})
			v.Nodes[node] = n
		}
		v.Docs[s.ID] = DocView{Doc: doc}
	}
	return f, v
}

func parseNodesWith(capacity int64, names ...NodeName) map[NodeName]NodeView {
	nodes := map[NodeName]NodeView{}
	for _, name := range names {
		nodes[name] = NodeView{
			Record: NodeRecord{Node: name, Epoch: 1, Incarnation: "i", Capacity: ResourceList{MemoryBytes: capacity}},
			Status: NodeStatus{Node: name, Incarnation: "i"},
		}
	}
	return nodes
}

func edited(f *Followed, name string, change func(*Service)) {
	id := ServiceID{DefaultNamespace, name}
	s := f.Services[id]
	change(&s)
	s.Revision = RevisionOf(s.Template)
	f.Services[id] = s
}

func release(f *Followed, name string) { edited(f, name, func(s *Service) { s.Template = revs["Q"] }) }

func more(f *Followed, name string) {
	edited(f, name, func(s *Service) {
		*s = service(ServiceID{DefaultNamespace, name}, 4, revs["P"])
	})
}

func remove(f *Followed, name string) {
	id := ServiceID{DefaultNamespace, name}
	delete(f.Services, id)
	f.Gone[id] = f.Commit.Hash
}

// listens has a service listen on a port of its nodes.
func listens(f *Followed, name string) {
	edited(f, name, func(s *Service) {
		s.Template = revs["Q"]
		s.Template.HostNetwork = true
		s.Template.Containers = slices.Clone(s.Template.Containers)
		s.Template.Containers[0].Ports = []ContainerPort{{ContainerPort: 80}}
	})
}

// TestCompareOpen: what went another way where the forecast said that it might is
// neither as planned nor wrong.
func TestCompareOpen(t *testing.T) {
	docs := documentsOf(t, "0:a1@n1 | 0:b2@n1")
	other := documentsOf(t, "0:a1@n1 | 0:b2@n2")
	f := Forecast{Decisions: []Foreseen{{Decision: Decision{Doc: docs[1], Old: docs[0]}, Turn: 1}}}
	for _, tt := range []struct {
		races []Race
		came  []LeaseDoc
		want  OutcomeState
	}{
		{nil, other, OutcomeDiffers},
		{[]Race{{"n1", []ServiceID{web}}}, other, OutcomeOpen},
		{[]Race{{"n1", []ServiceID{web}}}, docs, OutcomeMet},
		{[]Race{{"n1", []ServiceID{{DefaultNamespace, "b"}}}}, docs, OutcomeMet},
	} {
		f.Races = tt.races
		if got := f.Compare(map[ServiceID]Came{web: {Docs: tt.came}}); got[0].State != tt.want {
			t.Errorf("%v: %+v, want %s", tt.races, got, tt.want)
		}
	}
	blocked := other[1]
	blocked.Blocked = []Revision{RevisionOf(revs["b"])}
	f.Races = []Race{{"n1", []ServiceID{web}}}
	if got := f.Compare(map[ServiceID]Came{web: {Docs: []LeaseDoc{other[0], blocked}}}); got[0].State != OutcomeDiffers {
		t.Errorf("a release that fails is no matter of who is quicker: %+v", got)
	}
}
