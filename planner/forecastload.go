package planner

import (
	"maps"
	"slices"
)

// Load is what the instances of a node ask for at one instant, and how many they
// are. An instance that is being stopped, whose lease is gone, does not count.
type Load struct {
	Requests  ResourceList
	Instances int
}

// NodeLoad is what is asked of a node in the course of a forecast.
type NodeLoad struct {
	Node     NodeName // "" = all together
	Capacity ResourceList
	// Most holds the most of each that is asked for at any instant: not all of it
	// needs to be at the same one.
	Before, Most, After Load
}

// loads adds up what instances ask for on the way of a forecast.
type loads struct {
	asked map[Revision]ResourceList
	// steady are the instances of services that are still; before, now, most are
	// all, at the beginning, at the last look and at any. The empty name stands for
	// all nodes.
	steady, before, now, most map[NodeName]Load
}

func newLoads() *loads {
	return &loads{asked: map[Revision]ResourceList{}, steady: map[NodeName]Load{}, most: map[NodeName]Load{}}
}

// begins notes that what was looked at last is how it is before.
func (s *loads) begins() { s.before = s.now }

// looks begins to add up.
func (s *loads) looks() { s.now = maps.Clone(s.steady) }

// looked ends it.
func (s *loads) looked() {
	for name, now := range s.now {
		s.most[name] = now.most(s.most[name])
	}
}

// add counts the instance of a lease.
func (s *loads) add(w *foresight, id ServiceID, l Lease) { s.count(s.now, w, id, l) }

// keep counts the instances of a service that is still, from now on.
func (s *loads) keep(w *foresight, id ServiceID) {
	for _, l := range w.v.Docs[id].Doc.Leases {
		i, told := w.v.Nodes[l.Node].Instance(SlotID{id, l.Slot}, l.Token)
		if told && w.v.InForce(l) && i.Phase != PhasePending {
			s.count(s.steady, w, id, l)
		}
	}
}

func (s *loads) count(into map[NodeName]Load, w *foresight, id ServiceID, l Lease) {
	asked, known := s.asked[l.Revision]
	if !known {
		service := w.f.Services[id]
		t, _ := templateOf(&service, w.v.Specs, l.Revision)
		asked = t.Asked()
		s.asked[l.Revision] = asked
	}
	for _, name := range []NodeName{l.Node, ""} {
		was := into[name]
		into[name] = Load{was.Requests.plus(asked), was.Instances + 1}
	}
}

// most is the larger of each.
func (l Load) most(o Load) Load {
	return Load{most(l.Requests, o.Requests), max(l.Instances, o.Instances)}
}

// told lists the nodes of a view that take part or have instances, in order, and
// all together.
func (s *loads) told(v View) (nodes []NodeLoad, all NodeLoad) {
	for _, name := range slices.Sorted(maps.Keys(v.Nodes)) {
		n := v.Nodes[name]
		if !n.Live() && s.most[name].Instances == 0 {
			continue
		}
		nodes = append(nodes, NodeLoad{name, n.Record.Capacity, s.before[name], s.most[name], s.now[name]})
		if n.Live() {
			all.Capacity = all.Capacity.plus(n.Record.Capacity)
		}
	}
	all.Before, all.Most, all.After = s.before[""], s.most[""], s.now[""]
	return nodes, all
}
