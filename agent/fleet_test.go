package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/agent/notify"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// Whole agents, several of them, on records in memory and fake time: what the
// agent makes of a Member. The rules themselves are proved in agent/fleet.

// band is a fleet in a bubble of fake time.
type band struct {
	t       *testing.T
	records *gitsynctest.Memory
	nodes   []*player
	booted  time.Time
	mu      sync.Mutex // held while a commit is made on all nodes
	fleet   planner.Fleet
	specs   map[planner.NodeName]planner.NodeSpec
	notify  func(notify.Facts) // of agents that start from now on
}

// player is one node of the band.
type player struct {
	band    *band
	name    planner.NodeName
	state   string
	boot    int
	repo    *fakeSource
	driver  *runtimetest.Fake
	network *runtimetest.FakeNetwork
	gauges  *gauges // nil = the node is never short of anything
	noGit   atomic.Bool
	loses   atomic.Bool // every push comes too late
	noPeers atomic.Bool
	deaf    atomic.Bool // it acknowledges no announcement
	mute    atomic.Bool // nothing at its address answers
	agent   *Agent
	kill    context.CancelFunc
	ended   chan error
	up      atomic.Bool               // its agent runs
	peers   atomic.Pointer[fakePeers] // of that agent
}

// play runs f in a bubble with n agents running.
func play(t *testing.T, n int, f func(b *band)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &band{t: t, records: gitsynctest.NewMemory(), booted: time.Now().Add(-time.Hour), specs: map[planner.NodeName]planner.NodeSpec{}}
		for i := range n {
			p := &player{
				band: b, name: planner.NodeName(fmt.Sprintf("n%d", i+1)), state: filepath.Join(dir, fmt.Sprint(i)),
				repo: newFakeSource(), driver: runtimetest.NewFake(planner.DriverContainerd),
				network: runtimetest.NewFakeNetwork(),
			}
			for _, image := range []string{"a", "b", "c"} {
				p.driver.PushImage("registry.example.com/" + image)
			}
			b.nodes = append(b.nodes, p)
		}
		for _, p := range b.nodes {
			p.start()
		}
		f(b)
		for _, p := range b.nodes {
			p.crash()
		}
	})
}

func (p *player) start() {
	p.band.t.Helper()
	peers := newFakePeers(p)
	p.peers.Store(peers)
	key := "ssh-ed25519 " + string(p.name)
	a, err := New(Config{
		Node: planner.Node{Name: p.name}, Version: "test", StateDir: p.state, Source: p.repo,
		Drivers: map[string]runtime.Driver{planner.DriverContainerd: p.driver},
		Network: p.network, Balancer: p.network, HostPorts: p.network, Dial: p.band.dial, Volumes: runtimetest.NewFakeVolumes(), Log: slog.New(slog.DiscardHandler),
		Clock:  func() planner.Time { return planner.Time{Boot: time.Since(p.band.booted), Wall: time.Now()} },
		Relate: p.band.relate, Pressure: p.gauges.pressure(), Notify: p.band.notify,
		Fleet: &Fleet{
			Member: fleet.Config{
				Self: planner.NodeRecord{
					Node: p.name, Key: key, Address: p.address(),
					Life: planner.Life{Machine: "m", State: string(p.name), Boot: fmt.Sprint(p.boot)},
				},
				Sign: func(ref planner.Ref, body string) (string, error) { return testSignature(key, ref, body), nil },
				Verify: func(ref planner.Ref, body, signature string) (string, error) {
					for _, n := range p.band.nodes {
						if key := "ssh-ed25519 " + string(n.name); testSignature(key, ref, body) == signature {
							return key, nil
						}
					}
					return "", errors.New("nobody's")
				},
			},
			Open: func(*planner.RecordsPlace) (Board, error) {
				return &fakeBoard{MemoryBoard: p.band.records.Board(), player: p}, nil
			},
			Peers:  peers,
			Hint:   func() {},
			Random: rand.New(rand.NewPCG(uint64(len(p.name)), uint64(p.name[1]))).Uint64,
		},
	})
	if err != nil {
		p.band.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.agent, p.kill, p.ended = a, cancel, make(chan error, 1)
	ended := p.ended
	go func() { ended <- a.Run(ctx); close(ended) }()
	p.up.Store(true)
}

// address is where its peers reach the node: 192.0.2.1:7718 of n1.
func (p *player) address() string { return "192.0.2." + string(p.name[1:]) + ":7718" }

func (p *player) crash() {
	if p.kill == nil {
		return
	}
	p.up.Store(false)
	p.kill()
	<-p.ended
	p.kill = nil
}

// die takes the node away with everything on it.
func (p *player) die() {
	p.crash()
	for _, i := range p.driver.Listing() {
		p.driver.Exit(i.ID, planner.Exit{Code: 137})
		_ = p.driver.Remove(context.Background(), i.ID)
	}
}

func (p *player) running() int {
	n := 0
	for _, i := range p.driver.Listing() {
		if i.State == planner.StateRunning {
			n++
		}
	}
	return n
}

// testSignature stands for a signature; it has an armour's form.
func testSignature(key string, ref planner.Ref, body string) string {
	sum := sha256.Sum256([]byte(key + "\x00" + string(planner.SignedText(ref, body))))
	return "-----BEGIN SSH SIGNATURE-----\n" + hex.EncodeToString(sum[:]) + "\n-----END SSH SIGNATURE-----"
}

// relate knows the history that all have seen.
func (b *band) relate(commit, other string) (planner.Relation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nodes[0].repo.relate(commit, other)
}

func (b *band) commit(services ...planner.Service) {
	b.mu.Lock() // nobody asks about a commit before it is known
	defer b.mu.Unlock()
	for _, p := range b.nodes {
		p.repo.commit(planner.Desired{Services: byID(services), Fleet: b.fleet, Nodes: maps.Clone(b.specs)})
	}
}

func (b *band) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// running lists what runs as "slot image node", sorted.
func (b *band) running() []string {
	var out []string
	for _, p := range b.nodes {
		for _, i := range p.driver.Listing() {
			if i.State == planner.StateRunning {
				out = append(out, i.Slot.String()+" "+strings.TrimPrefix(i.Containers[0].Image, "registry.example.com/")+" "+string(p.name))
			}
		}
	}
	slices.Sort(out)
	return out
}

// slots lists what runs as "slot image", sorted: twice if it runs twice.
func (b *band) slots() []string {
	var out []string
	for _, r := range b.running() {
		out = append(out, r[:strings.LastIndexByte(r, ' ')])
	}
	return out
}

func (b *band) wantSlots(want ...string) {
	b.t.Helper()
	if got := b.slots(); !slices.Equal(got, want) {
		b.t.Errorf("running %q, want the slots %q; node 1 says:\n%s", b.running(), want, describe(b.nodes[0].agent))
	}
}

func (b *band) started() int {
	n := 0
	for _, p := range b.nodes {
		for _, e := range p.driver.History() {
			if e.Instance.State == planner.StateRunning && !e.Removed {
				n++
			}
		}
	}
	return n
}

// fakeBoard is a node's way to the records, which can be cut.
type fakeBoard struct {
	*gitsynctest.MemoryBoard
	player *player
}

var errCut = errors.New("no route to the Git server")

func (f *fakeBoard) List(ctx context.Context) (gitsync.Listing, error) {
	if f.player.noGit.Load() {
		return gitsync.Listing{}, errCut
	}
	return f.MemoryBoard.List(ctx)
}

func (f *fakeBoard) Read(ctx context.Context, want map[planner.Ref]planner.Hash) (gitsync.Reading, error) {
	if f.player.noGit.Load() {
		return gitsync.Reading{}, errCut
	}
	return f.MemoryBoard.Read(ctx, want)
}

func (f *fakeBoard) Swap(ctx context.Context, push gitsync.Push) ([]gitsync.Result, error) {
	if f.player.noGit.Load() || f.player.loses.Load() {
		results := make([]gitsync.Result, len(push.Changes))
		for i := range results {
			results[i].Outcome = gitsync.Lost
		}
		if !f.player.noGit.Load() {
			return results, nil
		}
		return results, errCut
	}
	return f.MemoryBoard.Swap(ctx, push)
}

func (f *fakeBoard) Probe(ctx context.Context, scratch string) (gitsync.Abilities, error) {
	if f.player.noGit.Load() {
		return gitsync.Abilities{}, errCut
	}
	return f.MemoryBoard.Probe(ctx, scratch)
}

func (f *fakeBoard) URL() string  { return "memory" }
func (f *fakeBoard) Close() error { return nil }

// fakePeers probes by looking whether the other agent runs.
type fakePeers struct {
	player *player
	mu     sync.Mutex
	watch  []fleet.Peer
	said   []planner.NodeName
	blind  bool
	seen   chan fleet.Sighting
	pokes  chan planner.NodeName
	probed chan planner.NodeName
	news   *tidings
	// heardOf are the nodes this process has heard an announcement of.
	heardOf map[planner.NodeName]bool
}

func newFakePeers(p *player) *fakePeers {
	return &fakePeers{player: p, news: newTidings(), heardOf: map[planner.NodeName]bool{}, seen: make(chan fleet.Sighting), pokes: make(chan planner.NodeName, 1), probed: make(chan planner.NodeName, 1)}
}

func (f *fakePeers) Watch(peers []fleet.Peer, _ map[string]planner.NodeName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = slices.Clone(peers)
}

func (f *fakePeers) Say(suspects []planner.NodeName, blind bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said, f.blind = slices.Clone(suspects), blind
}

func (f *fakePeers) Poke(nodes []fleet.Peer) {
	for _, n := range nodes {
		if other := f.player.band.player(n.Node); f.reaches(other) {
			select {
			case other.peers.Load().pokes <- f.player.name:
			default:
			}
		}
	}
}

func (f *fakePeers) Sightings() <-chan fleet.Sighting { return f.seen }
func (f *fakePeers) Pokes() <-chan planner.NodeName   { return f.pokes }
func (f *fakePeers) Probed() <-chan planner.NodeName  { return f.probed }

func (f *fakePeers) Problem() string { return "" }

func (b *band) player(name planner.NodeName) *player {
	for _, p := range b.nodes {
		if p.name == name {
			return p
		}
	}
	return nil
}

func (f *fakePeers) reaches(other *player) bool {
	return other != nil && other.up.Load() && !other.noPeers.Load() && !f.player.noPeers.Load()
}

// Run probes once a second and tells every change.
func (f *fakePeers) Run(ctx context.Context) error {
	misses := map[planner.NodeName]int{}
	last := map[planner.NodeName]string{}
	for {
		f.spread()
		f.mu.Lock()
		watch := f.watch
		f.mu.Unlock()
		for _, w := range watch {
			other := f.player.band.player(w.Node)
			s := fleet.Sighting{Node: w.Node, State: planner.ProbeUp}
			if f.reaches(other) {
				misses[w.Node] = 0
				theirs := other.peers.Load()
				theirs.mu.Lock()
				s.Suspects, s.Blind = slices.Clone(theirs.said), theirs.blind
				theirs.mu.Unlock()
				select {
				case theirs.probed <- f.player.name:
				default:
				}
			} else if misses[w.Node]++; misses[w.Node] >= 3 {
				s.State = planner.ProbeDown
			} else {
				continue
			}
			if text := fmt.Sprint(s); text != last[w.Node] {
				last[w.Node] = text
				select {
				case f.seen <- s:
				case <-ctx.Done():
					return nil
				}
			}
		}
		if !pause(ctx, time.Second) {
			return nil
		}
	}
}

// TestFleetSpreads: six replicas on three nodes, two on each.
func TestFleetSpreads(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(6)))
		b.settle(20 * time.Second)
		b.wantSlots("web-0 a", "web-1 a", "web-2 a", "web-3 a", "web-4 a", "web-5 a")
		for _, p := range b.nodes {
			if n := p.running(); n != 2 {
				t.Errorf("%s runs %d slots, want 2", p.name, n)
			}
		}
		starts, pushes := b.started(), b.records.Counts().Pushes
		b.settle(10 * time.Minute)
		if b.started() != starts {
			t.Error("something was started again in a fleet at rest")
		}
		if quiet := b.records.Counts().Pushes - pushes; quiet > 1 {
			t.Errorf("%d pushes in ten minutes of a fleet at rest, want at most the floor's", quiet)
		}
	})
}

// TestFleetTellsOfServicesElsewhere: a node on which nothing of a service runs
// tells how it stands all the same, also where nothing of it changes.
func TestFleetTellsOfServicesElsewhere(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a"))
		b.settle(20 * time.Second)
		for _, p := range b.nodes {
			r, err := p.agent.Rollout(context.Background(), planner.ParseServiceID("web"))
			if err != nil || r == nil || !r.Steady() || len(r.Slots) != 1 || r.Available != 1 {
				t.Errorf("%s tells %+v, %v", p.name, r, err)
			}
			if r, err := p.agent.Rollout(context.Background(), planner.ParseServiceID("other")); r != nil || err != nil {
				t.Errorf("%s tells %+v, %v of a service that is nowhere", p.name, r, err)
			}
		}
	})
}

// TestFleetNodeLost: its slots run elsewhere, and when it returns nothing runs
// twice.
func TestFleetNodeLost(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(6)))
		b.settle(20 * time.Second)
		lost := b.nodes[1]
		lost.die()
		b.settle(15 * time.Second)
		b.wantSlots("web-0 a", "web-1 a", "web-2 a", "web-3 a", "web-4 a", "web-5 a")
		lost.boot++
		lost.start()
		b.settle(30 * time.Second)
		b.wantSlots("web-0 a", "web-1 a", "web-2 a", "web-3 a", "web-4 a", "web-5 a")
	})
}

// TestFleetGitDown: nothing moves, everything heals, agents restart into the
// same state, and a commit that waited rolls out when Git is back.
func TestFleetGitDown(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(3)))
		b.settle(20 * time.Second)
		before := b.running()
		for _, p := range b.nodes {
			p.noGit.Store(true)
			p.repo.fail(errCut)
		}
		starts := b.started()
		b.settle(5 * time.Minute)
		for _, p := range b.nodes {
			p.crash()
			p.start()
		}
		b.settle(5 * time.Minute)
		if b.started() != starts {
			t.Error("something was started although nothing had ended")
		}
		crashed := b.nodes[0].driver.Listing()[0]
		b.nodes[0].driver.Exit(crashed.ID, planner.Exit{Code: 1})
		b.settle(10 * time.Second)
		if got := b.running(); !slices.Equal(got, before) {
			t.Errorf("running %q without Git, want %q", got, before)
		}
		for _, p := range b.nodes {
			p.noGit.Store(false)
			p.repo.fail(nil)
		}
		b.commit(service("web", "b", replicas(3)))
		b.settle(2 * time.Minute)
		b.wantSlots("web-0 b", "web-1 b", "web-2 b")
	})
}

// TestAttack37FleetCut: whom only Git or only the peers miss runs on where it is.
func TestAttack37FleetCut(t *testing.T) {
	for _, row := range []struct {
		name       string
		git, peers bool // what the node is cut off from
		replaced   bool
	}{
		{"from Git", true, false, false},      // peers still reach it: it is not challenged
		{"from peers", false, true, false},    // it answers the challenge
		{"from both", true, true, true},       // fenced and replaced
		{"from nothing", false, false, false}, // the harness itself
	} {
		t.Run(row.name, func(t *testing.T) {
			play(t, 3, func(b *band) {
				b.commit(service("web", "a", replicas(3)))
				b.settle(20 * time.Second)
				before := b.running()
				cut := b.nodes[2]
				cut.noGit.Store(row.git)
				cut.noPeers.Store(row.peers)
				if row.git {
					cut.repo.fail(errCut)
				}
				b.settle(2 * time.Minute)
				if row.replaced {
					if got := len(b.running()); got != 4 {
						t.Errorf("running %q, want the slot of %s twice: there and elsewhere", b.running(), cut.name)
					}
				} else if got := b.running(); !slices.Equal(got, before) {
					t.Errorf("running %q, want %q", got, before)
				}
				cut.noGit.Store(false)
				cut.noPeers.Store(false)
				cut.repo.fail(nil)
				b.settle(2 * time.Minute)
				b.wantSlots("web-0 a", "web-1 a", "web-2 a")
			})
		})
	}
}

// TestFleetBackup: a restored server is an alarm, stops nothing, and a reset
// of the floor resolves it.
func TestFleetBackup(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(3)))
		b.settle(20 * time.Second)
		backup := b.records.Snapshot()
		b.commit(service("web", "b", replicas(3)), service("db", "c"))
		b.settle(time.Minute)
		before := b.running()
		b.records.Restore(backup)
		b.settle(2 * time.Minute)
		if got := b.running(); !slices.Equal(got, before) {
			t.Errorf("running %q after the restore, want %q", got, before)
		}
		for _, p := range b.nodes {
			if !strings.Contains(strings.Join(p.agent.Status().Problems, " "), "floor reset") {
				t.Errorf("%s does not tell of the restored server: %q", p.name, p.agent.Status().Problems)
			}
		}
		if err := b.nodes[1].agent.ResetFloor(context.Background(), ""); err != nil {
			t.Fatal(err)
		}
		b.settle(3 * time.Minute)
		b.wantSlots("db-0 c", "web-0 b", "web-1 b", "web-2 b")
		for _, p := range b.nodes {
			if problems := p.agent.Status().Problems; len(problems) > 0 {
				t.Errorf("%s still has problems: %q", p.name, problems)
			}
		}
	})
}

// TestFleetDrain: everything moves before anything stops, and comes no more.
func TestFleetDrain(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(6)))
		b.settle(20 * time.Second)
		b.specs["n1"] = planner.NodeSpec{Name: "n1", Drain: true}
		b.commit(service("web", "a", replicas(6)))
		lowest := 6
		for range 120 {
			b.settle(time.Second)
			lowest = min(lowest, len(b.running()))
		}
		if n := b.nodes[0].running(); n != 0 {
			t.Errorf("%d slots still run on the drained node", n)
		}
		if lowest < 6 {
			t.Errorf("only %d slots ran at some time, want never fewer than 6", lowest)
		}
		b.wantSlots("web-0 a", "web-1 a", "web-2 a", "web-3 a", "web-4 a", "web-5 a")
	})
}
