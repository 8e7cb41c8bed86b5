package planner

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// world is a model of one node for the property tests: drivers as a map of
// instances, an agent that runs the passes of the planner in any order, acts
// slowly, crashes and forgets. Everything the planner must never do is checked
// where it happens, against the truth of the world and not the agent's view.
type world struct {
	t    *rapid.T
	node Node

	// The repository.
	commits   int
	repo      map[ServiceID]Service
	broken    map[ServiceID]bool // services in files that do not parse
	approvals []string

	// What the agent keeps on disk.
	followed Followed
	docs     map[ServiceID]LeaseDoc
	specs    map[Revision]Template

	// What the agent process remembers.
	asked    []RevisionKey
	prepared map[RevisionKey]bool
	backoff  map[string]Backoff
	underWay map[string]Action

	// The truth.
	instances map[string]Instance
	ready     map[string]bool
	unlisted  map[string]bool
	images    bool // whether the registry answers
	now       Time
	given     map[LeaseKey]Lease
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, node: Node{Name: "n1", OS: "linux", Arch: "amd64"}, images: true,
		repo: map[ServiceID]Service{}, broken: map[ServiceID]bool{},
		instances: map[string]Instance{}, ready: map[string]bool{}, unlisted: map[string]bool{},
		given: map[LeaseKey]Lease{}, now: Time{Boot: time.Second},
	}
	w.forget()
	return w
}

// forget empties the agent's state folder.
func (w *world) forget() {
	w.followed = Followed{Services: map[ServiceID]Service{}}
	w.docs = map[ServiceID]LeaseDoc{}
	w.specs = map[Revision]Template{}
	w.restart()
}

// restart empties the agent's memory.
func (w *world) restart() {
	w.asked, w.prepared = nil, map[RevisionKey]bool{}
	w.backoff, w.underWay = map[string]Backoff{}, map[string]Action{}
}

// Services of the model, with what each may be made from. A service keeps its
// kind of driver or stays a single writer: nobody can tell whether a driver
// that does not answer runs the single writer a plain instance replaces.
var (
	worldWeb  = ServiceID{DefaultNamespace, "web"}
	worldDB   = ServiceID{DefaultNamespace, "db"}
	worldEach = ServiceID{"ops", "each"}

	worldTemplates = map[ServiceID][]Template{
		worldWeb:  {plain("a"), plain("b"), plain("unready"), plain("missing"), volume("a")},
		worldDB:   {volume("a"), volume("b"), volume("unready"), volume("missing"), process("a")},
		worldEach: {plain("a"), plain("b"), plain("unready"), hostNetwork("a")},
	}
	worldServices = []ServiceID{worldWeb, worldDB, worldEach}
)

func plain(image string) Template {
	return Template{Containers: []Container{{Name: MainContainer, Image: image}}}
}

func volume(image string) Template {
	t := plain(image)
	t.Volumes = []Volume{{Name: "data", Local: &LocalVolume{}}}
	t.Containers[0].VolumeMounts = []VolumeMount{{Name: "data", MountPath: "/data"}}
	return t
}

func hostNetwork(image string) Template {
	t := plain(image)
	t.HostNetwork = true
	return t
}

func process(command string) Template {
	return Template{
		Driver:     DriverProcess,
		Containers: []Container{{Name: MainContainer, Command: []string{command}}},
		Volumes:    []Volume{{Name: "data", Local: &LocalVolume{}}},
	}
}

func service(id ServiceID, replicas int, t Template) Service {
	return Service{ID: id, File: id.Name + ".yaml", Replicas: replicas, Template: t, Revision: RevisionOf(t)}
}

func (w *world) service(id ServiceID, tmpl Template) Service {
	s := service(id, rapid.IntRange(0, 3).Draw(w.t, "replicas"), tmpl)
	if id == worldEach {
		s.Replicas, s.EveryNode = 0, true
	}
	return s
}

// desired is the repository as the manifest reader gives it.
func (w *world) desired() Desired {
	d := Desired{Commit: Commit{Hash: fmt.Sprintf("%040d", w.commits)}, Services: map[ServiceID]Service{}}
	for id, s := range w.repo {
		if !w.broken[id] {
			d.Services[id] = s
		}
	}
	for _, id := range worldServices {
		if w.broken[id] {
			d.Faults = append(d.Faults, Fault{File: id.Name + ".yaml", Reason: "not YAML"})
		}
	}
	return d
}

// settle is the agent's look at the newest commit.
func (w *world) settle() {
	next, prev := w.desired(), w.followed
	out := Settle(prev, next, w.approvals)
	w.same("Settle", out, Settle(prev, next, reversed(w.approvals)))
	for id, s := range prev.Services {
		if w.broken[id] && !reflect.DeepEqual(out.Services[id], s) {
			w.t.Fatalf("service %s changed although its file is broken: %v", id, out.Services[id])
		}
		if _, there := out.Services[id]; !there && !next.Complete() {
			w.t.Fatalf("service %s was deleted by a commit that could not be read", id)
		}
	}
	w.followed, w.approvals = out, nil
	for _, s := range out.Services {
		if !s.Orphan {
			w.specs[s.Revision] = s.Template
		}
	}
}

func (w *world) listing() []Instance {
	var all []Instance
	for _, id := range slices.Sorted(maps.Keys(w.instances)) {
		if i := w.instances[id]; !w.unlisted[i.Driver] {
			all = append(all, i)
		}
	}
	return all
}

// leased keeps only the specs the contract promises.
func (w *world) leased() map[Revision]Template {
	specs := map[Revision]Template{}
	for _, doc := range w.docs {
		for _, l := range doc.Leases {
			if t, ok := w.specs[l.Revision]; ok {
				specs[l.Revision] = t
			}
		}
	}
	return specs
}

func (w *world) view() Alone {
	v := Alone{Node: w.node, Docs: w.docs, Ready: map[LeaseKey]bool{}, Prepared: w.prepared, Running: w.listing(), Specs: w.leased()}
	for id, doc := range w.docs {
		for _, l := range doc.Leases {
			for _, i := range v.Running {
				_, busy := w.underWay[i.ID]
				if i.Slot == (SlotID{id, l.Slot}) && i.Revision == l.Revision && i.State == StateRunning && w.ready[i.ID] && !busy {
					v.Ready[LeaseKey{id, l.Token}] = true
				}
			}
		}
	}
	return v
}

// coordinate is the agent's pass over the lease documents.
func (w *world) coordinate() {
	v := w.view()
	out := CoordinateAlone(w.followed, v)
	again := v
	again.Running = reversed(v.Running)
	w.same("Coordinate", out, CoordinateAlone(w.followed, again))
	before := maps.Clone(w.docs)
	for _, doc := range out.Docs {
		w.checkDoc(v, w.docs[doc.Service], doc)
		w.docs[doc.Service] = doc
	}
	w.asked = out.Prepare
	v.Docs = w.docs
	v.Specs = maps.Clone(v.Specs)
	maps.Copy(v.Specs, w.leased())
	if more := CoordinateAlone(w.followed, v); len(more.Docs) > 0 {
		w.t.Fatalf("nothing changed, yet documents do:\nbefore %+v\nfirst  %+v\nsecond %+v", before, out.Docs, more.Docs)
	}
}

// prepare pulls what the last coordination asked for.
func (w *world) prepare() {
	for _, key := range w.asked {
		spec := w.specs[key.Revision]
		missing := len(spec.Images()) > 0 && (!w.images || spec.Images()[0] == "missing")
		if !missing {
			w.prepared[key] = true
			w.docs[key.Service] = Pin(w.docs[key.Service], key.Revision, map[string]string{"image": "sha256:1"})
			doc := w.docs[key.Service]
			doc.Service = key.Service
			w.docs[key.Service] = doc
		}
	}
}

func (w *world) plan() Plan {
	st := NodeState{
		Node: w.node.Name, Followed: w.followed, Docs: w.docs, Specs: w.leased(), Have: w.listing(),
		Unlisted: w.unlisted, Busy: map[string]Instance{}, Backoff: w.backoff, Now: w.now,
	}
	for id, a := range w.underWay {
		i, listed := w.instances[id]
		if !listed || w.unlisted[i.Driver] {
			i = Instance{Slot: a.Slot, Revision: a.Lease.Revision}
		}
		st.Busy[id] = i
	}
	plan := Reconcile(st)
	st.Have = reversed(st.Have)
	w.same("Reconcile", plan, Reconcile(st))
	w.checkPlan(plan)
	return plan
}

// begin starts to carry out an action.
func (w *world) begin(a Action) {
	w.underWay[a.Instance] = a
	w.checkSingleWriters()
}

// finish ends an action that is under way.
func (w *world) finish(id string, fails bool) {
	a := w.underWay[id]
	delete(w.underWay, id)
	old, was := w.instances[id]
	if fails {
		if a.Kind == ActionStart || a.Kind == ActionRestart {
			w.backoff[id] = w.backoff[id].Failed(w.now.Boot, "start failed")
		}
		return
	}
	delete(w.ready, id)
	delete(w.instances, id)
	switch a.Kind {
	case ActionRestart, ActionStart:
		if was && old.State == StateRunning {
			w.t.Fatalf("%v of a running instance", a)
		}
		w.instances[id] = Instance{
			ID: id, Driver: a.Driver, Slot: a.Slot, Node: w.node.Name, Epoch: a.Lease.Epoch, Token: a.Lease.Token,
			Revision: a.Lease.Revision, State: StateRunning, GracePeriod: a.Grace,
		}
	}
}

// cutOff is what a crash leaves of an action: nothing of it, a part, or all.
func (w *world) cutOff(id string, how int) {
	a := w.underWay[id]
	switch i, was := w.instances[id]; {
	case how == 0:
		w.finish(id, false)
	case how == 1 && (a.Kind == ActionStart || a.Kind == ActionRestart):
		w.finish(id, false)
		i = w.instances[id]
		i.State = StatePartial
		w.instances[id] = i
	case how == 1 && was:
		i.State = StateExited
		w.instances[id] = i
	}
	delete(w.underWay, id)
}

// becomeReady lets everything that runs and can be ready be so.
func (w *world) becomeReady() {
	for id, i := range w.instances {
		if i.State == StateRunning && !unready(i.Revision) {
			w.ready[id] = true
		}
	}
}

func unready(r Revision) bool {
	return r == RevisionOf(plain("unready")) || r == RevisionOf(volume("unready"))
}

func (w *world) same(what string, a, b any) {
	if !reflect.DeepEqual(a, b) {
		w.t.Fatalf("%s of the same values in another order differs:\n%+v\n%+v", what, a, b)
	}
}

func reversed[T any](s []T) []T {
	r := slices.Clone(s)
	slices.Reverse(r)
	return r
}
