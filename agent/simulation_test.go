package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

var (
	simSeeds = flag.Int("sim.seeds", 30, "how many seeds the simulation runs")
	simSeed  = flag.Uint64("sim.seed", 1, "the first seed")
)

// TestSimulation lets commits, crashes and faults befall a node, checks the
// rules after each, and that the node converges when all is healed. What
// happens, and when, follows from the seed alone; goroutines that are ready at
// the same instant of fake time may still take turns in another order.
func TestSimulation(t *testing.T) {
	total := map[string]int{}
	for seed := *simSeed; seed < *simSeed+uint64(*simSeeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dirs := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, seed, dirs)
				defer s.crash()
				s.run(70)
				for what, n := range s.counts {
					total[what] += n
				}
			})
			if t.Failed() {
				t.Logf("again: go test ./agent -run TestSimulation -sim.seed=%d -sim.seeds=1", seed)
			}
		})
	}
	for _, f := range faults {
		t.Logf("%6d × %s", total[f.name], f.name)
		if total[f.name] == 0 && *simSeeds >= 12 {
			t.Errorf("no seed has %q", f.name)
		}
	}
}

// simulation is a world with two drivers, a random source, and a witness that
// reads the histories of the drivers.
type simulation struct {
	*world
	rng     *rand.Rand
	dirs    string
	procs   *runtimetest.Fake                     // the process driver
	wanted  map[planner.ServiceID]planner.Service // of the newest commit
	commits []simCommit
	heals   []heal
	counts  map[string]int
	net     atomic.Bool // the network fails
	vol     atomic.Bool // mounts fail
	hang    atomic.Bool // containerd's listings hang
	gitDown time.Time   // zero = it is up
	witness *witness
	trace   trace

	mu   sync.Mutex
	slow map[string]runtimetest.Behaviour // by service: what its containers do
}

// heal ends a fault at its time.
type heal struct {
	at   time.Time
	what string
	do   func()
}

func newSimulation(t *testing.T, seed uint64, dirs string) *simulation {
	w := &world{
		t: t, name: "n1", repo: newFakeSource(), driver: runtimetest.NewFake(planner.DriverContainerd),
		network: runtimetest.NewFakeNetwork(), volumes: runtimetest.NewFakeVolumes(), booted: time.Now().Add(-time.Hour),
		policy: planner.Policy{Drivers: []string{planner.DriverContainerd, planner.DriverProcess}},
	}
	s := &simulation{
		world: w, rng: rand.New(rand.NewPCG(seed, 0)), dirs: dirs, procs: runtimetest.NewFake(planner.DriverProcess),
		wanted: map[planner.ServiceID]planner.Service{}, counts: map[string]int{}, slow: map[string]runtimetest.Behaviour{},
	}
	w.log = newTail(&s.trace)
	s.witness = newWitness(s)
	w.more = map[string]runtime.Driver{planner.DriverProcess: s.procs}
	s.procs.SetInfo(func(i *runtime.Info) {
		i.Capabilities = runtime.Capabilities{Init: true, LimitsMemory: true}
	})
	s.driver.SetPullTime(3 * time.Second)
	s.driver.Before(s.beforeContainerd)
	s.driver.Behave(s.behave)
	s.procs.Before(func(ctx context.Context, _ runtimetest.Call) error { return alive(ctx) })
	s.procs.Behave(s.behave)
	s.network.Before(func(ctx context.Context, _ runtimetest.Call) error { return s.fault(ctx, s.net.Load(), "network") })
	s.volumes.Before(func(ctx context.Context, c runtimetest.Call) error {
		return s.fault(ctx, s.vol.Load() && c.Verb != "Sweep", "volumes")
	})
	s.state, s.floor.Copy = s.freshDir(), filepath.Join(dirs, "floor.json")
	return s
}

func (s *simulation) freshDir() string {
	dir, err := os.MkdirTemp(s.dirs, "state")
	if err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *simulation) fault(ctx context.Context, on bool, what string) error {
	if err := alive(ctx); err != nil {
		return err
	}
	if on {
		return errors.New(what + " broken by the test")
	}
	return nil
}

func (s *simulation) beforeContainerd(ctx context.Context, c runtimetest.Call) error {
	if c.Verb == "List" && s.hang.Load() {
		<-ctx.Done()
		return fmt.Errorf("list: %w", ctx.Err())
	}
	return alive(ctx)
}

func (s *simulation) behave(w runtime.Workload, c runtime.Container) runtimetest.Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.slow[w.Slot.Service.Name]; ok {
		return b
	}
	return behaviourOf(c)
}

// run lets n things happen, heals all, and checks that the node comes to rest.
func (s *simulation) run(n int) {
	for k := range 5 {
		s.edit(k)
	}
	s.commitWanted()
	s.start()
	for range n {
		s.pass(s.pauseLength())
		f := faults[s.rng.IntN(len(faults))]
		if f.do(s) {
			s.note(f.name)
			s.counts[f.name]++
		}
	}
	s.finish()
}

// pauseLength is a moment, a second or a minute: faults meet work under way as
// well as a node at rest.
func (s *simulation) pauseLength() time.Duration {
	limits := []time.Duration{50 * time.Millisecond, 2 * time.Second, 5 * time.Second, time.Minute}
	return time.Duration(s.rng.Int64N(int64(limits[s.rng.IntN(len(limits))])))
}

// pass lets time go by and ends the faults whose time has come.
func (s *simulation) pass(d time.Duration) {
	end := time.Now().Add(d)
	for {
		slices.SortStableFunc(s.heals, func(a, b heal) int { return a.at.Compare(b.at) })
		if len(s.heals) == 0 || s.heals[0].at.After(end) {
			break
		}
		h := s.heals[0]
		s.heals = s.heals[1:]
		time.Sleep(time.Until(h.at))
		s.witness.look()
		synctest.Wait()
		h.do()
		s.note("end of " + h.what)
	}
	time.Sleep(time.Until(end))
	synctest.Wait()
	s.witness.look()
}

// until ends a fault after a random time of at most d.
func (s *simulation) until(what string, d time.Duration, do func()) bool {
	for _, h := range s.heals {
		if h.what == what {
			return false
		}
	}
	s.heals = append(s.heals, heal{time.Now().Add(time.Duration(s.rng.Int64N(int64(d)))), what, do})
	return true
}

func (s *simulation) note(what string) {
	s.trace.add("── " + what)
}

func (s *simulation) violated(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf(format, args...)
	s.t.Logf("applied %s; the last of the trace:\n%s\n%s", s.agent.Status().Repository.Applied.Short(),
		s.trace.last(60), describe(s.agent))
	s.t.FailNow()
}

// finish heals everything, approves what waits, and checks the end state.
func (s *simulation) finish() {
	for _, h := range s.heals {
		h.do()
	}
	s.heals = nil
	s.behaveWell()
	s.mended()
	s.note("everything is healed")
	s.commitWanted()
	s.pass(12 * time.Minute)
	s.approveAll()
	s.pass(12 * time.Minute)
	s.wantRest()
	calls := s.calls()
	s.pass(20 * time.Minute)
	if now := s.calls(); now != calls {
		s.violated("%d actions although everything is as wanted", now-calls)
	}
	s.wantRest()
	s.wantReverted()
}

// wantRest compares what is there with what the newest commit asks for.
func (s *simulation) wantRest() {
	var want, have, ids, attached []string
	ports := map[int]int{}
	docs, specs := s.decided()
	for id, svc := range s.wanted {
		revision := svc.Revision
		if doc := docs[id]; slices.Contains(doc.Blocked, revision) && specs[doc.LastGood].Containers != nil {
			revision = doc.LastGood // it failed as often as it may while something had it crash
		}
		for n := range svc.Replicas {
			want = append(want, fmt.Sprintf("%s-%d %s running", id, n, revision.Short()))
		}
		for _, p := range svc.Ports {
			ports[p.Publish.Port] = svc.Replicas
		}
	}
	for _, i := range append(s.driver.Listing(), s.procs.Listing()...) {
		have = append(have, fmt.Sprintf("%s %s %s", i.Slot, i.Revision.Short(), i.State))
		ids = append(ids, i.ID)
		if i.Driver == planner.DriverContainerd {
			attached = append(attached, i.ID)
		}
	}
	equal := func(what string, got, want []string) {
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			s.violated("%s at the end: %q, want %q", what, got, want)
		}
	}
	equal("instances", have, want)
	equal("attachments", slices.Collect(maps.Keys(s.network.Attached())), attached)
	equal("mounts", slices.Collect(maps.Keys(s.volumes.Mounted())), ids)
	open := map[int]int{}
	for _, p := range s.network.Published() {
		open[p.Port] = len(p.Targets)
	}
	if !maps.Equal(open, ports) {
		s.violated("published at the end (port → targets): %v, want %v", open, ports)
	}
	for _, p := range s.agent.Status().Problems {
		if strings.HasPrefix(p, "earlier state: ") {
			continue // a garbled file was set aside: told for as long as the agent runs
		}
		s.violated("problem at the end: %s", p)
	}
}

// decided are the leases of the node as they stand, and the templates it knows.
func (s *simulation) decided() (docs map[planner.ServiceID]planner.LeaseDoc, specs map[planner.Revision]planner.Template) {
	if err := s.agent.onLoop(context.Background(), func() error {
		docs, specs = maps.Clone(s.agent.state.docs), maps.Clone(s.agent.state.specs)
		return nil
	}); err != nil {
		s.violated("the loop does not answer: %v", err)
	}
	return docs, specs
}

// simCommit is what the witness must know of a commit.
type simCommit struct {
	hash     string
	services map[planner.ServiceID]planner.Service
	kept     bool // what it lacks stays as it was: refused, or a file with faults
	approves bool
}

func (s *simulation) commitWanted() { s.commitAs(simCommit{}, nil) }

func (s *simulation) approveAll() {
	var all []string
	for _, c := range s.commits {
		all = append(all, c.hash)
	}
	s.commitAs(simCommit{approves: true}, all)
}

func (s *simulation) commitAs(c simCommit, approved []string, faults ...planner.Fault) {
	c.services = maps.Clone(s.wanted)
	for _, f := range faults {
		maps.DeleteFunc(c.services, func(_ planner.ServiceID, svc planner.Service) bool { return svc.File == f.File })
	}
	s.witness.committed(c)
	s.commits[len(s.commits)-1].hash = s.repo.commit(planner.Desired{Services: maps.Clone(c.services), Faults: faults}, approved...).Hash
}

// simServices are the services there may be: two with a volume, two of the
// process driver, three plain ones.
var simServices = []string{"web", "db", "tool", "api", "dbx", "tooly", "shop"}

// edit changes, adds or scales service k in the wanted state.
func (s *simulation) edit(k int) {
	name := simServices[k%len(simServices)]
	image := []string{"a", "b", "c"}[s.rng.IntN(3)]
	edits := []func(*planner.Service){replicas(1 + s.rng.IntN(3))}
	switch {
	case strings.HasPrefix(name, "db"):
		edits = append(edits, withVolume)
	case strings.HasPrefix(name, "tool"):
		edits = append(edits, func(svc *planner.Service) {
			svc.Template.Driver = planner.DriverProcess
			svc.Template.Containers[0].Image = ""
			svc.Template.Containers[0].Command = []string{image}
		})
	default:
		edits = append(edits, published(8000+k))
	}
	if s.rng.IntN(3) == 0 {
		edits = append(edits, func(svc *planner.Service) { *svc = s.strategy(*svc) })
	}
	svc := service(name, image, edits...)
	s.wanted[svc.ID] = svc
}
