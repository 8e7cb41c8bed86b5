package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestNodesDie: what ran on a node that dies runs elsewhere soon, and when the
// node is back each slot runs once.
//
// It runs beside no other test: it takes the time.
func TestNodesDie(t *testing.T) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	web := map[string]int{"web": 6}
	f.begin(map[string]string{"fleet.yaml": defaults, "web.yaml": f.manifest(spec{name: "web", replicas: 6})}, web)
	if spread := f.places().perNode("web"); spread["node-1"] != 2 || spread["node-2"] != 2 || spread["node-3"] != 2 {
		t.Errorf("6 replicas on 3 nodes: %v", spread)
	}

	victim := 2
	lose := func() time.Duration {
		n := f.Nodes[victim]
		victim = (victim + 1) % len(f.Nodes)
		lost := f.places().perNode("web")[n.Name]
		if lost == 0 {
			t.Fatalf("%s has nothing to lose", n.Name)
		}
		began := time.Now() // the power fails a moment after it
		f.must(n.Kill())
		f.await("all runs elsewhere", patience, func(all []*api.Status) string { return placesOf(all).exactly(web) })
		took := time.Since(began)
		f.comesBack(n, web)
		return took
	}
	best(t, "a node dies (Docker Swarm: 16.7 to 22 s)", 15*time.Second, lose)
	hash := f.commit("fast", map[string]string{"fleet.yaml": defaults + "spec: {failover: fast}\n"})
	f.settles("failover: fast", hash, web)
	best(t, "a node dies, failover: fast", 6*time.Second, lose)
}

// comesBack boots a node whose work others have taken over. Whatever it starts
// from memory, each slot runs once after one look at the records.
func (f *fleet) comesBack(n *devfleet.Node, slots map[string]int) {
	f.t.Helper()
	f.boot(n)
	took := f.await(n.Name+" comes back", patience, func(all []*api.Status) string {
		for _, st := range all {
			if is := nodeOf(st, n.Name); is.State != "live" || st.Node == planner.NodeName(n.Name) && !st.Fleet.Registered {
				return fmt.Sprintf("it is %s %s", is.State, is.Reason)
			}
		}
		return placesOf(all).exactly(slots)
	})
	f.t.Logf("%s is back: after %s each slot runs once", n.Name, took.Round(100*time.Millisecond))
	f.watch(n.Name+" is back", 6*time.Second, func(all []*api.Status) string { return placesOf(all).exactly(slots) })
}

// lastNode: when all others die the last one does what it can, and says what it
// cannot.
func lastNode(t *testing.T) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3, CPU: "1"})
	f.push("app:1", "1")
	// Three of them have room on a node.
	slots := map[string]int{"web": 6}
	f.begin(map[string]string{
		"fleet.yaml": three,
		"web.yaml":   f.manifest(spec{name: "web", replicas: 6, more: "  resources: {requests: {cpu: 300m}}\n"}),
	}, slots)
	survivor, others := f.Nodes[0], f.Nodes[1:]
	before := f.places()
	began := time.Now()
	for _, n := range others {
		f.must(n.Kill())
	}
	var said []string
	f.await("the survivor takes over", 3*time.Minute, func(all []*api.Status) string {
		st := all[0]
		if st == nil {
			return "it does not answer"
		}
		if got := placesOf(all).perNode("web")[survivor.Name]; got != 3 {
			return fmt.Sprintf("it runs %d", got)
		}
		said = said[:0]
		for _, u := range st.Fleet.Unplaced {
			said = append(said, u.Slot+": "+strings.Join(u.Reasons, "; "))
		}
		if len(said) != 3 {
			return fmt.Sprintf("it says of %d slots that they have no node", len(said))
		}
		return ""
	})
	took := time.Since(began)
	t.Logf("2 of 3 nodes die: the last has taken over what fits after %s", took.Round(time.Second))
	if took < time.Minute {
		t.Errorf("it took over after %s: it may be itself that is cut off, and has to wait a minute", took)
	}
	for slot, at := range before {
		if at[0].node != survivor.Name {
			delete(before, slot)
		}
	}
	f.untouched("the others died", before)
	if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, "of CPU free") }) {
		t.Errorf("it does not say why: %q", said)
	}
	out, _ := f.orpheus("status", "--socket", survivor.Socket())
	contains(t, "orpheus status", out, "no node", "of CPU free")
	for _, n := range others {
		f.boot(n)
	}
	f.await("the others are back", patience, func(all []*api.Status) string { return placesOf(all).exactly(slots) })
}
