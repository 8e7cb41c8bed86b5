package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// simFleet is a fleet that nobody runs: its manifests, and the records that its
// nodes would have written.
type simFleet struct {
	t       *testing.T
	w       *recordWriter
	files   map[string]string
	desired planner.Desired
	before  map[planner.ServiceID]planner.Service // of the commit before
	head    string
	now     time.Time
	nodes   []planner.NodeName
	status  map[planner.NodeName]*planner.NodeStatus
	docs    map[planner.ServiceID]*planner.LeaseDoc
	lost    map[planner.NodeName]string // fenced, and why
}

// simKinds are the fleets that screens are drawn of.
var simKinds = []string{"healthy", "rolling", "blocked", "hundred"}

// newSimFleet makes the fleet of a kind, whose records go to w.
func newSimFleet(t *testing.T, w *recordWriter, kind string) *simFleet {
	t.Helper()
	f := &simFleet{
		t: t, w: w, head: strings.Repeat("4f2a", 10), now: time.Unix(wroteAt, 0).UTC().Add(10 * time.Minute), files: map[string]string{"fleet.yaml": fleetYAML},
		status: map[planner.NodeName]*planner.NodeStatus{}, docs: map[planner.ServiceID]*planner.LeaseDoc{}, lost: map[planner.NodeName]string{},
	}
	switch kind {
	case "hundred":
		f.populate(100, 300)
	default:
		f.populate(3, 6)
	}
	f.before = f.load()
	switch kind {
	case "rolling":
		f.change("web")
	case "blocked":
		f.change("web", "queue")
	case "hundred":
		f.change("web", "queue", "app-009", "app-200")
	}
	f.desired.Services = f.load()
	f.place()
	switch kind {
	case "rolling":
		f.roll("web", 1, planner.InstanceStatus{Phase: planner.PhasePulling, Reason: "pulling registry.example.com/web:2: 12.4 MiB of 80.1 MiB"})
	case "blocked":
		f.block("web", 1, "readiness probe httpGet http://:8080/healthz: 503; not available within 10m0s")
		f.roll("queue", 0, planner.InstanceStatus{Phase: planner.PhaseFailed, Failing: true, Restarts: 7, Reason: "exited with code 1; failed 5 times within 5m0s"})
	case "hundred":
		f.block("web", 1, "exited with code 1; failed 5 times within 5m0s")
		f.roll("queue", 0, planner.InstanceStatus{Phase: planner.PhasePulling})
		f.roll("app-009", 1, planner.InstanceStatus{Phase: planner.PhaseStarting, Reason: "readiness probe has not succeeded yet"})
		f.roll("app-200", 1, planner.InstanceStatus{Phase: planner.PhaseFailed, Failing: true, Restarts: 12, Reason: "out of memory: killed at 256 MiB"})
		f.lost["node-017"] = "no beat for 21s; node-003, node-055 did not reach it either"
		f.status["node-063"].Pressure = []string{"disk"}
		f.status["node-088"].Rejected = &planner.RejectedCommit{Commit: strings.Repeat("77aa", 10), Reason: "it is not signed"}
		f.desired.Nodes = map[planner.NodeName]planner.NodeSpec{"node-042": {Drain: true}}
	}
	f.record()
	return f
}

// populate writes manifests for so many services, and names nodes.
func (f *simFleet) populate(nodes, services int) {
	digits := len(fmt.Sprint(nodes))
	for n := range nodes {
		f.nodes = append(f.nodes, planner.NodeName(fmt.Sprintf("node-%0*d", digits, n+1)))
	}
	for k := range services {
		name, namespace := fmt.Sprintf("app-%03d", k), "default"
		if few := []string{"web", "db", "queue", "worker", "cache", "api"}; k < len(few) {
			name = few[k]
		} else if k%7 == 0 {
			namespace = "shop"
		}
		f.files[namespace+"/"+name+".yaml"] = fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec:\n  replicas: %d\n  image: registry.example.com/%s:1\n  ports: [{name: http, containerPort: 8080}]\n  resources: {requests: {cpu: %dm, memory: %dMi}, limits: {memory: %dMi}}\n",
			name, namespace, 1+(k+2)%3, name, 50+50*(k%5), 64+64*(k%4), 256)
	}
}

// load reads the manifests as they are now.
func (f *simFleet) load() map[planner.ServiceID]planner.Service {
	f.t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range f.files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	d, err := readFleet(f.t.Context(), fsys, ".")
	if err != nil || len(d.Faults) > 0 {
		f.t.Fatal(err, d.Faults)
	}
	f.desired = d
	f.desired.Commit.Hash = f.head
	return d.Services
}

// change gives services another image.
func (f *simFleet) change(names ...string) {
	for _, name := range names {
		for file, text := range f.files {
			if strings.HasSuffix(file, "/"+name+".yaml") {
				f.files[file] = strings.Replace(text, ":1\n", ":2\n", 1)
			}
		}
	}
}

func simID(name string) planner.ServiceID { return planner.ParseServiceID(name) }

// place has all services run as the commit before asked.
func (f *simFleet) place() {
	for _, node := range f.nodes {
		f.status[node] = &planner.NodeStatus{Format: 1, Node: node, Incarnation: "i1", Applied: f.head}
	}
	for at, id := range slices.SortedFunc(maps.Keys(f.before), planner.ServiceID.Compare) {
		s := f.before[id]
		doc := &planner.LeaseDoc{
			Format: 1, Service: id, Commit: f.head, By: f.nodes[at%len(f.nodes)], LastGood: s.Revision,
			History: []planner.Applied{{Revision: s.Revision, Commit: strings.Repeat("17be", 10)}},
		}
		f.docs[id] = doc
		for k := range s.Replicas {
			f.lease(doc, k, f.nodes[(at*7+k)%len(f.nodes)], s.Revision, planner.InstanceStatus{Phase: planner.PhaseReady, Available: true})
		}
	}
}

// lease gives a slot to a node, which reports of it.
func (f *simFleet) lease(doc *planner.LeaseDoc, slot int, node planner.NodeName, rev planner.Revision, st planner.InstanceStatus) {
	doc.Tokens++
	doc.Leases = append(doc.Leases, planner.Lease{Slot: fmt.Sprint(slot), Node: node, Epoch: 1, Token: doc.Tokens, Revision: rev})
	slices.SortStableFunc(doc.Leases, func(a, b planner.Lease) int { return strings.Compare(a.Slot, b.Slot) })
	st.Slot, st.Token, st.Revision = planner.SlotID{Service: doc.Service, Name: fmt.Sprint(slot)}, doc.Tokens, rev
	f.status[node].Instances = append(f.status[node].Instances, st)
}

// roll gives the first slots of a service what is wanted now, so many of which are
// available; of the next it is told.
func (f *simFleet) roll(name string, done int, next planner.InstanceStatus) {
	id := simID(name)
	doc, wanted := f.docs[id], f.desired.Services[id].Revision
	doc.History = append([]planner.Applied{{Revision: wanted, Commit: f.head}}, doc.History...)
	for slot := range done {
		k := slices.IndexFunc(doc.Leases, func(l planner.Lease) bool { return l.Slot == fmt.Sprint(slot) })
		old := doc.Leases[k]
		doc.Leases = slices.Delete(doc.Leases, k, k+1)
		st := f.status[old.Node]
		st.Instances = slices.DeleteFunc(st.Instances, func(i planner.InstanceStatus) bool {
			return i.Slot.Service == id && i.Slot.Name == old.Slot
		})
		f.lease(doc, slot, old.Node, wanted, planner.InstanceStatus{Phase: planner.PhaseReady, Available: true})
	}
	k := slices.IndexFunc(doc.Leases, func(l planner.Lease) bool { return l.Slot == fmt.Sprint(done) })
	f.lease(doc, done, doc.Leases[k].Node, wanted, next)
}

// block has what is wanted fail on a slot.
func (f *simFleet) block(name string, slot int, why string) {
	id := simID(name)
	doc, wanted := f.docs[id], f.desired.Services[id].Revision
	doc.History = append([]planner.Applied{{Revision: wanted, Commit: f.head}}, doc.History...)
	doc.Blocked = []planner.Revision{wanted}
	doc.BlockedWhy = fmt.Sprintf("%s-%d on %s: %s", name, slot, doc.Leases[slot].Node, why)
}

// record writes all of it.
func (f *simFleet) record() {
	for _, node := range f.nodes {
		r := f.w.record(node)
		f.w.node(r)
		st := f.status[node]
		slices.SortFunc(st.Instances, func(a, b planner.InstanceStatus) int { return a.Slot.Compare(b.Slot) })
		f.w.write(node, wroteAt, planner.StatusRef(node), "status", st.Body())
	}
	for node, why := range f.lost {
		f.w.fence(node, "node-003", "node-003", why)
	}
	for at, id := range slices.SortedFunc(maps.Keys(f.docs), planner.ServiceID.Compare) {
		doc := f.docs[id]
		first := *doc
		first.Blocked, first.BlockedWhy, first.History = nil, "", doc.History[len(doc.History)-1:]
		first.Leases = slices.DeleteFunc(slices.Clone(doc.Leases), func(l planner.Lease) bool { return l.Revision != doc.LastGood })
		f.w.write(doc.By, wroteAt+int64(at), planner.LeasesRef(id, 0), id.String()+" is placed", first.Body())
		if len(doc.History) > 1 {
			what := fmt.Sprintf("%s changes to %s: commit %s changed it (spec.image)", id, doc.History[0].Revision.Short(), planner.Commit{Hash: f.head}.Short())
			if len(doc.Blocked) > 0 {
				what = fmt.Sprintf("%s is blocked and reverted: %s", doc.Blocked[0].Short(), doc.BlockedWhy)
			}
			f.w.write(doc.By, wroteAt+300+int64(at), planner.LeasesRef(id, 0), what, doc.Body())
		}
	}
}

// place is where records in memory are said to be.
func (f *simFleet) recordPlace() recordPlace {
	return recordPlace{url: "https://git.example.com/team/fleet.git", prefix: "refs/orpheus/", specs: f.desired.Nodes, desired: f.desired}
}

// book reads the records as every verb does.
func (f *simFleet) book() *recordBook {
	f.t.Helper()
	b, err := readBook(memoryStore{f.w}, f.desired.Nodes)
	if err == nil {
		b.manifests = f.desired.Services
		err = b.readLeases()
	}
	if err != nil || len(b.bad) > 0 {
		f.t.Fatal(err, b.bad)
	}
	return b
}

// agentStatus is what the agent of a node would tell.
func (f *simFleet) agentStatus(node planner.NodeName) *api.Status {
	b := f.book()
	recorded := b.status(f.recordPlace(), planner.Time{Boot: 1, Wall: f.now})
	c := planner.Commit{Hash: f.head, Subject: "registry.example.com/web:2", Author: "Ada", Time: f.now.Add(-6 * time.Minute)}
	st := &api.Status{
		Node: node, Version: "1.2.3", StartedAt: f.now.Add(-72 * time.Hour),
		Repository: api.Repository{URL: "https://git.example.com/team/fleet.git", Branch: "main", Following: "branch main", Applied: c, Seen: c, LastRead: f.now},
		Fleet:      &api.Fleet{Registered: true, Records: "https://git.example.com/team/fleet.git", Requests: api.FleetRequest{Poll: 5 * time.Second, ReadsPerHour: 720, PushesPerHour: 12}},
	}
	for _, n := range b.nodes("").Nodes {
		st.Fleet.Nodes = append(st.Fleet.Nodes, api.FleetNode{Name: n.Name, State: n.State, Reason: n.Reason, Drain: n.Drain, Ready: n.Ready, Leases: n.Leases})
	}
	instances := 0
	for _, r := range recorded.Services {
		here := f.serviceOn(node, r)
		switch {
		case len(here.Instances) > 0:
			instances += len(here.Instances)
			st.Services = append(st.Services, here)
		case !r.Steady():
			st.Fleet.Rollouts = append(st.Fleet.Rollouts, r.Rollout)
		}
	}
	st.Drivers = []api.Driver{{Name: "containerd", Version: "2.2.1", Instances: instances}}
	return st
}

// serviceOn is what a node tells of a service.
func (f *simFleet) serviceOn(node planner.NodeName, r *recordedService) api.Service {
	s := f.desired.Services[r.id]
	out := api.Service{
		Namespace: r.id.Namespace, Name: r.id.Name, File: r.File, Driver: "containerd", Revision: s.Revision, Rollout: r.Rollout, Message: r.Summary(),
	}
	for k, l := range r.Slots {
		if l.Node != node {
			continue
		}
		i := api.Instance{Slot: l.Slot, ID: fmt.Sprintf("%s-%s-%d", r.id.Name, l.Slot, k), Phase: l.Phase, Reason: l.Reason, Token: uint64(k + 1), Revision: l.Revision, Restarts: l.Restarts, StartedAt: f.now.Add(-26 * time.Hour), Address: fmt.Sprintf("10.64.0.%d", k+2)}
		if l.Phase == planner.PhasePulling {
			i.StartedAt, i.Address = time.Time{}, ""
			out.Pulls = []api.Pull{{Image: s.Template.Containers[0].Image, Done: 13 << 20, Total: 80 << 20, From: "registry.example.com"}}
		}
		out.Instances = append(out.Instances, i)
		if l.Revision != s.Revision && out.Replicas > 0 && slices.ContainsFunc(out.Instances[:len(out.Instances)-1], func(o api.Instance) bool { return o.Slot == l.Slot }) {
			continue // it ends
		}
		if !slices.ContainsFunc(out.Instances[:len(out.Instances)-1], func(o api.Instance) bool { return o.Slot == l.Slot }) {
			out.Replicas++
		}
		if l.Phase == planner.PhaseReady {
			out.Ready++
		}
		if l.Revision == s.Revision || r.Failed() && l.Revision == r.Target {
			out.Updated++
		}
	}
	return out
}

// usage is what the agent of a node would measure, now and a second before.
func (f *simFleet) usage(node planner.NodeName) (before, now *api.Usage) {
	now = &api.Usage{Node: node, At: f.now, Cores: 4, Capacity: f.w.record(node).Capacity, MemoryUsed: 5 << 30, MemoryTotal: 16 << 30}
	for n, s := range f.agentStatus(node).Services {
		template := f.desired.Services[s.ID()].Template
		for _, i := range s.Instances {
			if i.Phase == planner.PhasePulling {
				continue
			}
			use := int64(n*n*37%400 + 3)
			now.Instances = append(now.Instances, api.InstanceUsage{
				Namespace: s.Namespace, Name: s.Name, Slot: i.Slot, ID: i.ID, Driver: s.Driver, Revision: i.Revision, StartedAt: i.StartedAt, Restarts: i.Restarts,
				CPU: time.Hour + time.Duration(use)*time.Millisecond, MemoryBytes: (use*3%250 + 1) << 20, PIDs: use%20 + 1, Asked: template.Asked(), Limits: template.Limits(),
			})
		}
	}
	then := *now
	then.At, then.Instances = f.now.Add(-time.Second), slices.Clone(now.Instances)
	for k := range then.Instances {
		then.Instances[k].CPU = time.Hour
	}
	return &then, now
}

// events are what happened on a node lately.
func (f *simFleet) events(node planner.NodeName) []event.Event {
	var out []event.Event
	add := func(ago time.Duration, level, service, slot, what, reason string) {
		out = append(out, event.Event{Seq: uint64(len(out) + 1), At: f.now.Add(-ago), Level: level, Service: service, Slot: slot, What: what, Reason: reason})
	}
	add(6*time.Minute, "info", "", "", "commit taken", "4f2a4f2a registry.example.com/web:2, by Ada")
	for _, s := range f.agentStatus(node).Services {
		for _, i := range s.Instances {
			slot := planner.SlotID{Service: s.ID(), Name: i.Slot}.String()
			switch {
			case phaseColour(i.Phase) == red:
				add(time.Minute, "warn", s.ID().String(), slot, "restart", i.Reason)
			case i.Revision == s.Revision && s.Rollout.State != planner.RolloutDone:
				add(2*time.Minute, "info", s.ID().String(), slot, "start", "commit 4f2a4f2a changed revision "+f.before[s.ID()].Revision.Short()+" to "+s.Revision.Short()+" (spec.image)")
			}
		}
		if s.Rollout.Failed() {
			add(30*time.Second, "warn", s.ID().String(), "", "rollout blocked", s.Rollout.Failure)
		}
	}
	return out
}
