package planner

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// placement is where the slots of the fleet are to be.
type placement struct {
	// nodes has an entry for each slot that has a place: the node of its lease,
	// or the one that the next lease is for.
	nodes    map[SlotID]NodeName
	unplaced []Unplaced
}

// placed is what place makes of a view.
func placed(f Followed, v View) placement {
	sv := newSurvey(f, v, Time{Boot: fleetNow})
	sv.place()
	out := placement{nodes: map[SlotID]NodeName{}, unplaced: sv.unplaced()}
	for _, ss := range sv.services {
		for _, st := range ss.slots {
			switch at := st.at(); {
			case st.node != "":
				out.nodes[st.id] = st.node
			case at != "":
				out.nodes[st.id] = at
			}
		}
	}
	return out
}

// TestPlace: what a service asks for, the nodes, and where its slots go, in
// order of slots; "-" = nowhere.
func TestPlace(t *testing.T) {
	spread := func(soft bool) func(*Service) {
		return func(s *Service) { s.Spread = []SpreadConstraint{{TopologyKey: "zone", Soft: soft}} }
	}
	tests := []struct {
		name     string
		nodes    string
		replicas int
		target   string
		change   func(*Service)
		specs    func(map[NodeName]NodeSpec)
		fleet    []NodeName

		places   string
		unplaced string // reasons of the first
	}{
		{name: "no nodes", replicas: 1, target: "a", places: "-"},
		// One on each before any has two.
		{name: "spread", nodes: "n1 n2 n3", replicas: 6, target: "a", places: "n1 n1 n2 n2 n3 n3"},
		// Memory bounds; zero is unknown and bounds nothing.
		{name: "memory", nodes: "n1:room=250 n2:room=100", replicas: 4, target: "P", places: "- n1 n1 n2", unplaced: "n1: 50 of memory free, 100 asked; n2: 0 of memory free, 100 asked"},
		{name: "unknown capacity", nodes: "n1", replicas: 3, target: "P", places: "n1 n1 n1"},
		// Of nodes with as many slots the emptier one.
		{name: "load", nodes: "n1:room=1000 n2:room=150", replicas: 1, target: "P", places: "n1"},
		// A selector reads built-in labels, those of the node, and above them
		// those that people give it.
		{name: "selector", nodes: "n1 n2:zone=a", replicas: 1, target: "a", change: selects("zone", "a"), places: "n2", unplaced: ""},
		{name: "selector, built in", nodes: "n1 n2", replicas: 1, target: "a", change: selects(LabelNode, "n2"), places: "n2"},
		{name: "selector, laid over", nodes: "n1 n2:zone=a", replicas: 1, target: "a", change: selects("zone", "b"), specs: labels("n1", "zone", "b"), places: "n1"},
		{name: "selector, overruled", nodes: "n1:zone=a", replicas: 1, target: "a", change: selects("zone", "a"), specs: labels("n1", "zone", "b"), places: "-", unplaced: "n1: its label zone is not a"},
		// A label the node may not give itself counts as absent.
		{name: "not its own", nodes: "n1:zone=a", replicas: 1, target: "a", change: selects("zone", "a"), places: "-", unplaced: "n1: its label zone is not a",
			specs: func(s map[NodeName]NodeSpec) { s["n1"] = NodeSpec{OwnLabels: []string{"disk"}} }},
		// Tolerations, in all their forms.
		{name: "tainted", nodes: "n1:taint=NoSchedule", replicas: 1, target: "a", places: "-", unplaced: "n1: its taint k:NoSchedule is not tolerated"},
		{name: "tolerated", nodes: "n1:taint=NoSchedule", replicas: 1, target: "a", change: tolerates(Toleration{Key: "k"}), places: "n1"},
		{name: "tolerated, any", nodes: "n1:taint=NoExecute", replicas: 1, target: "a", change: tolerates(Toleration{Operator: "Exists"}), places: "n1"},
		{name: "other effect", nodes: "n1:taint=NoExecute", replicas: 1, target: "a", change: tolerates(Toleration{Key: "k", Effect: "NoSchedule"}), places: "-", unplaced: "n1: its taint k:NoExecute is not tolerated"},
		{name: "other value", nodes: "n1:taint=NoSchedule", replicas: 1, target: "a", change: tolerates(Toleration{Key: "k", Value: "v"}), places: "-", unplaced: "n1: its taint k:NoSchedule is not tolerated"},
		// fleet.yaml says who belongs to the fleet.
		{name: "not listed", nodes: "n1 n2", replicas: 1, target: "a", fleet: []NodeName{"n2"}, places: "n2"},
		{name: "none listed", nodes: "n1", replicas: 1, target: "a", fleet: []NodeName{"n2"}, places: "-", unplaced: "n1: not among the nodes of fleet.yaml"},
		// Another key than the committed one: not our node.
		{name: "key", nodes: "n1", replicas: 1, target: "a", places: "-", unplaced: "n1: its key is not the one in nodes/n1.yaml",
			specs: func(s map[NodeName]NodeSpec) {
				s["n1"] = NodeSpec{Key: "ssh-ed25519 AAAA", File: "nodes/n1.yaml"}
			}},
		// Topology: the fullest zone waits; a soft constraint only prefers.
		{name: "hard", nodes: "n1:zone=a n2:zone=a n3:zone=b:room=100", replicas: 4, target: "P", change: spread(false), places: "- n1 n2 n3", unplaced: "n1: more than 1 apart over zone; n2: more than 1 apart over zone; n3: 0 of memory free, 100 asked"},
		{name: "soft", nodes: "n1:zone=a n2:zone=a n3:zone=b:room=100", replicas: 4, target: "P", change: spread(true), places: "n1 n2 n2 n3"},
		{name: "hard, no label", nodes: "n1 n2:zone=b", replicas: 1, target: "a", change: spread(false), places: "n2"},
		// A zone without a node that may take a slot asks nothing of the others.
		{name: "hard, drained zone", nodes: "n1:zone=a n2:zone=b:drain", replicas: 2, target: "a", change: spread(false), places: "n1 n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := fleetCase{nodes: tt.nodes, replicas: tt.replicas, target: tt.target}.buildAny(t)
			s := f.Services[web]
			if tt.change != nil {
				tt.change(&s)
			}
			if tt.specs != nil {
				tt.specs(f.Nodes)
			}
			f.Services[web], f.Fleet.Nodes = s, tt.fleet
			got := placed(f, v)
			var places []string
			for i := range tt.replicas {
				node, ok := got.nodes[SlotID{web, fmt.Sprint(i)}]
				if !ok {
					node = "-"
				}
				places = append(places, string(node))
			}
			slices.Sort(places)
			if text := strings.Join(places, " "); text != tt.places {
				t.Errorf("places %q, want %q", text, tt.places)
			}
			if text := reasonsOf(got.unplaced); text != tt.unplaced {
				t.Errorf("unplaced: %q, want %q", text, tt.unplaced)
			}
		})
	}
}

func selects(key, value string) func(*Service) {
	return func(s *Service) { s.NodeSelector = map[string]string{key: value} }
}

func tolerates(o Toleration) func(*Service) {
	return func(s *Service) { s.Tolerations = []Toleration{o} }
}

func labels(node NodeName, key, value string) func(map[NodeName]NodeSpec) {
	return func(specs map[NodeName]NodeSpec) {
		specs[node] = NodeSpec{Name: node, Labels: map[string]string{key: value}}
	}
}

// TestPlaceDrivers: an empty list is unknown and may be any.
func TestPlaceDrivers(t *testing.T) {
	f, v := fleetCase{nodes: "n1 n2", replicas: 1, target: "a"}.build(t)
	for name, drivers := range map[NodeName][]string{"n1": {DriverProcess}, "n2": {DriverContainerd}} {
		n := v.Nodes[name]
		n.Record.Drivers = drivers
		v.Nodes[name] = n
	}
	if at := placed(f, v).nodes[web0]; at != "n2" {
		t.Errorf("placed on %q", at)
	}
}

// TestPlaceFindsWhatRuns: the document is lost, but a node says that it runs
// the slot: it stays there.
func TestPlaceFindsWhatRuns(t *testing.T) {
	for _, node := range []NodeName{"n1", "n2", "n3"} {
		f, v := fleetCase{nodes: "n1 n2 n3", replicas: 1, target: "a"}.build(t)
		n := v.Nodes[node]
		n.Status.Instances = []InstanceStatus{{Slot: web0, Token: 7, Revision: RevisionOf(plainA), Phase: PhaseReady}}
		v.Nodes[node] = n
		out := Coordinate(f, v, Time{Boot: fleetNow})
		if got := showFleetLeases(out.Docs[0].Doc.Leases); got != "0:a8@"+string(node) {
			t.Errorf("found running on %s, leased as %s", node, got)
		}
	}
}

// TestPlaceManyServices: a service is placed with all others in mind.
func TestPlaceManyServices(t *testing.T) {
	f, v := fleetCase{nodes: "n1:room=200 n2:room=200", target: "P", replicas: 1}.build(t)
	for i := range 3 {
		id := ServiceID{DefaultNamespace, fmt.Sprint("s", i)}
		f.Services[id] = service(id, 1, revs["P"])
	}
	on := map[NodeName]int{}
	for _, node := range placed(f, v).nodes {
		on[node]++
	}
	if on["n1"] != 2 || on["n2"] != 2 {
		t.Errorf("placed %v", on)
	}
}

// TestLack: what does not suffice is said in the terms of manifests.
func TestLack(t *testing.T) {
	mi := func(n int64) ResourceList { return ResourceList{MemoryBytes: n << 20} }
	cpu := func(n int64) ResourceList { return ResourceList{CPUMillis: n} }
	tests := []struct {
		capacity ResourceList
		running  []ResourceList
		asked    ResourceList
		want     string
	}{
		{ResourceList{}, []ResourceList{mi(1 << 30)}, mi(1 << 30), ""},
		{mi(512), []ResourceList{mi(256)}, mi(256), ""},
		{mi(512), []ResourceList{mi(256), mi(128)}, mi(256), "128Mi of memory free, 256Mi asked"},
		// What asks for nothing fits everywhere, also where too much runs.
		{mi(512), []ResourceList{mi(1024)}, ResourceList{}, ""},
		{mi(512), []ResourceList{mi(1024)}, mi(1), "0 of memory free, 1Mi asked"},
		{cpu(2000), []ResourceList{cpu(1500)}, cpu(600), "500m of CPU free, 600m asked"},
		{cpu(2000), nil, cpu(3000), "2 of CPU free, 3 asked"},
		// Sums of what nobody can have do not wrap.
		{cpu(2000), []ResourceList{cpu(1 << 62), cpu(1 << 62)}, cpu(1), "0 of CPU free, 1m asked"},
	}
	for _, tt := range tests {
		var used ResourceList
		for _, r := range tt.running {
			used = used.plus(r)
		}
		if got := lack(tt.capacity, used, tt.asked); got != tt.want {
			t.Errorf("%+v beside %+v of %+v: %q, want %q", tt.asked, tt.running, tt.capacity, got, tt.want)
		}
	}
}

// TestTemplateAsked: containers run together, init containers alone.
func TestTemplateAsked(t *testing.T) {
	of := func(cpu, memory int64) Container {
		return Container{Resources: Resources{Requests: ResourceList{CPUMillis: cpu, MemoryBytes: memory}}}
	}
	tmpl := Template{InitContainers: []Container{of(500, 10), of(100, 100)}, Containers: []Container{of(200, 20), of(200, 30)}}
	if got, want := tmpl.Asked(), (ResourceList{CPUMillis: 500, MemoryBytes: 100}); got != want {
		t.Errorf("asks for %+v, want %+v", got, want)
	}
}

// BenchmarkPlace places 10,000 slots of 1,000 services on 500 nodes.
func BenchmarkPlace(b *testing.B) {
	f := Followed{Commit: Commit{Hash: hash("1")}, Services: map[ServiceID]Service{}}
	for i := range 1000 {
		id := ServiceID{DefaultNamespace, fmt.Sprint("s", i)}
		f.Services[id] = service(id, 10, revs["P"])
	}
	v := View{Nodes: map[NodeName]NodeView{}}
	for i := range 500 {
		name := NodeName(fmt.Sprint("node-", i))
		v.Nodes[name] = NodeView{Record: NodeRecord{Node: name, Epoch: 1, Capacity: ResourceList{MemoryBytes: 2100}}}
	}
	for b.Loop() {
		if p := placed(f, v); len(p.nodes) != 10000 {
			b.Fatal(len(p.nodes))
		}
	}
}
