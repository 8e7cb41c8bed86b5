package planner

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// fleetWorld is a model of a whole fleet for the property tests: the records
// as they stand on the server, nodes that act on what they last read, a branch
// that grows. Every push is a compare-and-swap. What must never happen is
// checked at every push.
type fleetWorld struct {
	t   *rapid.T
	now time.Duration

	commits []Desired
	// approved holds what each commit approves, broken the services whose files
	// cannot be read; the zero ServiceID stands for the file of all nodes.
	approved [][]string
	broken   map[ServiceID]bool
	repo     map[ServiceID]Service
	specs    map[NodeName]NodeSpec
	nodes    map[NodeName]*fleetNode
	docs     map[ServiceID]LeaseDoc
	since    map[ServiceID]time.Duration
	step     map[ServiceID]time.Duration // since when the rollout is where it is
	changed  time.Duration               // of the nodes
	fleet    FleetRecord
	images   map[Revision]Template

	given  map[LeaseKey]Lease
	writes int
}

// fleetNode is one node: its records, what runs there, and what its agent
// knows.
type fleetNode struct {
	record   NodeRecord
	status   NodeStatus
	told     time.Duration // when the status changed
	up       bool
	have     map[string]Instance
	followed Followed
	at       int // commit
	took     time.Duration
	seen     *fleetView // a read that is not fresh; nil = it reads now
	contrary bool       // its planner has another taste
	registry bool       // answers it
	refuses  map[RevisionKey]bool
	// late: what is not available there has been given up. begun are the leases of
	// hooks whose start was begun.
	late  bool
	begun map[LeaseKey]bool
}

// fleetView is one read of all records.
type fleetView struct {
	nodes map[NodeName]NodeView
	docs  map[ServiceID]DocView
	fleet FleetRecord
}

var fleetServices = []ServiceID{
	{DefaultNamespace, "web"}, {DefaultNamespace, "db"}, {DefaultNamespace, "host"}, {"ops", "each"},
}

// fleetTemplate is one of the things a service can be made from: a and b run,
// unready never becomes ready, missing has an image that no registry has.
func fleetTemplate(id ServiceID, kind string) Template {
	t := plain(kind)
	t.Containers[0].Resources.Requests.MemoryBytes = 100
	switch id.Name {
	case "db":
		t.Volumes = []Volume{{Name: "data", Local: &LocalVolume{}}}
		t.Containers[0].VolumeMounts = []VolumeMount{{Name: "data", MountPath: "/data"}}
	case "host":
		t.HostNetwork = true
		t.Containers[0].Ports = []ContainerPort{{ContainerPort: 80}}
	case "each":
		t.Containers[0].Resources.Requests.MemoryBytes = 10
	}
	return t
}

func newFleetWorld(t *rapid.T) *fleetWorld {
	w := &fleetWorld{
		t: t, now: time.Hour, broken: map[ServiceID]bool{}, repo: map[ServiceID]Service{}, specs: map[NodeName]NodeSpec{}, nodes: map[NodeName]*fleetNode{},
		docs: map[ServiceID]LeaseDoc{}, since: map[ServiceID]time.Duration{}, step: map[ServiceID]time.Duration{}, images: map[Revision]Template{}, given: map[LeaseKey]Lease{},
	}
	alike := rapid.Bool().Draw(t, "alike")
	w.commit()
	for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
		name := NodeName(fmt.Sprint("n", i))
		n := &fleetNode{up: true, at: -1, registry: true, have: map[string]Instance{}, refuses: map[RevisionKey]bool{}, begun: map[LeaseKey]bool{}, contrary: !alike && i%2 == 1}
		n.record = NodeRecord{Node: name, Epoch: 1, Since: 1, Incarnation: fmt.Sprint(name, 0), OS: "linux", Labels: map[string]string{"zone": fmt.Sprint(i % 2)}}
		n.record.Capacity.MemoryBytes = int64(rapid.SampledFrom([]int{0, 250, 450, 1000}).Draw(t, "capacity"))
		n.status = NodeStatus{Node: name, Incarnation: n.record.Incarnation}
		w.nodes[name] = n
	}
	return w
}

func (w *fleetWorld) names() []NodeName { return slices.Sorted(maps.Keys(w.nodes)) }

// commit adds a commit of what the repository holds now.
func (w *fleetWorld) commit(approves ...string) {
	d := Desired{Commit: Commit{Hash: fmt.Sprintf("%040d", len(w.commits)+1)}, Services: maps.Clone(w.repo), Nodes: maps.Clone(w.specs)}
	if w.broken[ServiceID{}] {
		d.Nodes, d.Faults = nil, []Fault{{File: "nodes.yaml", Reason: "not YAML"}}
	}
	for _, id := range fleetServices {
		if s, ok := w.repo[id]; ok && w.broken[id] {
			delete(d.Services, id)
			d.Faults = append(d.Faults, Fault{File: s.File, Reason: "not YAML"})
		}
	}
	w.commits, w.approved = append(w.commits, d), append(w.approved, approves)
}

// look is a read of everything as it is now.
func (w *fleetWorld) look() *fleetView {
	v := &fleetView{nodes: map[NodeName]NodeView{}, docs: map[ServiceID]DocView{}, fleet: w.fleet}
	for name, n := range w.nodes {
		v.nodes[name] = NodeView{Record: n.record, Status: n.status, StatusSince: n.told}
	}
	for id, doc := range w.docs {
		v.docs[id] = DocView{Doc: doc, Since: w.since[id], StepSince: w.step[id]}
	}
	return v
}

// view is what a node knows.
func (w *fleetWorld) view(name NodeName) View {
	n := w.nodes[name]
	seen := n.seen
	if seen == nil {
		seen = w.look()
	}
	v := View{
		Self: name, Nodes: seen.nodes, Docs: seen.docs, Fleet: seen.fleet, Specs: w.images, Settled: time.Minute,
		Relations: map[string]Relation{}, FollowedSince: n.took, NodesSince: w.changed,
		Resolved: map[RevisionKey]map[string]string{}, Unresolvable: map[RevisionKey]string{},
	}
	for i, d := range w.commits {
		v.Relations[d.Commit.Hash] = RelationAncestor
		if i > n.at {
			v.Relations[d.Commit.Hash] = RelationAhead
		}
	}
	for id, s := range n.followed.Services {
		key := RevisionKey{id, s.Revision}
		if image := s.Template.Images()[0]; n.registry && image != "missing" {
			v.Resolved[key] = map[string]string{image: "sha256:1"}
		} else if image != "missing" || !n.registry {
			v.Unresolvable[key] = "the registry does not answer"
		}
	}
	return v
}

// follow lets a node take the newest commit: those between it never sees.
func (w *fleetWorld) follow(name NodeName) {
	n := w.nodes[name]
	next := w.commits[len(w.commits)-1]
	if n.followed.Commit.Hash == next.Commit.Hash {
		return
	}
	approved := slices.Concat(w.approved[n.at+1:]...)
	n.followed, n.at, n.took = Settle(n.followed, next, approved), len(w.commits)-1, w.now
}

// taste is what a planner with another taste makes of the same commit.
func (n *fleetNode) taste() Followed {
	if !n.contrary {
		return n.followed
	}
	f := n.followed
	f.Services = maps.Clone(f.Services)
	for id, s := range f.Services {
		s.Spread = []SpreadConstraint{{TopologyKey: "zone", Soft: true}}
		f.Services[id] = s
	}
	return f
}

// coordinate is one decision of a node and its push.
func (w *fleetWorld) coordinate(name NodeName) (written int) {
	n := w.nodes[name]
	if !n.up {
		return 0
	}
	f, v, now := n.taste(), w.view(name), Time{Boot: w.now}
	out := Coordinate(f, v, now)
	if again := Coordinate(f, v, now); !reflect.DeepEqual(out, again) {
		w.t.Fatalf("the same values, other decisions:\n%+v\n%+v", out, again)
	}
	if out.Next != Never && out.Next <= w.now {
		w.t.Fatalf("%s: asks to be asked again at %v, now is %v", name, out.Next, w.now)
	}
	w.idempotent(f, v, now, out)
	w.checkRoom(v, out.Docs)
	for _, d := range out.Docs {
		id := d.Doc.Service
		if current, there := w.docs[id]; !reflect.DeepEqual(current, d.Old) && there || there != (d.Old.Format != 0) {
			continue // lost the swap
		}
		if d.Old.Format == 0 && !reflect.DeepEqual(v.Fleet, w.fleet) {
			continue // a new document lands only beside the fleet record that was read
		}
		w.checkWrite(v, n.followed, d)
		written++
		w.writes++
		if d.Delete {
			w.fleet.Tokens = max(w.fleet.Tokens, d.Doc.Tokens)
			delete(w.docs, id)
			continue
		}
		if !sameStep(w.docs[id], d.Doc) {
			w.step[id] = w.now
		}
		w.docs[id], w.since[id] = d.Doc, w.now
	}
	w.checkLeases()
	return written
}

// idempotent checks that what was decided leaves nothing to decide: at once,
// unless a slot waits for room that the decision made.
func (w *fleetWorld) idempotent(f Followed, v View, now Time, out Decisions) {
	rounds := 1
	if len(out.Unplaced) > 0 || len(placed(f, v).unplaced) > 0 || w.tight() {
		rounds = 8
	}
	for range rounds {
		v.Docs = maps.Clone(v.Docs)
		for _, d := range out.Docs {
			since := v.Docs[d.Doc.Service].StepSince
			if !sameStep(d.Old, d.Doc) {
				since = now.Boot
			}
			v.Docs[d.Doc.Service] = DocView{Doc: d.Doc, Since: now.Boot, StepSince: since}
			if d.Delete {
				delete(v.Docs, d.Doc.Service)
				v.Fleet.Tokens = max(v.Fleet.Tokens, d.Doc.Tokens)
			}
		}
		next := Coordinate(f, v, now)
		if len(next.Docs) == 0 {
			return
		}
		if rounds == 1 {
			w.t.Fatalf("%s decides twice:\nfirst  %s\nsecond %s", v.Self, show(out.Docs), show(next.Docs))
		}
		out = next
	}
	w.t.Fatalf("%s never ends deciding: %s", v.Self, show(out.Docs))
}

// tight reports whether any node bounds what it takes.
func (w *fleetWorld) tight() bool {
	for _, n := range w.nodes {
		if n.record.Capacity.MemoryBytes > 0 {
			return true
		}
	}
	return false
}

func show(ds []Decision) string {
	var out string
	for _, d := range ds {
		out += fmt.Sprintf("\n  %s\n    %v\n  > %v", d.Why, d.Old.Leases, d.Doc.Leases)
	}
	return out
}

// act is one pass of a node's agent: what its leases ask, done at once, and
// told.
func (w *fleetWorld) act(name NodeName) {
	n := w.nodes[name]
	if !n.up {
		return
	}
	v := w.view(name)
	mine := v.Nodes[name].Record.Incarnation == n.record.Incarnation
	s := StandingOf(name, mine, n.record.Since, v)
	st := NodeState{
		Node: name, Followed: n.followed, Docs: s.Docs, Keep: s.Keep, Behind: s.Behind, Unsure: s.Unsure,
		Specs: w.images, Started: n.begun, Now: Time{Boot: w.now},
	}
	for _, id := range slices.Sorted(maps.Keys(n.have)) {
		st.Have = append(st.Have, n.have[id])
	}
	for _, a := range Reconcile(st).Actions {
		switch l := a.Lease; a.Kind {
		case ActionStop, ActionRemove:
			delete(n.have, a.Instance)
		default:
			w.beginsHook(n, a)
			if image := w.images[l.Revision].Images()[0]; image != "missing" && !n.refuses[RevisionKey{a.Slot.Service, l.Revision}] {
				n.have[a.Instance] = Instance{ID: a.Instance, Driver: a.Driver, Slot: a.Slot, Node: name, Epoch: l.Epoch, Token: l.Token, Revision: l.Revision, State: StateRunning}
				w.keepsData(n, a.Slot)
			}
		}
	}
	w.tell(n, s)
}

func (w *fleetWorld) keepsData(n *fleetNode, slot SlotID) {
	if slot.Service.Name == "db" && !slices.Contains(n.record.Volumes, slot) {
		n.record.Volumes = append(slices.Clone(n.record.Volumes), slot)
	}
}

// tell writes a node's status.
func (w *fleetWorld) tell(n *fleetNode, s Standing) {
	status := NodeStatus{Node: n.record.Node, Incarnation: n.record.Incarnation}
	for _, id := range slices.SortedFunc(maps.Keys(s.Docs), ServiceID.Compare) {
		for _, l := range s.Docs[id].Leases {
			slot := SlotID{id, l.Slot}
			i := InstanceStatus{Slot: slot, Token: l.Token, Revision: l.Revision, Phase: PhaseStarting}
			image := w.images[l.Revision].Images()[0]
			for _, have := range n.have {
				if have.Slot == slot && have.Revision == l.Revision && image != "unready" {
					i.Phase = PhaseReady
				}
			}
			i.Prepared = i.Phase != PhaseReady && image != "missing"
			if i.Failing = n.late && i.Phase != PhaseReady; i.Failing {
				i.Reason = "given up"
			}
			w.tellHook(n, l, &i)
			status.Instances = append(status.Instances, i)
			if image != "missing" {
				status.Images = append(status.Images, ResolvedImages{id, l.Revision, map[string]string{image: "sha256:1"}})
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(n.refuses), func(a, b RevisionKey) int { return a.Service.Compare(b.Service) }) {
		status.Refusals = append(status.Refusals, Refusal{key.Service, key.Revision, "policy"})
	}
	if !reflect.DeepEqual(status, n.status) {
		n.status, n.told = status, w.now
	}
}
