package planner

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPropertyFleet throws everything at a small fleet: nodes die, are fenced
// rightly and wrongly, come back, refuse, act on old reads; commits change,
// scale, delete, drain. What must never happen is checked at every push. Then
// the faults end: documents change a bounded number of times more, and each
// slot is ready under one lease.
func TestPropertyFleet(t *testing.T) {
	checks(t, 150)
	rapid.Check(t, func(t *rapid.T) {
		w := newFleetWorld(t)
		t.Repeat(w.steps())
		w.heal()
		w.untilQuiet()
		w.checkSettled()
	})
}

func (w *fleetWorld) steps() map[string]func(*rapid.T) {
	step := func(f func()) func(*rapid.T) {
		return func(t *rapid.T) { w.t = t; w.now += time.Second; f() }
	}
	round := step(func() { w.round() })
	return map[string]func(*rapid.T){
		"commit": step(w.change), "commit again": step(w.change), "commit unrelated": step(func() { w.commit() }),
		"break": step(w.breakFile), "repair": step(w.repair), "delete": step(w.deleteMany), "approve": step(w.approve),
		"round": round, "round again": round, "rounds": step(func() { w.round(); w.round(); w.round() }),
		"one": step(func() { w.one(w.some()) }), "another": step(func() { w.one(w.some()) }),
		"fence": step(w.fence), "crash": step(w.crash), "return": step(w.comeBack), "drain": step(w.drain),
		"deadline": step(func() { n := w.nodes[w.some()]; n.late = !n.late }),
		"refuse":   step(w.refuse), "registry": step(w.toggleRegistry), "stale": step(w.stale),
		"time": step(func() {
			w.now += time.Duration(rapid.SampledFrom([]int{5, 20, 700}).Draw(w.t, "seconds")) * time.Second
		}),
	}
}

func (w *fleetWorld) some() NodeName { return rapid.SampledFrom(w.names()).Draw(w.t, "node") }

// round is every node at its best, one after the other.
func (w *fleetWorld) round() (written int) {
	for _, name := range w.names() {
		written += w.one(name)
	}
	for _, name := range w.names() {
		w.act(name)
	}
	return written
}

func (w *fleetWorld) one(name NodeName) int {
	if !w.nodes[name].up {
		return 0
	}
	w.follow(name)
	n := w.coordinate(name)
	w.act(name)
	return n
}

// change commits a change of one service.
func (w *fleetWorld) change() {
	id := rapid.SampledFrom(fleetServices).Draw(w.t, "service")
	switch rapid.SampledFrom([]string{"set", "set", "set", "scale", "delete"}).Draw(w.t, "change") {
	case "set":
		w.set(id, rapid.SampledFrom([]string{"a", "b", "unready", "missing"}).Draw(w.t, "image"))
	case "scale":
		if s, ok := w.repo[id]; ok && !s.EveryNode {
			s.Replicas = rapid.IntRange(0, 5).Draw(w.t, "replicas")
			w.repo[id] = s
		}
	case "delete":
		delete(w.repo, id)
	}
	w.commit()
}

// breakFile changes a service and, with the same commit or the next, breaks its
// file.
func (w *fleetWorld) breakFile() {
	id := rapid.SampledFrom(fleetServices).Draw(w.t, "service")
	w.set(id, rapid.SampledFrom([]string{"a", "b", "unready"}).Draw(w.t, "image"))
	if rapid.Bool().Draw(w.t, "readable first") {
		w.commit()
		w.one(w.some())
	}
	if rapid.Bool().Draw(w.t, "nodes") {
		id = ServiceID{}
	}
	w.broken[id] = true
	w.commit()
}

func (w *fleetWorld) repair() {
	clear(w.broken)
	w.commit()
}

// deleteMany deletes all services in two commits, each within the budget, both
// together beyond it: who sees only the second may not delete them.
func (w *fleetWorld) deleteMany() {
	if rapid.Bool().Draw(w.t, "all there") {
		for _, id := range fleetServices {
			w.set(id, "a")
		}
		w.commit()
		w.round()
	}
	for k, id := range fleetServices {
		delete(w.repo, id)
		if k%2 == 1 {
			w.commit()
			w.one(w.some())
		}
	}
}

// approve approves every deletion there ever was.
func (w *fleetWorld) approve() {
	var all []string
	for _, d := range w.commits {
		all = append(all, d.Commit.Hash)
	}
	w.commit(all...)
}

func (w *fleetWorld) set(id ServiceID, image string) {
	t := fleetTemplate(id, image)
	s := service(id, rapid.IntRange(1, 4).Draw(w.t, "replicas"), t)
	if id.Name == "each" {
		s.Replicas, s.EveryNode = 0, true
	}
	w.strategy(&s)
	w.images[s.Revision] = t
	for _, h := range s.Hooks {
		w.images[h.Revision] = h.Template
	}
	w.repo[id] = s
}

func (w *fleetWorld) fence() {
	n := w.nodes[w.some()]
	if n.record.Fence == nil {
		n.record.Epoch++
		n.record.Fence = &Fence{Epoch: n.record.Epoch, Fenced: true, By: "n0"}
		w.changed = w.now
	}
}

// crash ends a node, with or without what runs there.
func (w *fleetWorld) crash() {
	n := w.nodes[w.some()]
	n.up, n.seen = false, nil
	if rapid.Bool().Draw(w.t, "machine") {
		clear(n.have)
	}
}

// comeBack registers a node: the same life, or another that raises the epoch.
func (w *fleetWorld) comeBack() { w.register(w.nodes[w.some()], rapid.Bool().Draw(w.t, "other life")) }

func (w *fleetWorld) register(n *fleetNode, otherLife bool) {
	if n.up && n.record.Fence == nil {
		return
	}
	if otherLife {
		n.record.Epoch++
		n.record.Since = n.record.Epoch
	}
	n.up, n.record.Fence = true, nil
	n.record.Incarnation = fmt.Sprint(n.record.Node, w.now)
	w.changed = w.now
}

func (w *fleetWorld) drain() {
	name := w.some()
	spec := w.specs[name]
	spec.Name, spec.Drain, spec.Unschedulable = name, rapid.Bool().Draw(w.t, "drain"), rapid.Bool().Draw(w.t, "cordon")
	w.specs[name] = spec
	w.commit()
}

func (w *fleetWorld) refuse() {
	n := w.nodes[w.some()]
	clear(n.refuses)
	id := rapid.SampledFrom(fleetServices).Draw(w.t, "service")
	if s, ok := w.repo[id]; ok && rapid.Bool().Draw(w.t, "refuses") {
		n.refuses[RevisionKey{id, s.Revision}] = true
	}
}

func (w *fleetWorld) toggleRegistry() {
	n := w.nodes[w.some()]
	n.registry = !n.registry
}

// stale lets a node go on with what it reads now, or read afresh again.
func (w *fleetWorld) stale() {
	n := w.nodes[w.some()]
	if n.seen == nil {
		n.seen = w.look()
	} else {
		n.seen = nil
	}
}

// heal ends all faults, with a commit that can run. Files may stay broken and
// deletions unapproved: that is no ground to fight.
func (w *fleetWorld) heal() {
	for _, id := range fleetServices {
		if s, ok := w.repo[id]; ok && s.Template.Images()[0] != "a" {
			w.set(id, "b")
		}
		if s, ok := w.repo[id]; ok {
			s.Update.Promoted, s.DependsOn = string(s.Revision), nil
			w.repo[id] = s
		}
	}
	clear(w.specs)
	if rapid.Bool().Draw(w.t, "repaired") {
		clear(w.broken)
	}
	w.commit()
	for _, name := range w.names() {
		w.follow(name)
	}
	if rapid.Bool().Draw(w.t, "approved") {
		w.approve()
	}
	for _, name := range w.names() {
		n := w.nodes[name]
		n.seen, n.registry, n.late = nil, true, false
		clear(n.refuses)
		w.register(n, false)
	}
}

// untilQuiet lets the fleet come to rest: within a bounded number of writes,
// and then for good.
func (w *fleetWorld) untilQuiet() {
	quiet, before := 0, w.writes
	for range 80 {
		w.now += 15 * time.Second
		if w.round() == 0 {
			quiet++
		} else {
			quiet = 0
		}
	}
	if quiet < 20 {
		w.t.Fatalf("no rest: %d writes in 80 rounds, quiet for %d", w.writes-before, quiet)
	}
	if most := 12*4*len(w.nodes) + 60; w.writes-before > most {
		w.t.Fatalf("%d writes to come to rest, more than %d", w.writes-before, most)
	}
}
