package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The services of these tests: web as it is, and two more.
var (
	apiID  = ServiceID{DefaultNamespace, "api"}
	shopID = ServiceID{DefaultNamespace, "shop"}
)

// publishing is a service whose port 8080 nodes open as 80, as p says.
func publishing(id ServiceID, replicas int, p Publish) Service {
	s := service(id, replicas, plainA)
	p.Port = 80
	s.Ports = []Port{{Container: 8080, Protocol: "tcp", Publish: &p}}
	return s
}

// listening is a service whose process listens on port 80 of its node.
func listening(id ServiceID, replicas int) Service {
	t := Template{Driver: DriverProcess, Containers: []Container{{Name: MainContainer, Command: []string{"/bin/s"}, Ports: []ContainerPort{{ContainerPort: 80}}}}}
	return service(id, replicas, t)
}

// TestPlacePorts: three nodes; which services there are, where what runs is
// ("api-0@n1"), and what becomes of it.
func TestPlacePorts(t *testing.T) {
	onNode, onAll := Publish{Mode: "node"}, Publish{}
	tests := []struct {
		name     string
		services []Service
		runs     string
		places   string // what is new
		unplaced string // reasons of the first
	}{
		// What listens on the node itself has it alone, also among its replicas.
		{name: "replicas", services: []Service{listening(apiID, 4)}, places: "api-0@n2 api-1@n3 api-2@n1",
			unplaced: "n1: port 80/tcp is taken by another of its instances; n2: port 80/tcp is taken by another of its instances; n3: port 80/tcp is taken by another of its instances"},
		{name: "two services", services: []Service{listening(apiID, 2), listening(shopID, 2)}, runs: "api-0@n1 api-1@n2", places: "shop-0@n3",
			unplaced: "n1: port 80/tcp is taken by service api; n2: port 80/tcp is taken by service api; n3: port 80/tcp is taken by another of its instances"},
		// A node opens a published port for all its instances of the service.
		{name: "published here", services: []Service{publishing(apiID, 6, onNode)}, places: "api-0@n2 api-1@n3 api-2@n1 api-3@n1 api-4@n3 api-5@n2"},
		{name: "published here, by another", services: []Service{publishing(apiID, 1, onNode), publishing(shopID, 4, onNode)}, runs: "api-0@n1",
			places: "shop-0@n2 shop-1@n3 shop-2@n2 shop-3@n3"},
		{name: "published here, beside what listens", services: []Service{listening(apiID, 1), publishing(shopID, 1, onNode)}, runs: "api-0@n3", places: "shop-0@n2"},
		{name: "on other addresses", services: []Service{publishing(apiID, 3, Publish{Mode: "node", Address: "192.0.2.1"}), publishing(shopID, 3, Publish{Mode: "node", Address: "192.0.2.2"})},
			runs: "api-0@n1 api-1@n2 api-2@n3", places: "shop-0@n1 shop-1@n2 shop-2@n3"},
		{name: "on all addresses and one", services: []Service{publishing(apiID, 3, onNode), publishing(shopID, 1, Publish{Mode: "node", Address: "192.0.2.2"})},
			runs: "api-0@n1 api-1@n2 api-2@n3", unplaced: "n1: port 80/tcp is taken by service api; n2: port 80/tcp is taken by service api; n3: port 80/tcp is taken by service api"},
		// A port of every node: of two services the one that runs keeps it.
		{name: "of every node", services: []Service{publishing(shopID, 1, onAll), publishing(apiID, 1, onAll)}, runs: "shop-0@n1",
			unplaced: "n1: port 80/tcp of every node is taken by service shop; n2: port 80/tcp of every node is taken by service shop; n3: port 80/tcp of every node is taken by service shop"},
		{name: "of every node, none runs", services: []Service{publishing(shopID, 1, onAll), publishing(apiID, 1, onAll)}, places: "api-0@n3",
			unplaced: "n1: port 80/tcp of every node is taken by service api; n2: port 80/tcp of every node is taken by service api; n3: port 80/tcp of every node is taken by service api"},
		{name: "of every node, and what listens", services: []Service{publishing(shopID, 1, onAll), listening(apiID, 1)}, runs: "shop-0@n1",
			unplaced: "n1: port 80/tcp of every node is taken by service shop; n2: port 80/tcp of every node is taken by service shop; n3: port 80/tcp of every node is taken by service shop"},
		// What runs goes on, and may move.
		{name: "of every node, and both run", services: []Service{publishing(shopID, 1, onAll), publishing(apiID, 1, onAll)}, runs: "shop-0@n1 api-0@n7", places: "api-0@n3"},
		{name: "of every node, not where something listens", services: []Service{publishing(shopID, 3, onAll), listening(apiID, 1)}, runs: "api-0@n1 shop-0@n2",
			places: "shop-1@n3 shop-2@n2"},
		{name: "replicas of one of every node", services: []Service{publishing(apiID, 4, onAll)}, places: "api-0@n2 api-1@n3 api-2@n1 api-3@n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := fleetCase{nodes: "n1 n2 n3"}.buildAny(t)
			f.Gone = nil
			for _, s := range tt.services {
				f.Services[s.ID] = s
			}
			for i, text := range strings.Fields(tt.runs) {
				slot, node, _ := strings.Cut(text, "@")
				name, number, _ := strings.Cut(slot, "-")
				id := ServiceID{DefaultNamespace, name}
				dv := v.Docs[id]
				dv.Doc.Service = id
				dv.Doc.Leases = append(dv.Doc.Leases, Lease{Slot: number, Node: NodeName(node), Epoch: 2, Token: uint64(i + 1), Revision: f.Services[id].Revision})
				v.Docs[id] = dv
			}
			got := placed(f, v)
			var places []string
			for _, slot := range slices.SortedFunc(maps.Keys(got.nodes), SlotID.Compare) {
				if text := fmt.Sprintf("%v@%s", slot, got.nodes[slot]); !strings.Contains(tt.runs, text) {
					places = append(places, text)
				}
			}
			if text := strings.Join(places, " "); !samePlaces(text, tt.places) {
				t.Errorf("places %q, want %q", text, tt.places)
			}
			if text := reasonsOf(got.unplaced); text != tt.unplaced {
				t.Errorf("unplaced: %q\nwant      %q", text, tt.unplaced)
			}
		})
	}
}

// samePlaces compares which nodes have how many: which of a service's slots
// are where is for other tests.
func samePlaces(a, b string) bool {
	count := func(text string) map[string]int {
		n := map[string]int{}
		for _, at := range strings.Fields(text) {
			slot, node, _ := strings.Cut(at, "@")
			name, _, _ := strings.Cut(slot, "-")
			n[name+"@"+node]++
		}
		return n
	}
	return maps.Equal(count(a), count(b))
}

// TestPlacePortsProperties: services that want few ports of few nodes. No node
// gets an instance that clashes with another, and what is not placed has a
// reason.
func TestPlacePortsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := []string{"n1", "n2", "n3"}[:rapid.IntRange(1, 3).Draw(t, "nodes")]
		f := Followed{Commit: Commit{Hash: hash("c")}, Services: map[ServiceID]Service{}}
		v := View{Docs: map[ServiceID]DocView{}, Specs: map[Revision]Template{}, Nodes: map[NodeName]NodeView{}}
		for _, name := range nodes {
			v.Nodes[NodeName(name)] = NodeView{Record: NodeRecord{Node: NodeName(name), Epoch: 1}}
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			id, replicas := inDefault(name), rapid.IntRange(0, 3).Draw(t, "replicas")
			port := rapid.IntRange(80, 81).Draw(t, "port")
			address := rapid.SampledFrom([]string{"", "192.0.2.1", "192.0.2.2"}).Draw(t, "address")
			mode := rapid.SampledFrom([]string{"node", "fleet", "process", "none"}).Draw(t, "mode")
			s := service(id, replicas, plainA)
			switch mode {
			case "process":
				s = listening(id, replicas)
				s.Template.Containers[0].Ports[0].ContainerPort = port
				s.Revision = RevisionOf(s.Template)
			case "node", "fleet":
				s.Ports = []Port{{Container: 8080, Protocol: "tcp", Publish: &Publish{Port: port, Mode: mode, Address: address}}}
			}
			f.Services[id] = s
			v.Specs[s.Revision] = s.Template
		}
		for range 2 { // the second time with what was placed standing
			got := placed(f, v)
			for slot := range got.nodes {
				s := f.Services[slot.Service]
				for other, node := range got.nodes {
					if other == slot || node != got.nodes[slot] {
						continue
					}
					o := f.Services[other.Service]
					for _, c := range s.claims(s.Template) {
						for _, oc := range o.claims(o.Template) {
							if c.clashes(oc, slot.Service == other.Service) {
								t.Fatalf("%v and %v are both on %s, and want port %s", slot, other, node, c)
							}
						}
					}
				}
			}
			for _, u := range got.unplaced {
				if len(u.Reasons) != len(nodes) || !strings.Contains(u.Reasons[0].Reason, "is taken by") {
					t.Fatalf("%v has no place, and no reason: %v", u.Slot, u.Reasons)
				}
			}
			for id, s := range f.Services {
				doc := LeaseDoc{Service: id}
				for i := range s.Replicas {
					slot := SlotID{id, fmt.Sprint(i)}
					if node, ok := got.nodes[slot]; ok {
						doc.Leases = append(doc.Leases, Lease{Slot: slot.Name, Node: node, Epoch: 1, Token: uint64(i + 1), Revision: s.Revision})
					}
				}
				v.Docs[id] = DocView{Doc: doc}
			}
		}
	})
}

// TestTakeOnPorts: one node, what is leased to it, what runs there, and what
// becomes of it.
func TestTakeOnPorts(t *testing.T) {
	process, onNode, onAll := listening(apiID, 3), publishing(shopID, 3, Publish{Mode: "node"}), publishing(shopID, 3, Publish{})
	type lease struct {
		id   ServiceID
		slot string
		n    uint64
	}
	tests := []struct {
		name     string
		services []Service
		leases   []lease
		runs     []lease // with a lease, or without
		ends     []lease
		taken    []uint64
		behind   map[uint64]string
		refused  map[ServiceID]string
	}{
		// One after the other: of replicas that need the same port one runs, and
		// the others are not refused, which would move that one, too.
		{name: "replicas", services: []Service{process}, leases: []lease{{apiID, "0", 1}, {apiID, "1", 2}}, taken: []uint64{1, 2}, behind: map[uint64]string{2: "port 80/tcp is taken by another of its instances"}},
		{name: "replicas, one runs", services: []Service{process}, leases: []lease{{apiID, "0", 1}, {apiID, "1", 2}}, runs: []lease{{apiID, "1", 2}}, taken: []uint64{1, 2}, behind: map[uint64]string{1: "port 80/tcp is taken by another of its instances"}},
		// Another service's is refused, so that the coordinator places it elsewhere.
		{name: "another service", services: []Service{process, onNode}, leases: []lease{{apiID, "0", 1}, {shopID, "0", 2}}, runs: []lease{{shopID, "0", 2}}, taken: []uint64{2}, refused: map[ServiceID]string{apiID: "port 80/tcp is taken by service shop"}},
		{name: "another service, both new", services: []Service{process, onNode}, leases: []lease{{apiID, "0", 1}, {shopID, "0", 2}}, taken: []uint64{1}, refused: map[ServiceID]string{shopID: "port 80/tcp is taken by service api"}},
		// A node opens one port for any number of its instances.
		{name: "published here", services: []Service{onNode}, leases: []lease{{shopID, "0", 1}, {shopID, "1", 2}}, taken: []uint64{1, 2}},
		// What ends gives its port back: it is waited for.
		{name: "ends", services: []Service{process, onNode}, leases: []lease{{apiID, "0", 1}}, ends: []lease{{shopID, "0", 2}}, taken: []uint64{1}, behind: map[uint64]string{1: "port 80/tcp is taken by service shop"}},
		{name: "ends and stays", services: []Service{process, onNode}, leases: []lease{{apiID, "0", 1}, {shopID, "1", 3}}, runs: []lease{{shopID, "1", 3}}, ends: []lease{{shopID, "0", 2}}, taken: []uint64{3}, refused: map[ServiceID]string{apiID: "port 80/tcp is taken by service shop"}},
		// Who has a port of every node is for the coordinators.
		{name: "of every node", services: []Service{onAll, process}, leases: []lease{{apiID, "0", 1}}, taken: []uint64{1}},
		{name: "of every node, elsewhere", services: []Service{publishing(apiID, 1, Publish{}), onNode}, leases: []lease{{shopID, "0", 2}}, taken: []uint64{2}},
		{name: "of every node, and leased", services: []Service{publishing(apiID, 1, Publish{}), onNode}, leases: []lease{{apiID, "0", 1}, {shopID, "0", 2}}, taken: []uint64{1}, refused: map[ServiceID]string{shopID: "port 80/tcp is taken by service api"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := NodeState{Node: "n1", Docs: map[ServiceID]LeaseDoc{}, Specs: map[Revision]Template{}, Followed: Followed{Services: servicesOf(tt.services...)}}
			for _, s := range tt.services {
				st.Specs[s.Revision] = s.Template
			}
			for _, l := range tt.leases {
				doc := st.Docs[l.id]
				doc.Leases = append(doc.Leases, Lease{Slot: l.slot, Node: "n1", Token: l.n, Revision: st.Followed.Services[l.id].Revision})
				st.Docs[l.id] = doc
			}
			for _, l := range slices.Concat(tt.runs, tt.ends) {
				st.Have = append(st.Have, Instance{ID: fmt.Sprint(l.n), Slot: SlotID{l.id, l.slot}, Token: l.n, Revision: st.Followed.Services[l.id].Revision, State: StateRunning})
			}
			got := TakeOn(st, ResourceList{}, func(Service) string { return "" }, nil)
			var taken []uint64
			for _, doc := range got.Docs {
				for _, l := range doc.Leases {
					taken = append(taken, l.Token)
				}
			}
			behind, refused := map[uint64]string{}, map[ServiceID]string{}
			for key, why := range got.Behind {
				behind[key.Token] = why
			}
			for key, why := range got.Refused {
				refused[key.Service] = why
			}
			slices.Sort(taken)
			if !slices.Equal(taken, tt.taken) || !maps.Equal(behind, tt.behind) || !maps.Equal(refused, tt.refused) {
				t.Errorf("takes on %v behind %v, refuses %v\nwant %v behind %v, refuses %v", taken, behind, refused, tt.taken, tt.behind, tt.refused)
			}
			// A refusal stands as long as its reason, and goes with it.
			again := TakeOn(st, ResourceList{}, func(Service) string { return "" }, got.Refused)
			for key := range got.Refused {
				if again.Refused[key] == "" {
					t.Errorf("then refuses %v", again.Refused)
				}
			}
			st.Have, st.Docs = nil, nil
			if gone := TakeOn(st, ResourceList{}, func(Service) string { return "" }, got.Refused); len(gone.Refused) > 0 {
				t.Errorf("still refuses %v", gone.Refused)
			}
		})
	}
}

// TestPortsBehind: what a node that stands alone cannot run side by side waits
// for each other.
func TestPortsBehind(t *testing.T) {
	process, other := listening(apiID, 3), listening(shopID, 1)
	st := NodeState{Node: "n1", Followed: Followed{Services: servicesOf(process, other)}, Docs: map[ServiceID]LeaseDoc{}}
	for id, s := range st.Followed.Services {
		doc := LeaseDoc{Service: id}
		for i := range s.Replicas {
			doc.Leases = append(doc.Leases, Lease{Slot: fmt.Sprint(i), Node: "n1", Token: uint64(i + 1), Revision: s.Revision})
		}
		st.Docs[id] = doc
	}
	got := PortsBehind(st)
	mine, others := "port 80/tcp is taken by another of its instances", "port 80/tcp is taken by service api"
	if want := map[LeaseKey]string{{apiID, 2}: mine, {apiID, 3}: mine, {shopID, 1}: others}; !maps.Equal(got, want) {
		t.Errorf("behind %v\nwant %v", got, want)
	}
}
