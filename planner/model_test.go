package planner

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var modelStates = flag.Int("model.states", 40_000, "how many states of each model are explored")

// The model explores, breadth first, every order in which the nodes of a small
// fleet may read, decide, push, start, stop, report, be fenced, die and return,
// with pushes that arrive late. What happens in a step is decided by the real
// functions: Settle, Coordinate, StandingOf, Reconcile. Nodes come to a
// commit by every way, one by one or at a jump. Time stands: everyone may stand
// in for everyone at once, which is the worst case.

const modelMax = 3 // nodes

// modelNode is a node's record.
type modelNode struct {
	epoch, since, life, process uint8
	fenced                      bool
}

// modelSight is what can be read at one instant: documents and statuses are
// numbers of values, see model.
type modelSight struct {
	nodes  [modelMax]modelNode
	doc    uint16
	status [modelMax]uint16
}

// modelMember is one machine with its agent.
type modelMember struct {
	life, process uint8
	read          bool  // the process has read
	followed      uint8 // number of a modelFollowed
	view          modelSight
	runs          uint16 // its instances
	lateOld, late uint16 // a push under way: the document's value before and after
}

// modelState is the whole world; equal states are one.
type modelState struct {
	server  modelSight
	members [modelMax]modelMember
	commit  uint8
	// What may still go wrong.
	fences, deaths, reboots, lates, torn uint8
}

// modelInstance is one instance of a machine.
type modelInstance struct {
	slot     string
	token    uint64
	revision Revision
	waits    bool // of a status: the lease's instance cannot start yet
}

// model is one exploration.
type model struct {
	t       *testing.T
	nodes   int
	commits []modelCommit
	follows []modelFollowed // by number; 0 = of those who saw the first commit
	ways    map[string]uint8
	docs    []LeaseDoc // by number; 0 = none
	docIDs  map[string]uint16
	runs    [][]modelInstance
	runIDs  map[string]uint16
	from    map[modelState]modelState
	how     map[modelState]string
	cause   modelState
	step    string
}

var modelService = ServiceID{DefaultNamespace, "web"}

func modelName(k int) NodeName { return NodeName(fmt.Sprintf("n%d", k)) }

// modelCommit is a commit, with the deletions that it approves.
type modelCommit struct {
	Desired
	approved []string
}

// modelFollowed is what a node made of the commits up to one.
type modelFollowed struct {
	Followed
	at int // of the commit
}

func modelHash(k int) string { return fmt.Sprintf("%040d", k) }

// modelOf is a commit of one service.
func modelOf(k int, tmpl Template, replicas int, drained ...NodeName) modelCommit {
	s := service(modelService, replicas, tmpl)
	d := Desired{Commit: Commit{Hash: modelHash(k)}, Services: map[ServiceID]Service{s.ID: s}, Nodes: map[NodeName]NodeSpec{}}
	for _, n := range drained {
		d.Nodes[n] = NodeSpec{Name: n, Drain: true}
	}
	return modelCommit{Desired: d}
}

// broken is a commit whose file of the service cannot be read.
func (c modelCommit) broken() modelCommit {
	s := c.Services[modelService]
	delete(c.Services, modelService)
	c.Faults = []Fault{{File: s.File, Reason: "not YAML"}}
	return c
}

// deleted is a commit without the service.
func (c modelCommit) deleted() modelCommit { delete(c.Services, modelService); return c }

// beside puts services from to to-1 into a commit, of which nothing runs: they
// only count when some are deleted.
func (c modelCommit) beside(from, to int) modelCommit {
	for k := from; k < to; k++ {
		s := service(ServiceID{"idle", fmt.Sprint("s", k)}, 0, plainA)
		c.Services[s.ID] = s
	}
	return c
}

func (c modelCommit) approves(k int) modelCommit { c.approved = []string{modelHash(k)}; return c }

func modelImage(tag string) Template {
	return plain("registry.example/web@sha256:" + strings.Repeat(tag, 64))
}

func TestModel(t *testing.T) {
	a, b := modelImage("a"), modelImage("b")
	host := func(tag string) Template { x := modelImage(tag); x.HostNetwork = true; return x }
	for _, row := range []struct {
		name    string
		nodes   int
		commits []modelCommit
		budget  modelState
	}{
		{"fences, late push", 2, []modelCommit{modelOf(0, a, 1)}, modelState{fences: 2, lates: 1}},
		{"fences, deaths", 2, []modelCommit{modelOf(0, a, 1)}, modelState{fences: 2, deaths: 1, reboots: 1}},
		{"fences, torn reads", 2, []modelCommit{modelOf(0, a, 1)}, modelState{fences: 2, torn: 2}},
		{"update, fence", 2, []modelCommit{modelOf(0, a, 1), modelOf(1, b, 1)}, modelState{fences: 1, deaths: 1}},
		{"update, late push", 2, []modelCommit{modelOf(0, a, 1), modelOf(1, b, 1)}, modelState{lates: 1, torn: 1}},
		{"update and back, fence", 2, []modelCommit{modelOf(0, a, 1), modelOf(1, b, 1), modelOf(2, a, 1)}, modelState{fences: 1}},
		{"drain, cancelled, fence", 2, []modelCommit{modelOf(0, a, 1), modelOf(1, a, 1, "n0"), modelOf(2, a, 1)}, modelState{fences: 1, lates: 1}},
		{"single writer: update, drain, fence", 2, []modelCommit{modelOf(0, host("a"), 1), modelOf(1, host("b"), 1), modelOf(2, host("b"), 1, "n1")}, modelState{fences: 1}},
		{"two slots, scaled down, fence", 2, []modelCommit{modelOf(0, a, 2), modelOf(1, a, 1)}, modelState{fences: 1}},
		// Nodes that came to the same commit by different ways: one has the service
		// deleted, another may not without a person's word, ...
		{"deleted by one, kept by another, fence", 2, []modelCommit{modelOf(0, a, 1).beside(0, 4), modelOf(1, a, 1).deleted().beside(0, 3), modelOf(2, a, 1).deleted().beside(0, 1)}, modelState{fences: 1}},
		{"deleted by one, kept by another, late push", 2, []modelCommit{modelOf(0, a, 1).beside(0, 4), modelOf(1, a, 1).deleted().beside(0, 3), modelOf(2, a, 1).deleted().beside(0, 1)}, modelState{lates: 1, deaths: 1}},
		// ... until it says so, or brings the service back;
		{"deleted by one, kept by another, approved", 2, []modelCommit{modelOf(0, a, 1).beside(0, 4), modelOf(1, a, 1).deleted().beside(0, 3), modelOf(2, a, 1).deleted().beside(0, 1), modelOf(3, a, 1).deleted().beside(0, 1).approves(2)}, modelState{}},
		{"deleted by one, kept by another, back", 2, []modelCommit{modelOf(0, a, 1).beside(0, 4), modelOf(1, a, 1).deleted().beside(0, 3), modelOf(2, a, 1).deleted().beside(0, 1), modelOf(3, b, 1)}, modelState{}},
		// one has another revision, ...
		{"kept at two revisions, fence", 2, []modelCommit{modelOf(0, a, 1), modelOf(1, b, 1), modelOf(2, b, 1).broken()}, modelState{fences: 1}},
		{"kept at two revisions, late push", 2, []modelCommit{modelOf(0, a, 2), modelOf(1, b, 1), modelOf(2, b, 1).broken()}, modelState{lates: 1}},
		{"kept at two revisions, single writer", 2, []modelCommit{modelOf(0, host("a"), 1), modelOf(1, b, 1, "n1"), modelOf(2, b, 1).broken()}, modelState{deaths: 1}},
		// ... until the file is repaired, or gone;
		{"kept at two revisions, repaired", 2, []modelCommit{modelOf(0, a, 1), modelOf(1, b, 1), modelOf(2, b, 1).broken(), modelOf(3, b, 2)}, modelState{}},
		{"kept at two revisions, deleted", 2, []modelCommit{modelOf(0, a, 1), modelOf(1, b, 1), modelOf(2, b, 1).broken(), modelOf(3, b, 1).deleted()}, modelState{fences: 1}},
		// one never knew it; one keeps what another deleted before.
		{"kept by one, unknown to another, fence", 2, []modelCommit{modelOf(0, a, 1).deleted(), modelOf(1, a, 1), modelOf(2, a, 1).broken()}, modelState{fences: 1}},
		{"deleted by one, then a broken file", 2, []modelCommit{modelOf(0, a, 1), modelOf(1, a, 1).deleted(), modelOf(2, a, 1).broken()}, modelState{fences: 1}},
		{"three nodes, fences, late push", 3, []modelCommit{modelOf(0, a, 1)}, modelState{fences: 2, lates: 1}},
		{"three nodes, drain, reboot", 3, []modelCommit{modelOf(0, a, 1), modelOf(1, a, 1, "n0")}, modelState{reboots: 1, fences: 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := &model{
				t: t, nodes: row.nodes, commits: row.commits, docs: []LeaseDoc{{}}, docIDs: map[string]uint16{"": 0},
				ways: map[string]uint8{}, runs: [][]modelInstance{nil}, runIDs: map[string]uint16{"[]": 0}, from: map[modelState]modelState{}, how: map[modelState]string{},
			}
			m.explore(row.budget)
		})
	}
}

func (m *model) explore(first modelState) {
	for k := range m.nodes {
		first.server.nodes[k] = modelNode{epoch: 1, since: 1}
	}
	m.follow(modelFollowed{at: -1}, 0)
	m.from[first] = first
	frontier := []modelState{first}
	depth, settled, all := 0, 0, true
	for len(frontier) > 0 && all {
		var next []modelState
		for _, s := range frontier {
			if len(m.from) > *modelStates {
				all = false
				break
			}
			if len(m.from)%23 == 0 {
				m.settles(s)
				settled++
			}
			m.successors(s, func(how string, to modelState) {
				if _, seen := m.from[to]; !seen {
					m.from[to], m.how[to] = s, how
					next = append(next, to)
				}
			})
			if m.t.Failed() {
				return
			}
		}
		frontier = next
		depth++
	}
	how := "all states"
	if !all {
		how = "bounded"
	}
	m.t.Logf("%s: %d states, depth %d, %d of them settled, %d documents", how, len(m.from), depth, settled, len(m.docs))
}

// fail tells how a broken rule came about.
func (m *model) fail(format string, args ...any) {
	var steps []string
	for s := m.cause; ; s = m.from[s] {
		if m.from[s] == s {
			break
		}
		steps = append(steps, m.how[s])
	}
	slices.Reverse(steps)
	m.t.Errorf("%s\nafter %s, then %s\ndocument %+v", fmt.Sprintf(format, args...), strings.Join(steps, ", "), m.step, m.docs[m.cause.server.doc].Leases)
}

// successors tries every step from a state.
func (m *model) successors(s modelState, to func(string, modelState)) {
	try := func(how string, k int, do func(*modelState, *modelMember) bool) {
		next := s
		m.cause, m.step = s, fmt.Sprintf("%s %s", modelName(k), how)
		if do(&next, &next.members[k]) && next != s {
			to(m.step, next)
		}
	}
	if int(s.commit) < len(m.commits)-1 {
		next := s
		next.commit++
		to("commit", next)
	}
	for k := range m.nodes {
		try("reads", k, func(n *modelState, x *modelMember) bool { x.view, x.read = n.server, true; return true })
		try("reads the document anew and records as before", k, func(n *modelState, x *modelMember) bool {
			if n.torn == 0 || !x.read {
				return false
			}
			n.torn--
			x.view.doc = n.server.doc
			return true
		})
		try("follows", k, func(n *modelState, x *modelMember) bool {
			x.followed = m.follow(m.follows[x.followed], int(n.commit))
			return true
		})
		try("registers", k, m.registers)
		try("decides", k, func(n *modelState, x *modelMember) bool { return m.decides(n, k, false) })
		try("decides, the push is late", k, func(n *modelState, x *modelMember) bool { return n.lates > 0 && m.decides(n, k, true) })
		try("'s late push lands", k, func(n *modelState, x *modelMember) bool { return m.lands(n, x) })
		try("acts", k, func(n *modelState, x *modelMember) bool { return m.acts(n, k) })
		try("reports", k, func(n *modelState, x *modelMember) bool { return m.reports(n, k) })
		try("'s agent dies", k, func(n *modelState, x *modelMember) bool {
			if n.deaths == 0 {
				return false
			}
			n.deaths--
			x.process, x.read, x.view = x.process+1, false, modelSight{}
			return true
		})
		try("reboots", k, func(n *modelState, x *modelMember) bool {
			if n.reboots == 0 {
				return false
			}
			n.reboots--
			x.life, x.process, x.read, x.view, x.runs = x.life+1, x.process+1, false, modelSight{}, 0
			return true
		})
		for by := range m.nodes {
			try(fmt.Sprintf("is fenced by n%d", by), k, func(n *modelState, _ *modelMember) bool { return m.fences(n, k, by) })
		}
	}
}

// follow is what a node makes of a commit and those it has not seen before it.
func (m *model) follow(from modelFollowed, to int) uint8 {
	next := from
	if from.at != to {
		var approved []string
		for k := from.at + 1; k <= to; k++ {
			approved = append(approved, m.commits[k].approved...)
		}
		next = modelFollowed{Settle(from.Followed, m.commits[to].Desired, approved), to}
	}
	s := next.Services[modelService]
	body := fmt.Sprint(to, s.Revision, s.Replicas, next.Pending, next.Held, next.Gone, len(next.Services))
	number, known := m.ways[body]
	if !known {
		number = uint8(len(m.follows))
		m.follows, m.ways[body] = append(m.follows, next), number
	}
	return number
}

// registers clears a fence, or takes the name for a new life or process.
func (m *model) registers(n *modelState, x *modelMember) bool {
	for k := range n.members {
		if &n.members[k] != x {
			continue
		}
		rec := &n.server.nodes[k]
		switch {
		case !x.read || x.view.nodes[k] != *rec || !rec.fenced && rec.life == x.life && rec.process == x.process:
			return false
		case rec.life != x.life:
			rec.epoch++
			rec.since = rec.epoch
		}
		rec.life, rec.process, rec.fenced = x.life, x.process, false
		x.view.nodes[k] = *rec
	}
	return true
}

func (m *model) fences(n *modelState, k, by int) bool {
	rec := &n.server.nodes[k]
	x := &n.members[by]
	if by == k || n.fences == 0 || !x.read || x.view.nodes[k] != *rec || rec.fenced || !m.belongs(x, by) {
		return false
	}
	n.fences--
	rec.fenced, rec.epoch = true, rec.epoch+1
	x.view.nodes[k] = *rec
	return true
}

// belongs reports whether a member's record, as it last read it, is its own.
func (m *model) belongs(x *modelMember, k int) bool {
	rec := x.view.nodes[k]
	return x.read && !rec.fenced && rec.life == x.life && rec.process == x.process
}

// view is what a member knows, in the planner's words.
func (m *model) view(x *modelMember, k int) (Followed, View) {
	f := m.follows[x.followed]
	v := View{
		Self: modelName(k), Nodes: map[NodeName]NodeView{}, Docs: map[ServiceID]DocView{}, Relations: map[string]Relation{},
		Specs: map[Revision]Template{}, Poll: time.Second, Beat: time.Second, Settled: 1,
	}
	for at, c := range m.commits {
		if s, ok := c.Services[modelService]; ok {
			v.Specs[s.Revision] = s.Template
		}
		v.Relations[c.Commit.Hash] = RelationSame
		if at < f.at {
			v.Relations[c.Commit.Hash] = RelationAncestor
		} else if at > f.at {
			v.Relations[c.Commit.Hash] = RelationAhead
		}
	}
	for o := range m.nodes {
		rec := x.view.nodes[o]
		n := NodeView{Record: NodeRecord{Format: 1, Node: modelName(o), Epoch: uint64(rec.epoch), Since: uint64(rec.since), Incarnation: fmt.Sprint(rec.life, rec.process)}}
		if rec.fenced {
			n.Record.Fence = &Fence{Epoch: uint64(rec.epoch), Fenced: true, By: "x"}
		}
		n.Status = NodeStatus{Node: modelName(o), Incarnation: n.Record.Incarnation}
		for _, i := range m.runs[x.view.status[o]] {
			phase := PhaseReady
			if i.waits {
				phase = PhasePending
			}
			n.Status.Instances = append(n.Status.Instances, InstanceStatus{
				Slot: SlotID{modelService, i.slot}, Token: i.token, Revision: i.revision, Phase: phase, Prepared: true,
			})
		}
		v.Nodes[modelName(o)] = n
	}
	if x.view.doc != 0 {
		dv := DocView{Doc: m.docs[x.view.doc]}
		if slices.ContainsFunc(dv.Doc.Leases, v.Torn) {
			dv.Since = time.Hour // a torn read is young: the next is not
		}
		v.Docs[modelService] = dv
	}
	return f.Followed, v
}

// decides lets a member push what Coordinate decides.
func (m *model) decides(n *modelState, k int, late bool) bool {
	x := &n.members[k]
	if !m.belongs(x, k) || x.late != 0 {
		return false
	}
	f, v := m.view(x, k)
	now := Time{Boot: time.Hour}
	d := Coordinate(f, v, now)
	if len(d.Docs) == 0 {
		return false
	}
	sv := newSurvey(f, v, now)
	sv.place()
	if first := v.Coordinators(modelService)[0]; first != v.Self && sv.invalid(modelService, now) == "" {
		m.fail("L7: %s writes a valid document that %s coordinates", v.Self, first)
	}
	doc := d.Docs[0].Doc
	m.checkDecision(f, v, m.docs[x.view.doc], doc)
	number := m.document(doc)
	if late {
		n.lates--
		x.lateOld, x.late = x.view.doc, number
		return true
	}
	if n.server.doc != x.view.doc {
		return false // the swap is lost
	}
	m.changes(n, number)
	x.view.doc = number
	return true
}

func (m *model) lands(n *modelState, x *modelMember) bool {
	if x.late == 0 {
		return false
	}
	if n.server.doc == x.lateOld {
		m.changes(n, x.late)
	}
	x.late, x.lateOld = 0, 0
	return true
}

// changes holds what may never happen between two values at the server.
func (m *model) changes(n *modelState, number uint16) {
	old, now := m.docs[n.server.doc], m.docs[number]
	if now.Tokens < old.Tokens {
		m.fail("I2: the tokens went from %d to %d", old.Tokens, now.Tokens)
	}
	if now.Commit < old.Commit {
		m.fail("I5: the document was decided on %s, and is now on %s", old.Commit, now.Commit)
	}
	n.server.doc = number
	inForce := map[string][]Lease{}
	for _, l := range now.Leases {
		had := slices.ContainsFunc(old.Leases, func(o Lease) bool { return o.Token == l.Token && sameLease(o, l) })
		if !had && l.Token <= old.Tokens {
			m.fail("I2: token %d is given again: %+v", l.Token, l)
		}
		for k := range m.nodes {
			if rec := n.server.nodes[k]; l.Node == modelName(k) && !rec.fenced && l.Epoch == uint64(rec.epoch) {
				inForce[l.Slot] = append(inForce[l.Slot], l)
			}
		}
	}
	for slot, leases := range inForce {
		if len(leases) > 2 || len(leases) == 2 && leases[0].Node == leases[1].Node && leases[0].Revision == leases[1].Revision {
			m.fail("I4: slot %s has leases %+v in force", slot, leases)
		}
	}
}

// checkDecision holds that a ready slot is not left without a ready lease,
// unless the service was deleted.
func (m *model) checkDecision(f Followed, v View, old, now LeaseDoc) {
	if _, gone := f.Gone[modelService]; gone {
		return
	}
	for _, l := range old.Leases {
		slot := SlotID{modelService, l.Slot}
		single := v.Specs[l.Revision].SingleWriter() || f.Services[modelService].Template.SingleWriter()
		stays := func(o Lease) bool { return o.Slot == l.Slot && v.InForce(o) && v.Ready(slot, o) }
		if v.InForce(l) && v.Ready(slot, l) && !single && l.Slot == "0" && !slices.ContainsFunc(now.Leases, stays) {
			m.fail("the last ready lease of slot %s goes: %+v becomes %+v", l.Slot, old.Leases, now.Leases)
		}
	}
}

func (m *model) document(d LeaseDoc) uint16 {
	d.By, d.History = "", nil // who and when does not matter: fewer states
	body := fmt.Sprint(d.Commit, d.Tokens, d.Leases, d.LastGood)
	if id, ok := m.docIDs[body]; ok {
		return id
	}
	id := uint16(len(m.docs))
	m.docs, m.docIDs[body] = append(m.docs, d), id
	return id
}

// acts carries out a plan of Reconcile at once.
func (m *model) acts(n *modelState, k int) bool {
	x := &n.members[k]
	if !x.read {
		return false
	}
	f, v := m.view(x, k)
	rec := x.view.nodes[k]
	mine := rec.life == x.life
	since := uint64(rec.since)
	if !mine {
		since = 1 << 60 // an earlier life of its own
	}
	standing := StandingOf(v.Self, mine, since, v)
	have := m.instances(x, k)
	plan := Reconcile(NodeState{
		Node: v.Self, Followed: f, Docs: standing.Docs, Keep: standing.Keep, Behind: standing.Behind, Unsure: standing.Unsure,
		Specs: v.Specs, Have: have, Now: Time{Boot: time.Hour},
	})
	runs := slices.Clone(m.runs[x.runs])
	for _, a := range plan.Actions {
		at := slices.IndexFunc(have, func(i Instance) bool { return i.ID == a.Instance })
		switch a.Kind {
		case ActionStart:
			if !mine || !v.InForce(a.Lease) || a.Lease.Node != v.Self {
				m.fail("L1: %s starts %s without a lease in force: %+v", v.Self, a.Instance, a.Lease)
			}
			runs = append(runs, modelInstance{a.Slot.Name, a.Lease.Token, a.Lease.Revision, false})
		case ActionStop:
			m.checkStop(v, mine, have, have[at])
			i := have[at]
			runs = slices.DeleteFunc(runs, func(r modelInstance) bool { return r == modelInstance{i.Slot.Name, i.Token, i.Revision, false} })
		}
	}
	x.runs = m.running(runs)
	return true
}

// checkStop holds that an instance ends only as L9 has it.
func (m *model) checkStop(v View, mine bool, have []Instance, i Instance) {
	for _, l := range v.Docs[modelService].Doc.Leases {
		if l.Node != v.Self || l.Slot != i.Slot.Name || l.Revision != i.Revision {
			continue
		}
		twice := slices.ContainsFunc(have, func(o Instance) bool { return o.ID != i.ID && o.Slot == i.Slot && o.Revision == i.Revision })
		taken := slices.ContainsFunc(v.Docs[modelService].Doc.Leases, func(o Lease) bool {
			return o.Slot == l.Slot && o.Token != l.Token && v.InForce(o) && v.Ready(i.Slot, o)
		})
		if !twice && (mine && v.InForce(l) || v.Torn(l) || !taken) {
			m.fail("L9: %s stops %s although %+v stands", v.Self, i.ID, l)
		}
	}
}

func (m *model) instances(x *modelMember, k int) []Instance {
	var have []Instance
	for _, r := range m.runs[x.runs] {
		slot := SlotID{modelService, r.slot}
		have = append(have, Instance{
			ID: InstanceID(slot, Lease{Slot: r.slot, Token: r.token, Revision: r.revision, Node: modelName(k)}), Driver: DriverContainerd,
			Slot: slot, Node: modelName(k), Token: r.token, Revision: r.revision, State: StateRunning,
		})
	}
	return have
}

func (m *model) running(runs []modelInstance) uint16 {
	slices.SortFunc(runs, func(a, b modelInstance) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	body := fmt.Sprint(runs)
	if id, ok := m.runIDs[body]; ok {
		return id
	}
	id := uint16(len(m.runs))
	m.runs, m.runIDs[body] = append(m.runs, runs), id
	return id
}

// reports writes what runs: the token is that of the lease that covers it.
func (m *model) reports(n *modelState, k int) bool {
	x := &n.members[k]
	rec := n.server.nodes[k]
	if !m.belongs(x, k) || rec != x.view.nodes[k] {
		return false
	}
	var told []modelInstance
	for _, l := range m.docs[x.view.doc].Leases {
		if l.Node != modelName(k) || l.Epoch != uint64(rec.epoch) {
			continue
		}
		runs := slices.ContainsFunc(m.runs[x.runs], func(r modelInstance) bool { return l.Slot == r.slot && l.Revision == r.revision })
		told = append(told, modelInstance{l.Slot, l.Token, l.Revision, !runs})
	}
	status := m.running(told)
	n.server.status[k], x.view.status[k] = status, status
	return true
}

// settles holds that a state comes to rest once nothing goes wrong any more.
func (m *model) settles(s modelState) {
	m.cause, m.step = s, "a fair round robin"
	const rounds = 40
	rest := false
	for k := 0; k < rounds && !rest; k++ {
		before := s
		for k := range m.nodes {
			x := &s.members[k]
			m.lands(&s, x)
			for range 2 {
				x.view, x.read, x.followed = s.server, true, m.follow(m.follows[x.followed], int(s.commit))
				m.registers(&s, x)
			}
			m.acts(&s, k)
			m.reports(&s, k)
			m.decides(&s, k, false)
			m.acts(&s, k)
			m.reports(&s, k)
		}
		rest = s == before
	}
	leases, running := m.docs[s.server.doc].Leases, 0
	if !rest {
		m.fail("I7: no rest in %d rounds: %+v", rounds, leases)
	}
	for k := range m.nodes {
		running += len(m.runs[s.members[k].runs])
	}
	svc, wanted := m.commits[s.commit].Services[modelService]
	slots := m.kept(s, leases)
	if wanted {
		slots = svc.Replicas
	}
	if len(leases) != slots || running != slots {
		m.fail("I7: %d slots at rest have %d leases and %d instances: %+v", slots, len(leases), running, leases)
	}
	for _, l := range leases {
		for k := range m.nodes {
			if l.Node == modelName(k) && (l.Epoch != uint64(s.server.nodes[k].epoch) || wanted && l.Revision != svc.Revision) {
				m.fail("I7: a lease at rest is void or old: %+v", l)
			}
		}
	}
}

// kept is how many slots a service has at rest of which the commit does not
// speak: none once any node has it deleted, else those it had.
func (m *model) kept(s modelState, leases []Lease) int {
	slots := map[string]bool{}
	for _, l := range leases {
		slots[l.Slot] = true
	}
	for k := range m.nodes {
		if _, gone := m.follows[s.members[k].followed].Gone[modelService]; gone {
			return 0
		}
	}
	return len(slots)
}
