package agent

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/notify"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// world is a node in a bubble of fake time: a repository one commits to, a
// fake backend that outlives agents, and agents that come and go.
type world struct {
	t        *testing.T
	name     planner.NodeName
	state    string
	repo     *fakeSource
	driver   *runtimetest.Fake
	network  *runtimetest.FakeNetwork
	volumes  *runtimetest.FakeVolumes
	agent    *Agent
	kill     context.CancelFunc
	ended    chan error
	booted   time.Time
	services map[planner.ServiceID]planner.Service
	policy   planner.Policy
	pressure *Pressure
	floor    FloorConfig
	more     map[string]runtime.Driver // beside driver
	log      slog.Handler
	names    Names
	notify   func(notify.Facts)
	// noNetwork: instances cannot have a network of their own.
	noNetwork bool
	process   *process
}

// process is the life of one agent. The fakes see in a call's context whose it
// is, so that a test can make the calls of a killed one come to nothing.
type process struct{ dead atomic.Bool }

type processKey struct{}

// alive is a hook for fakes: a killed process does nothing any more, not even
// tidy up.
func alive(ctx context.Context) error {
	if p, ok := ctx.Value(processKey{}).(*process); ok && p.dead.Load() {
		return errors.New("the process is dead")
	}
	return nil
}

// inWorld runs f in a bubble with one agent running.
func inWorld(t *testing.T, f func(w *world)) {
	state := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, state: state, repo: newFakeSource(), driver: runtimetest.NewFake(planner.DriverContainerd),
			network: runtimetest.NewFakeNetwork(), volumes: runtimetest.NewFakeVolumes(),
			booted: time.Now().Add(-time.Hour), services: map[planner.ServiceID]planner.Service{},
			log: slog.DiscardHandler, name: "n1",
		}
		for _, image := range []string{"a", "b", "c"} {
			w.driver.PushImage("registry.example.com/" + image)
		}
		w.start()
		f(w)
		w.crash()
	})
}

// start begins a new agent process on the node.
func (w *world) start() {
	w.t.Helper()
	drivers := map[string]runtime.Driver{planner.DriverContainerd: w.driver}
	maps.Copy(drivers, w.more)
	cfg := Config{
		Node: planner.Node{Name: w.name}, Version: "test", StateDir: w.state, Source: w.repo,
		Drivers: drivers,
		Network: w.network, Balancer: w.network, HostPorts: w.network, Names: w.names, Volumes: w.volumes, Policy: w.policy, Log: slog.New(w.log), Pressure: w.pressure,
		Relate: w.repo.relate, Floor: w.floor, Notify: w.notify,
		Clock: func() planner.Time { return planner.Time{Boot: time.Since(w.booted), Wall: time.Now()} },
	}
	if w.noNetwork {
		cfg.Network, cfg.HostPorts, cfg.Balancer = nil, nil, listener{w.network}
	}
	a, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.process = &process{}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), processKey{}, w.process))
	w.agent, w.kill, w.ended = a, cancel, make(chan error, 1)
	ended := w.ended
	go func() { ended <- a.Run(ctx); close(ended) }()
}

// crash ends the agent's process wherever it is.
func (w *world) crash() {
	w.kill()
	<-w.ended
}

// killHard ends it like kill -9: starts under way leave their parts behind.
// The hooks of the fakes must ask alive.
func (w *world) killHard() {
	w.process.dead.Store(true)
	w.driver.LeavePartial(true)
	defer w.driver.LeavePartial(false)
	w.crash()
}

// service is what the status says of one.
func (w *world) service(name string) api.Service {
	w.t.Helper()
	for _, s := range w.agent.Status().Services {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("no service %s in the status:\n%s", name, describe(w.agent))
	return api.Service{}
}

// settle lets everything happen that does not need more than d of time.
func (w *world) settle(d time.Duration) {
	time.Sleep(d) // fake time: returns when nothing else can run before
	synctest.Wait()
}

// service makes a manifest; edit changes what a row is about.
func service(name, image string, edit ...func(*planner.Service)) planner.Service {
	s := planner.Service{
		ID: planner.ServiceID{Namespace: "default", Name: name}, File: name + ".yaml", Replicas: 1,
		Template: planner.Template{Containers: []planner.Container{{Name: "main", Image: "registry.example.com/" + image}}},
	}
	for _, e := range edit {
		e(&s)
	}
	s.Revision = planner.RevisionOf(s.Template)
	return s
}

func withVolume(s *planner.Service) {
	s.Template.Volumes = []planner.Volume{{Name: "data", Local: &planner.LocalVolume{}}}
	s.Template.Containers[0].VolumeMounts = []planner.VolumeMount{{Name: "data", MountPath: "/data"}}
}

func replicas(n int) func(*planner.Service) { return func(s *planner.Service) { s.Replicas = n } }

func published(port int) func(*planner.Service) {
	return func(s *planner.Service) {
		s.Ports = []planner.Port{{Container: 8080, Protocol: "tcp", Publish: &planner.Publish{Port: port}}}
	}
}

// commit makes a commit with these services and no others.
func (w *world) commit(services ...planner.Service) planner.Commit {
	return w.repo.commit(planner.Desired{Services: byID(services)})
}

func byID(services []planner.Service) map[planner.ServiceID]planner.Service {
	m := map[planner.ServiceID]planner.Service{}
	for _, s := range services {
		m[s.ID] = s
	}
	return m
}

// running lists what runs as "slot image", sorted.
func (w *world) running() []string {
	var out []string
	for _, i := range w.driver.Listing() {
		if i.State == planner.StateRunning {
			out = append(out, i.Slot.String()+" "+strings.TrimPrefix(i.Containers[0].Image, "registry.example.com/"))
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) wantRunning(want ...string) {
	w.t.Helper()
	if got := w.running(); !slices.Equal(got, want) {
		w.t.Errorf("running %q, want %q; status:\n%s", got, want, describe(w.agent))
	}
}

// ids lists the ids of all instances.
func (w *world) ids() []string {
	var out []string
	for _, i := range w.driver.Listing() {
		out = append(out, i.ID)
	}
	slices.Sort(out)
	return out
}

func describe(a *Agent) string {
	var b strings.Builder
	st := a.Status()
	fmt.Fprintf(&b, "applied %s seen %s refused %q error %q problems %q\n", st.Repository.Applied.Short(), st.Repository.Seen.Short(), st.Repository.Refused, st.Repository.Error, st.Problems)
	for _, s := range st.Services {
		fmt.Fprintf(&b, "%s %d/%d updated %d: %s\n", s.Name, s.Ready, s.Replicas, s.Updated, s.Message)
		for _, i := range s.Instances {
			fmt.Fprintf(&b, "  %s %s %s %s\n", i.Slot, i.ID, i.Phase, i.Reason)
		}
	}
	return b.String()
}

// fakeSource is a repository in memory.
type fakeSource struct {
	mu      sync.Mutex
	commits map[string]Loaded
	refused map[string]*Refusal
	parents map[string]string
	from    Description
	tip     planner.Commit
	err     error
	since   time.Time
	changed chan struct{}
	count   int
	unread  error // why commits cannot be compared; nil = they can
	unloads error // why commits cannot be loaded; nil = they can
}

func newFakeSource() *fakeSource {
	return &fakeSource{commits: map[string]Loaded{}, refused: map[string]*Refusal{}, parents: map[string]string{},
		from: Description{URL: "memory", Branch: "main", Following: "branch main"}, changed: make(chan struct{})}
}

func (f *fakeSource) commit(d planner.Desired, approved ...string) planner.Commit {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	sum := sha1.Sum(fmt.Append(nil, f.count))
	d.Commit = planner.Commit{Hash: hex.EncodeToString(sum[:]), Subject: fmt.Sprintf("commit %d", f.count)}
	f.commits[d.Commit.Hash] = Loaded{Desired: d, Approved: approved}
	f.parents[d.Commit.Hash] = f.tip.Hash
	f.tip = d.Commit
	f.notify()
	return d.Commit
}

// refuse makes a commit that is not accepted as a whole.
func (f *fakeSource) refuse(reason string) planner.Commit {
	c := f.commit(planner.Desired{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused[c.Hash] = &Refusal{Faults: []planner.Fault{{File: "fleet.yaml", Reason: reason}}}
	return c
}

// fail makes the repository unreachable; nil heals it.
func (f *fakeSource) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.since = err, time.Now()
	f.notify()
}

// failLoads has no commit be loaded; nil heals it.
func (f *fakeSource) failLoads(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unloads = err
}

func (f *fakeSource) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeSource) Follow(ctx context.Context, _ func() time.Duration) <-chan Look {
	out := make(chan Look)
	go func() {
		defer close(out)
		for {
			f.mu.Lock()
			look, changed := Look{Commit: f.tip}, f.changed
			if f.err != nil {
				look = Look{Commit: planner.Commit{}, Err: f.err, Since: f.since}
			}
			f.mu.Unlock()
			select {
			case out <- look:
			case <-ctx.Done():
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (f *fakeSource) Load(_ context.Context, c planner.Commit, _ string) (Loaded, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unloads != nil {
		return Loaded{}, f.unloads
	}
	if r := f.refused[c.Hash]; r != nil {
		return Loaded{}, r
	}
	l := f.commits[c.Hash]
	l.Desired.Services = maps.Clone(l.Desired.Services)
	return l, nil
}

func (f *fakeSource) Describe() Description {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.from
}

// setBack makes an older commit the tip: the next one branches off there.
func (f *fakeSource) setBack(to planner.Commit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tip = to
	f.notify()
}

// relate knows every commit that was ever made.
func (f *fakeSource) relate(commit, other string) (planner.Relation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unread != nil && commit != other {
		return planner.RelationUnknown, f.unread
	}
	leads := func(from, to string) bool {
		for ; from != ""; from = f.parents[from] {
			if from == to {
				return true
			}
		}
		return false
	}
	switch {
	case commit == other:
		return planner.RelationSame, nil
	case f.commits[commit].Desired.Commit.Hash == "" || f.commits[other].Desired.Commit.Hash == "":
		return planner.RelationUnknown, nil
	case leads(other, commit):
		return planner.RelationAncestor, nil
	case leads(commit, other):
		return planner.RelationAhead, nil
	}
	return planner.RelationAside, nil
}
