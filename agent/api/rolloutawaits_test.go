package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// awaitedFacts are those of a service with one slot on node b, of the fleet of a and
// b, at a revision that node b has told nothing of.
func awaitedFacts(change func(*RolloutFacts)) RolloutFacts {
	id := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "web"}
	const next = planner.Revision("r1-bbbbbbbb0")
	node := func(name planner.NodeName) planner.NodeView {
		return planner.NodeView{
			Record: planner.NodeRecord{Node: name, Epoch: 1, Incarnation: "i"},
			Status: planner.NodeStatus{Node: name, Incarnation: "i", Applied: strings.Repeat("c2", 20)},
		}
	}
	f := RolloutFacts{
		Service: planner.Service{ID: id, Replicas: 1, Revision: next},
		Doc: planner.DocView{Doc: planner.LeaseDoc{
			Service: id, History: []planner.Applied{{Revision: next}}, Leases: []planner.Lease{{Slot: "0", Node: "b", Epoch: 1, Token: 1, Revision: next}},
		}},
		View:   planner.View{Nodes: map[planner.NodeName]planner.NodeView{"a": node("a"), "b": node("b")}},
		Commit: planner.Commit{Hash: strings.Repeat("c2", 20)},
	}
	change(&f)
	return f
}

// TestRolloutUntold: a node that tells nothing of what it was given does so for a
// while only; then people hear for how long, and that it is not to be waited for.
func TestRolloutUntold(t *testing.T) {
	quiet := func(d time.Duration) func(planner.NodeName) time.Duration {
		return func(planner.NodeName) time.Duration { return d }
	}
	for _, c := range []struct {
		name   string
		change func(*RolloutFacts)
		why    string
		silent bool
	}{
		{"nobody knows for how long", func(*RolloutFacts) {}, "the node has not told of it yet", false},
		{"just given", func(f *RolloutFacts) { f.Stands = time.Minute }, "the node has not told of it yet", false},
		{"long given", func(f *RolloutFacts) { f.Stands = 7*time.Minute + 10*time.Second }, "the node has not told of it for 7m", true},
		{"it is told of other things", func(f *RolloutFacts) { f.Stands, f.Quiet = 7*time.Minute, quiet(time.Minute) }, "the node has not told of it for 7m", true},
		{"it is told of nothing", func(f *RolloutFacts) { f.Stands, f.Quiet = 7*time.Minute, quiet(3*time.Hour) }, "the node has not told of it for 7m, nor of anything else for 3h", true},
		{"for days", func(f *RolloutFacts) { f.Stands = 75 * time.Hour }, "the node has not told of it for 3 days", true},
		// A server that is looked at rarely has slow readers.
		{"rare looks", func(f *RolloutFacts) { f.Stands, f.View.Poll = 7*time.Minute, 2*time.Minute }, "the node has not told of it yet", false},
		{"it says so", func(f *RolloutFacts) { b := f.View.Nodes["b"]; b.Blind = true; f.View.Nodes["b"] = b }, "the node cannot read the repository, as it says: it does not know of it", true},
	} {
		r := RolloutOf(awaitedFacts(c.change))
		if r.Slots[0].Reason != c.why || r.Slots[0].Silent != c.silent {
			t.Errorf("%s: %q, silent %v", c.name, r.Slots[0].Reason, r.Slots[0].Silent)
		}
		if want := "web-0 on b is not available yet: " + c.why; !slices.Equal(r.Waits, []string{want}) {
			t.Errorf("%s: waits %q", c.name, r.Waits)
		}
	}
}

// TestRolloutUncounted: one that was told to be ready and is waited for does not go
// on by itself once its node has not told of anything for much longer.
func TestRolloutUncounted(t *testing.T) {
	phase := planner.PhaseReady
	told := func(f *RolloutFacts) {
		f.Service.MinReady = 4 * time.Second
		b := f.View.Nodes["b"]
		b.Status.Instances = []planner.InstanceStatus{{Slot: planner.SlotID{Service: f.Service.ID, Name: "0"}, Token: 1, Revision: f.Service.Revision, Phase: phase}}
		f.View.Nodes["b"] = b
	}
	quiet := func(d time.Duration) func(*RolloutFacts) {
		return func(f *RolloutFacts) { f.Quiet = func(planner.NodeName) time.Duration { return d } }
	}
	blind := func(f *RolloutFacts) { b := f.View.Nodes["b"]; b.Blind = true; f.View.Nodes["b"] = b }
	const counts = "counts once it was ready for 4s"
	for _, c := range []struct {
		name   string
		phase  planner.Phase
		change func(*RolloutFacts)
		why    string
		silent bool
	}{
		{"nobody knows for how long", planner.PhaseReady, func(*RolloutFacts) {}, counts, false},
		{"told just now", planner.PhaseReady, quiet(3 * time.Second), counts, false},
		{"late, as slow readers are", planner.PhaseReady, quiet(2 * time.Minute), counts, false},
		{"silent", planner.PhaseReady, quiet(3 * time.Minute), "it was ready, and counts once that lasted 4s, but the node has told nothing for 3m", true},
		{"silent and down", planner.PhaseReady, func(f *RolloutFacts) {
			quiet(3 * time.Minute)(f)
			b := f.View.Nodes["b"]
			b.Probe = planner.ProbeDown
			f.View.Nodes["b"] = b
		}, "it was ready, and counts once that lasted 4s, but the node has told nothing for 3m, nor does it answer", true},
		// Where the server is looked at rarely, or the service asks for long.
		{"rare looks", planner.PhaseReady, func(f *RolloutFacts) { quiet(3 * time.Minute)(f); f.View.Poll = time.Minute }, counts, false},
		{"long seconds", planner.PhaseReady, func(f *RolloutFacts) { quiet(3 * time.Minute)(f); f.Service.MinReady = 5 * time.Minute }, "counts once it was ready for 5m", false},
		{"it says so", planner.PhaseReady, blind, "it was ready when the node told of it last; the node cannot read the repository, as it says", true},
		{"it says so, starting", planner.PhaseStarting, blind, "it was starting when the node told of it last; the node cannot read the repository, as it says", true},
		// A pull may take its time.
		{"starting for long", planner.PhaseStarting, quiet(time.Hour), "", false},
		// Who tells knows of itself.
		{"this node", planner.PhaseReady, func(f *RolloutFacts) { quiet(time.Hour)(f); f.View.Self = "b" }, counts, false},
	} {
		phase = c.phase
		r := RolloutOf(awaitedFacts(func(f *RolloutFacts) { told(f); c.change(f) }))
		if r.Slots[0].Reason != c.why || r.Slots[0].Silent != c.silent {
			t.Errorf("%s: %q, silent %v", c.name, r.Slots[0].Reason, r.Slots[0].Silent)
		}
	}
}

// TestRolloutHere: of itself a node says what it does with a lease, told or not.
func TestRolloutHere(t *testing.T) {
	for _, c := range []struct {
		own  planner.InstanceStatus
		want string
	}{
		{planner.InstanceStatus{Phase: planner.PhasePending}, "this node is about to begin with it"},
		{planner.InstanceStatus{Phase: planner.PhaseStarting}, "starting on this node"},
		{planner.InstanceStatus{Phase: planner.PhaseReady}, "ready on this node, which is about to tell so"},
		{planner.InstanceStatus{Phase: planner.PhaseFailed, Reason: "exited with code 3"}, "exited with code 3"},
	} {
		own := func(planner.Lease) planner.InstanceStatus { return c.own }
		r := RolloutOf(awaitedFacts(func(f *RolloutFacts) { f.View.Self, f.Own = "b", own }))
		if r.Slots[0].Reason != c.want || r.Slots[0].Phase != c.own.Phase || r.Slots[0].Available {
			t.Errorf("%+v: %+v", c.own, r.Slots[0])
		}
		r = RolloutOf(awaitedFacts(func(f *RolloutFacts) { f.View.Self, f.Own = "a", own }))
		if want := "the node has not told of it yet"; r.Slots[0].Reason != want {
			t.Errorf("elsewhere: %q", r.Slots[0].Reason)
		}
	}
	r := RolloutOf(awaitedFacts(func(f *RolloutFacts) { f.View.Self = "b" }))
	if want := "this node has not told of it yet"; r.Slots[0].Reason != want {
		t.Errorf("without a look: %q", r.Slots[0].Reason)
	}
}

// TestRolloutNotBegun: between a commit and the first decision on it something is
// awaited, too.
func TestRolloutNotBegun(t *testing.T) {
	coordinator := awaitedFacts(func(*RolloutFacts) {}).View.Coordinators(planner.ServiceID{Namespace: planner.DefaultNamespace, Name: "web"})[0]
	other := planner.NodeName("a")
	if coordinator == other {
		other = "b"
	}
	follows := func(f *RolloutFacts, commit string) {
		n := f.View.Nodes[coordinator]
		n.Status.Applied = commit
		f.View.Nodes[coordinator] = n
	}
	for _, c := range []struct {
		name   string
		change func(*RolloutFacts)
		want   string
	}{
		{"its turn", func(*RolloutFacts) {}, string(coordinator) + " decides on it with its next look at the repository"},
		{"our turn", func(f *RolloutFacts) { f.View.Self = coordinator }, "this node decides on it with its next look at the repository"},
		{"it is behind", func(f *RolloutFacts) { follows(f, strings.Repeat("c1", 20)) }, string(coordinator) + ", which decides on it, has not told yet that it follows commit c2c2c2c2: it follows c1c1c1c1"},
		{"it has just begun", func(f *RolloutFacts) { follows(f, "") }, string(coordinator) + ", which decides on it, has not told yet that it follows commit c2c2c2c2"},
		// Another stands in for one that cannot read.
		{"it cannot read", func(f *RolloutFacts) {
			n := f.View.Nodes[coordinator]
			n.Blind = true
			f.View.Nodes[coordinator] = n
		}, string(other) + " decides on it with its next look at the repository"},
		{"nobody can", func(f *RolloutFacts) { f.View.Nodes = nil }, "no node is live that could decide on it"},
		// Where more is known, that is told.
		{"it is known", func(f *RolloutFacts) { f.Waiting = "waits for db: it runs nowhere yet" }, "waits for db: it runs nowhere yet"},
		{"left alone", func(f *RolloutFacts) { f.Service.Suspend = &planner.Suspension{} }, ""},
		{"who tells knows no commit", func(f *RolloutFacts) { f.Commit = planner.Commit{} }, ""},
	} {
		r := RolloutOf(awaitedFacts(func(f *RolloutFacts) { f.Doc.Doc.Leases = nil; c.change(f) }))
		if got := strings.Join(r.Waits, "|"); got != c.want {
			t.Errorf("%s: waits %q, want %q", c.name, got, c.want)
		}
	}
}
