package planner

import (
	"flag"
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// The properties of planner over a model world. More of them, and longer:
//
//	go test ./planner -run Property -rapid.checks=100000 -rapid.steps=200

// TestPropertyConvergence throws everything at the agent, in any order; then
// the faults end, and what runs must become exactly what is wanted. What must
// hold at every step is checked by the world itself.
func TestPropertyConvergence(t *testing.T) {
	checks(t, 2500)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(w.steps())
		w.heal()
		w.untilQuiet()
		w.checkConverged()
		w.checkUnrelatedCommit()
	})
}

// checks sets how many runs a property gets, unless the command line says it.
func checks(t *testing.T, n int) {
	t.Helper()
	const name = "rapid.checks"
	f := flag.Lookup(name)
	if f.Value.String() != f.DefValue || testing.Short() {
		return
	}
	if err := flag.Set(name, strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, f.DefValue) })
}

// steps are all things that can happen; the agent's own are listed more often
// so that something runs when a fault comes.
func (w *world) steps() map[string]func(*rapid.T) {
	step := func(f func()) func(*rapid.T) {
		return func(t *rapid.T) { w.t = t; f(); w.checkSingleWriters() }
	}
	return map[string]func(*rapid.T){
		"commit": step(w.commit), "commit unrelated": step(func() { w.commits++ }), "approve": step(w.approve),
		"settle": step(w.settle), "coordinate": step(w.coordinate), "coordinate again": step(w.coordinate),
		"prepare": step(w.prepare), "act": step(w.actSome), "act again": step(w.actSome),
		"pass": step(w.pass), "passes": step(func() { w.pass(); w.pass(); w.pass() }),
		"finish": step(w.finishSome), "ready": step(w.becomeReady), "drift": step(w.drift), "crash": step(w.crash),
		"lose state": step(w.loseState), "driver": step(w.toggleDriver), "registry": step(func() { w.images = !w.images }),
		"time": step(func() { w.now.Boot += backoffFirst }),
	}
}

// commit changes one service, deletes it, or breaks or mends its file.
func (w *world) commit() {
	w.commits++
	id := rapid.SampledFrom(worldServices).Draw(w.t, "service")
	switch rapid.SampledFrom([]string{"set", "set", "set", "delete", "break"}).Draw(w.t, "change") {
	case "set":
		w.repo[id] = w.service(id, rapid.SampledFrom(worldTemplates[id]).Draw(w.t, "template"))
		w.broken[id] = false
	case "delete":
		delete(w.repo, id)
		w.broken[id] = false
	case "break":
		w.broken[id] = true
	}
}

func (w *world) approve() {
	w.commits++
	for _, commit := range w.followed.Pending {
		w.approvals = append(w.approvals, commit)
	}
	slices.Sort(w.approvals)
}

func (w *world) actSome() {
	for _, a := range w.plan().Actions {
		if rapid.Bool().Draw(w.t, "begin") {
			w.begin(a)
		}
	}
}

func (w *world) finishSome() {
	for _, id := range slices.Sorted(maps.Keys(w.underWay)) {
		switch rapid.SampledFrom([]string{"ends", "ends", "fails", "goes on"}).Draw(w.t, "action") {
		case "ends":
			w.finish(id, false)
		case "fails":
			w.finish(id, true)
		}
	}
}

// pass is the agent at its best: look, decide, act, all at once.
func (w *world) pass() {
	w.settle()
	w.coordinate()
	w.prepare()
	w.coordinate()
	for _, a := range w.plan().Actions {
		w.begin(a)
	}
	for _, id := range slices.Sorted(maps.Keys(w.underWay)) {
		w.finish(id, false)
	}
	w.becomeReady()
}

// drift is what happens to an instance behind the agent's back.
func (w *world) drift() {
	ids := slices.Sorted(maps.Keys(w.instances))
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(w.t, "instance")
	i := w.instances[id]
	delete(w.ready, id)
	switch rapid.SampledFrom([]string{"vanish", "exit", "partial", "unready"}).Draw(w.t, "drift") {
	case "vanish":
		delete(w.instances, id)
		return
	case "exit":
		i.State, i.Exit = StateExited, &Exit{Code: 1}
		w.backoff[id] = w.backoff[id].Failed(w.now.Boot, DescribeExit(i.Exit))
	case "partial":
		if i.State != StateExited { // what ended does not come to life again
			i.State = StatePartial
		}
	}
	w.instances[id] = i
}

// crash ends the agent process in the middle of whatever it does.
func (w *world) crash() {
	for _, id := range slices.Sorted(maps.Keys(w.underWay)) {
		w.cutOff(id, rapid.IntRange(0, 2).Draw(w.t, "left"))
	}
	w.restart()
}

// loseState is a crash after which the state folder is empty. What runs is
// known from its labels only. It happens while all drivers answer: an agent
// without state decides nothing before it has seen all they run.
func (w *world) loseState() {
	w.crash()
	clear(w.unlisted)
	w.forget()
	clear(w.given)
	for _, i := range w.instances {
		w.followed.Services[i.Slot.Service] = Service{ID: i.Slot.Service, Orphan: true}
	}
	w.coordinate()
}

func (w *world) toggleDriver() {
	d := rapid.SampledFrom([]string{DriverContainerd, DriverProcess}).Draw(w.t, "driver")
	if w.unlisted[d] {
		delete(w.unlisted, d)
	} else {
		w.unlisted[d] = true
	}
}

// heal ends all faults and commits something that can run.
func (w *world) heal() {
	clear(w.unlisted)
	clear(w.broken)
	w.images = true
	w.commits++
	for _, id := range worldServices {
		if rapid.Bool().Draw(w.t, "wanted") {
			w.repo[id] = w.service(id, rapid.SampledFrom(worldTemplates[id][:2]).Draw(w.t, "template"))
		} else {
			delete(w.repo, id)
		}
	}
	w.settle()
	w.approve()
}

// untilQuiet passes until nothing happens any more.
func (w *world) untilQuiet() {
	for range 60 {
		w.now.Boot += backoffMax
		w.pass()
	}
	if more := w.plan(); len(more.Actions)+len(more.Waits) > 0 || more.Next != Never {
		w.t.Fatalf("never quiet: %+v", more)
	}
}
