package planner

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// TestPropertyForesee: a forecast that leaves out what has come to rest tells
// exactly what one tells that looks at everything each time, of fleets in any
// state; it comes to an end, and changes nothing of what it was made from.
func TestPropertyForesee(t *testing.T) {
	checks(t, 150)
	rapid.Check(t, func(t *rapid.T) {
		w := newFleetWorld(t)
		steps := w.steps()
		steps["" /* after each */] = func(t *rapid.T) {
			w.t = t
			name := w.some()
			w.follow(name)
			n := w.nodes[name]
			f, v := n.followed, w.view(name)
			docs := w.look().docs
			fast := Foresee(f, v)
			slow := newForesight(f, v)
			slow.whole = true
			if whole := slow.forecast(); !reflect.DeepEqual(fast.tellable(), whole.tellable()) {
				t.Fatalf("what is left out shows:\n%+v\n%+v", fast, whole)
			}
			if fast.Cut {
				t.Fatalf("no end after %d decisions: %v", len(fast.Decisions), fast.Waiting)
			}
			if !reflect.DeepEqual(docs, w.look().docs) {
				t.Fatal("a forecast changes what it was made from")
			}
		}
		t.Repeat(steps)
	})
}

// tellable is a forecast without the order in which nodes tell of instances.
func (f Forecast) tellable() Forecast {
	for name, n := range f.View.Nodes {
		seen := map[LeaseKey]InstanceStatus{}
		for _, i := range n.Status.Instances {
			seen[LeaseKey{i.Slot.Service, i.Token}] = i
		}
		n.Status.Instances = nil
		for _, id := range f.View.documents() {
			for _, l := range f.View.Docs[id].Doc.Leases {
				if i, told := seen[LeaseKey{id, l.Token}]; told {
					n.Status.Instances = append(n.Status.Instances, i)
				}
			}
		}
		f.View.Nodes[name] = n
	}
	return f
}
