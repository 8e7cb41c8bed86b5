package fleettest

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// process is one run of the agent: what package agent has around a
// fleet.Member (membership.go, tellfleet.go, pass.go), without its waiting.
type process struct {
	w      *World
	m      *machine
	member *fleet.Member
	alive  bool
	able   bool // the server was probed

	loading  *commit // being read
	read     bool    // a commit was read by this process
	rejected *planner.RejectedCommit
	refusal  string // the tip and reason of rejected

	standing  planner.Standing
	stood     [2]uintptr   // identifies standing
	seen      planner.View // what it was judged by
	specs     map[planner.Revision]planner.Template
	flights   map[string]*flight
	backoff   map[string]planner.Backoff
	refused   map[planner.RevisionKey]string
	plan      planner.Plan
	dirty     bool // something is to be reconciled
	news      bool // something is to be told
	wake      uint64
	wakeAt    time.Duration
	stepping  bool
	preparing map[planner.RevisionKey]bool
	health    map[planner.LeaseKey]*health
	failures  map[string]int // of instances, by id
	starts    starts
	tellAt    time.Duration // boot time at which instances fare otherwise by themselves; 0 = never

	peers      map[planner.NodeName]*peer
	probeAt    time.Duration
	suspects   []planner.NodeName
	blind      bool
	nodesSince time.Duration
}

// startAgent starts the agent from what is on disk.
func (m *machine) startAgent() {
	if !m.up || m.proc != nil {
		return
	}
	w := m.w
	w.say(m.called, "agent starts")
	p := &process{
		w: w, m: m, alive: true, dirty: true, specs: m.disk.specs,
		flights: map[string]*flight{}, backoff: map[string]planner.Backoff{}, refused: map[planner.RevisionKey]string{},
		preparing: map[planner.RevisionKey]bool{}, peers: map[planner.NodeName]*peer{},
		health: map[planner.LeaseKey]*health{}, failures: map[string]int{},
	}
	m.proc = p
	cfg := fleet.Config{
		Self: planner.NodeRecord{
			Node: m.node, Key: m.key.public(), Life: m.life, Address: m.address, OS: "linux", Arch: "amd64",
			Capacity: planner.ResourceList{CPUMillis: m.cores, MemoryBytes: m.memory}, Version: "simulated",
		},
		Sign:   m.key.sign,
		Verify: w.verify,
		Relate: func(a, b string) planner.Relation {
			if !m.has(a) || !m.has(b) {
				return planner.RelationUnknown
			}
			return w.history.relate(a, b)
		},
		Random: w.rng.Uint64,
		Memory: m.disk.memory,
		Log:    w.logger(m.called),
	}
	if m.other {
		cfg.Coordinate = otherVersion
	}
	p.member = fleet.New(cfg, p.now())
	if m.disk.followed.Commit.Hash != "" {
		p.member.Followed(m.disk.followed, p.now())
	}
	w.linksMoved()
	p.lookAtBranch()
	p.later(w.between(10*time.Millisecond, 300*time.Millisecond), func() { p.probeServer() })
	p.deliver(func() {})
}

// has reports whether the machine's clone holds a commit.
func (m *machine) has(hash string) bool {
	c := m.w.history.commits[hash]
	return c != nil && slices.ContainsFunc(m.disk.tips, func(tip *commit) bool { return tip.descends(c) })
}

func (p *process) now() planner.Time { return p.m.clock.time(p.w.now) }

// later plans something for this process; it does not happen if the process
// dies before, and waits while the machine is paused.
func (p *process) later(d time.Duration, do func()) {
	p.w.after(d, func() { p.deliver(do) })
}

// deliver lets something happen to the process, and what follows from it.
func (p *process) deliver(do func()) {
	switch {
	case !p.alive:
	case p.m.paused:
		p.m.waiting = append(p.m.waiting, func() { p.deliver(do) })
	default:
		do()
		p.pass()
	}
}

// pass does what is to do until nothing is.
func (p *process) pass() {
	if p.stepping {
		return
	}
	p.stepping = true
	for range 8 {
		if p.news {
			p.news = false
			p.member.Report(p.report(), p.now())
		}
		if p.able && p.m.disk.followed.Commit.Hash != "" && !p.step() {
			return // it died
		}
		if p.adopt(); !p.dirty {
			break
		}
		p.reconcile()
		p.news = true
	}
	p.stepping = false
	p.tellPeers()
	p.sleep()
}

// adopt takes over what stands, where that was judged anew.
func (p *process) adopt() {
	s := p.member.Standing()
	if at := [2]uintptr{reflect.ValueOf(s.Docs).Pointer(), reflect.ValueOf(s.Unsure).Pointer()}; at != p.stood {
		p.standing, p.stood, p.dirty = s, at, true
		p.learnSpecs()
		p.seen = p.member.View()
		p.seen.Nodes, p.seen.Docs = maps.Clone(p.seen.Nodes), maps.Clone(p.seen.Docs)
		p.w.witness.stands(p)
	}
}

// step asks the member what to do and does it. It reports false if the agent
// dies of it.
func (p *process) step() bool {
	if p.isProbed() {
		p.member.Probed(p.now())
	}
	todo := p.member.Step(p.now())
	p.wakeAt = todo.Next
	if todo.Save {
		if p.m.crash == crashBeforeSave {
			p.m.killAgent()
			return false
		}
		p.m.disk.memory = p.member.Memory()
		if p.m.crash == crashAfterSave {
			p.m.killAgent()
			return false
		}
	}
	if todo.List {
		p.list()
	}
	if len(todo.Read) > 0 {
		p.fetch(todo.Read)
	}
	if todo.Push != nil {
		p.swap(*todo.Push)
	}
	for _, key := range todo.Resolve {
		p.resolve(key)
	}
	for _, commit := range todo.Specs {
		p.learn(commit)
	}
	for _, to := range todo.Poke {
		p.poke(to)
	}
	if todo.Fetch {
		p.lookAtBranch()
	}
	return true
}

// sleep plans the next pass although nothing happens.
func (p *process) sleep() {
	if !p.alive {
		return
	}
	at := p.wakeAt
	for _, n := range []time.Duration{p.plan.Next, p.tellAt} {
		if n > p.now().Boot && (at == 0 || n < at) {
			at = n
		}
	}
	if at == 0 {
		return
	}
	p.wake++
	wake := p.wake
	p.w.after(p.m.clock.trueWait(p.w.now, at), func() {
		if p.wake == wake {
			p.deliver(func() { p.dirty = p.dirty || p.due(p.plan.Next) || p.due(p.tellAt) })
		}
	})
}

// due reports whether an instant of the boot clock has come; 0 never does.
func (p *process) due(at time.Duration) bool { return at > 0 && at <= p.now().Boot }

// probeServer finds out what the server can do.
func (p *process) probeServer() {
	p.ask(loseNothing, func() func(planner.Time) {
		able, _ := p.w.board.Probe(context.Background(), "")
		return func(planner.Time) {
			p.able = true
			p.member.Able(able)
		}
	}, func(error, planner.Time) { p.later(5*time.Second, p.probeServer) })
}

// resolve asks the registry for digests.
func (p *process) resolve(key planner.RevisionKey) {
	t, _ := p.m.disk.followed.Services[key.Service].TemplateOf(key.Revision)
	p.later(p.w.between(20*time.Millisecond, 400*time.Millisecond), func() {
		if p.w.registryDown {
			p.member.Resolved(key, nil, errTimeout, p.now())
			return
		}
		digests := map[string]string{}
		for _, ref := range t.Images() {
			digests[ref] = p.w.digest(ref)
		}
		p.member.Resolved(key, digests, nil, p.now())
	})
}

// learn reads the services of an older commit from the clone.
func (p *process) learn(hash string) {
	p.later(p.w.between(5*time.Millisecond, 200*time.Millisecond), func() {
		if p.m.has(hash) {
			p.member.Learned(p.w.history.commits[hash].desired.Services, p.now())
		}
	})
}

// lookAtBranch asks for the branch's tip.
func (p *process) lookAtBranch() {
	p.ask(loseNothing, func() func(planner.Time) {
		tip := p.w.history.tip
		return func(planner.Time) { p.tipSeen(planner.Hash(tip.hash)) }
	}, func(error, planner.Time) { p.later(5*time.Second, p.lookAtBranchUntilRead) })
}

func (p *process) lookAtBranchUntilRead() {
	if !p.read {
		p.lookAtBranch()
	}
}

// tipSeen takes in the branch's tip: a commit that may be followed is loaded.
func (p *process) tipSeen(tip planner.Hash) {
	c := p.w.history.commits[string(tip)]
	followed := p.m.disk.followed.Commit.Hash
	if c == nil || p.loading != nil || followed == c.hash && p.read {
		return
	}
	if p.rejected != nil && p.refusal == c.hash+p.belowFloor(c)+c.refused {
		return
	}
	p.loading = c
	p.later(p.w.between(20*time.Millisecond, 300*time.Millisecond), func() {
		p.loading = nil
		if p.w.reaches(p.m) {
			p.loaded(c)
		}
	})
}

// loaded takes in a commit.
func (p *process) loaded(c *commit) {
	d := &p.m.disk
	d.tips = append(slices.DeleteFunc(slices.Clone(d.tips), func(tip *commit) bool { return c.descends(tip) }), c)
	p.dirty = true
	if why := p.belowFloor(c) + c.refused; why != "" {
		p.w.say(p.m.called, "commit %s is refused: %s", c.hash[:8], why)
		p.rejected, p.refusal = &planner.RejectedCommit{Commit: c.hash, Reason: why}, c.hash+why
		return
	}
	p.rejected, p.read = nil, true
	if d.followed.Commit.Hash != c.hash {
		p.w.say(p.m.called, "follows %s", c.hash[:8])
		p.follow(planner.Settle(d.followed, c.desired, c.approve))
	}
}

// belowFloor says why a commit may not be followed although it is the tip.
func (p *process) belowFloor(c *commit) string {
	for _, floor := range p.member.Floors() {
		if at := p.w.history.commits[floor]; at != nil && !c.descends(at) {
			return "it does not descend from the floor " + floor[:8]
		}
	}
	return ""
}

// follow writes down what the node works towards.
func (p *process) follow(f planner.Followed) {
	d := &p.m.disk
	d.followed = f
	d.specs = p.usedSpecs()
	p.specs = d.specs
	p.member.Followed(f, p.now())
}

// usedSpecs are the templates of what is followed, leased or runs.
func (p *process) usedSpecs() map[planner.Revision]planner.Template {
	specs := map[planner.Revision]planner.Template{}
	keep := func(rev planner.Revision) {
		if t, ok := p.specs[rev]; ok {
			specs[rev] = t
		}
	}
	for _, dv := range p.member.View().Docs {
		for _, l := range dv.Doc.Leases {
			keep(l.Revision)
		}
		for _, a := range dv.Doc.History {
			keep(a.Revision)
		}
	}
	for _, doc := range p.standing.Docs {
		for _, l := range doc.Leases {
			keep(l.Revision)
		}
	}
	for _, i := range p.m.instances {
		keep(i.Revision)
	}
	for _, s := range p.m.disk.followed.Services {
		if s.Orphan {
			continue
		}
		specs[s.Revision] = s.Template
		for _, hook := range s.Hooks {
			specs[hook.Revision] = hook.Template
		}
	}
	return specs
}

// reconcile compares leases with instances and begins what is to be done.
func (p *process) reconcile() {
	p.dirty = false
	p.noteExits()
	p.keepOrphans()
	st := planner.NodeState{
		Node: p.m.node, Followed: p.m.disk.followed, Docs: p.standing.Docs, Keep: p.standing.Keep, Behind: p.standing.Behind,
		Unsure: p.standing.Unsure, Specs: p.specs, Have: p.m.listing(), Unlisted: map[string]bool{planner.DriverContainerd: p.m.silent},
		Busy: map[string]planner.Instance{}, Backoff: p.backoff, Started: p.started(), Now: p.now(),
	}
	for id, f := range p.flights {
		st.Busy[id] = planner.Instance{ID: id, Driver: f.action.Driver, Slot: f.action.Slot, Token: f.action.Lease.Token, Revision: f.action.Lease.Revision}
	}
	p.plan = planner.Reconcile(p.takeOn(st))
	for _, a := range p.plan.Actions {
		if p.permitted(a) {
			p.launch(a)
		}
	}
	p.prepare()
}

// learnSpecs takes over templates of what is leased here: the manifests may not
// have them any more.
func (p *process) learnSpecs() {
	for _, doc := range p.standing.Docs {
		for _, l := range doc.Leases {
			if t, known := p.member.Spec(l.Revision); known {
				p.specs[l.Revision] = t
			}
		}
	}
}

// started are the leases of what runs once whose start was begun here.
func (p *process) started() map[planner.LeaseKey]bool {
	out := map[planner.LeaseKey]bool{}
	for id, doc := range p.standing.Docs {
		for _, l := range doc.Leases {
			if p.m.disk.begun[onceKey{id, l.Token, l.Revision}] {
				out[planner.LeaseKey{Service: id, Token: l.Token}] = true
			}
		}
	}
	return out
}

// permitted keeps a process that has not read the commit and the records from
// ending anything.
func (p *process) permitted(a planner.Action) bool {
	if a.Kind == planner.ActionStart || a.Kind == planner.ActionRestart {
		return true
	}
	i := p.m.instances[a.Instance]
	runs := i != nil && i.Alive()
	return p.m.disk.followed.Commit.Hash != "" && (p.read || !runs) && p.member.Whole() && !p.m.silent
}

// keepOrphans follows the services of instances that nothing else tells of.
func (p *process) keepOrphans() {
	for _, i := range p.m.listing() {
		id := i.Slot.Service
		if _, followed := p.m.disk.followed.Services[id]; !followed && p.standing.Unsure[id] != "" {
			f := p.m.disk.followed
			f.Services = maps.Clone(f.Services)
			f.Services[id] = planner.Service{ID: id, Orphan: true}
			p.m.disk.followed = f
			p.member.Followed(f, p.now())
		}
	}
}

// noteExits takes exits for failures, once.
func (p *process) noteExits() {
	for _, id := range slices.Sorted(maps.Keys(p.m.instances)) {
		i := p.m.instances[id]
		if i.State == planner.StateExited && !i.noted && !i.once && !p.m.silent {
			i.noted = true
			p.failed(id, i.Slot, i.Revision, planner.DescribeExit(i.Exit))
			p.counts(id, i.Slot, !i.worked)
		}
	}
}

// prepare pulls the images of leases whose predecessor has to stop first.
func (p *process) prepare() {
	for _, id := range sortedIDs(p.standing.Docs) {
		if p.m.disk.followed.Services[id].Observe {
			continue
		}
		leases := p.standing.Docs[id].Leases
		for k, l := range leases {
			key := planner.RevisionKey{Service: id, Revision: l.Revision}
			behind := p.standing.Behind[planner.LeaseKey{Service: id, Token: l.Token}] != "" ||
				slices.ContainsFunc(leases[:k], func(o planner.Lease) bool { return o.Slot == l.Slot })
			t, known := p.specs[l.Revision]
			if !behind || !known || p.preparing[key] || p.isPrepared(t) {
				continue
			}
			p.preparing[key] = true
			p.later(p.pulling(t), func() {
				why := p.pull(t)
				if why == "" {
					delete(p.preparing, key)
					p.dirty = true
					return
				}
				p.later(5*time.Second, func() {
					delete(p.preparing, key)
					p.dirty = true
				})
			})
		}
	}
}

func (p *process) isPrepared(t planner.Template) bool {
	return !slices.ContainsFunc(t.Images(), func(ref string) bool { return !p.m.images[ref] })
}
