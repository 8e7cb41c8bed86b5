package reach

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// TestShareAndReturn states what holds whatever becomes of endpoints and nodes:
// of no port more than half are ejected, those apart whose node was silent when
// it was asked; and once all is well everything is back.
func TestShareAndReturn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSimulation(t)
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			s.change()
			for range rapid.IntRange(1, 15).Draw(t, "ticks") {
				s.tick()
			}
		}
		for a := range s.state {
			s.state[a] = answered
		}
		for range int((maxEjection + 5*time.Second) / tick) {
			s.tick()
		}
		for _, e := range s.judge.endpoints {
			if e.ejection != nil {
				t.Fatalf("%s stays ejected although all is well: %s", e.Slot, e.ejection.Reason)
			}
		}
	})
}

const tick = 100 * time.Millisecond

// simulation drives a judge without goroutines.
type simulation struct {
	t       *rapid.T
	judge   *judge
	now     time.Time
	all     []Endpoint
	fleet   Fleet
	state   map[string]outcome // by address
	pending []begun
	flows   map[flow]*seen
	asked   map[planner.NodeName]bool // silent when it was asked last
}

type begun struct {
	check
	at time.Time
}

func newSimulation(t *rapid.T) *simulation {
	s := &simulation{
		t: t, judge: newJudge(), now: time.Unix(1e9, 0), state: map[string]outcome{},
		flows: map[flow]*seen{}, asked: map[planner.NodeName]bool{},
	}
	for _, service := range []string{"web", "dbs1"} {
		for n := range rapid.IntRange(1, 6).Draw(t, "replicas") {
			node := rapid.SampledFrom([]planner.NodeName{"n1", "n2", "n3"}).Draw(t, "node")
			protocol := rapid.SampledFrom([]string{"tcp", "tcp", "udp"}).Draw(t, "protocol")
			s.all = append(s.all, remote(service, n, node, protocol))
		}
	}
	s.set(s.all)
	for _, p := range s.fleet.Peers {
		s.state[p] = answered
	}
	for _, e := range s.all {
		s.state[e.flow().address()] = answered
	}
	return s
}

func (s *simulation) set(all []Endpoint) {
	s.fleet = fleetOf(rapid.IntRange(0, 2).Draw(s.t, "local"), all...)
	s.judge.set(s.fleet, s.now)
}

// change changes one thing.
func (s *simulation) change() {
	found := rapid.SampledFrom([]outcome{silent, refused, answered}).Draw(s.t, "state")
	switch node := rapid.SampledFrom([]planner.NodeName{"n1", "n2", "n3"}).Draw(s.t, "node"); rapid.IntRange(0, 4).Draw(s.t, "kind") {
	case 0: // a whole node
		s.state[s.fleet.Peers[node]] = found
		for _, e := range s.all {
			if e.Node == node {
				s.state[e.flow().address()] = found
			}
		}
	case 1: // its agent, or the way to it
		s.state[s.fleet.Peers[node]] = found
	case 2: // instances come and go
		var some []Endpoint
		for _, e := range s.all {
			if rapid.IntRange(0, 3).Draw(s.t, "there") > 0 {
				some = append(some, e)
			}
		}
		s.set(some)
		s.checkShare()
	default: // one endpoint
		s.state[rapid.SampledFrom(s.all).Draw(s.t, "endpoint").flow().address()] = found
	}
}

// tick lets a tenth of a second pass, in which each endpoint that is not ejected
// gets a connection.
func (s *simulation) tick() {
	s.now = s.now.Add(tick)
	pending := s.pending
	s.pending = nil
	for _, c := range pending {
		found := s.state[c.address]
		if found == silent && s.now.Sub(c.at) < checkLimit {
			s.pending = append(s.pending, c)
			continue
		}
		if c.key == (Key{}) {
			s.asked[c.node] = found == silent
		}
		s.judge.done(c.check, found, s.now)
	}
	for k, e := range s.judge.endpoints {
		if e.ejection == nil {
			s.connect(k)
		}
	}
	s.judge.read(s.traffic(), s.now)
	for _, c := range s.judge.due(s.now) {
		s.pending = append(s.pending, begun{c, s.now})
	}
	for _, n := range s.judge.news {
		if n.ejection != nil && s.judge.endpoints[n.endpoint.Key] != nil && s.judge.endpoints[n.endpoint.Key].withNode && !s.asked[n.endpoint.Node] {
			s.t.Fatalf("%s is ejected because of a node that answered when it was asked", n.endpoint.Slot)
		}
	}
	s.judge.news = nil
	s.checkShare()
}

func (s *simulation) connect(k Key) {
	f := s.flows[k.flow()]
	if f == nil {
		f = &seen{}
		s.flows[k.flow()] = f
	}
	f.tried = s.now
	switch s.state[k.flow().address()] {
	case answered:
		f.answered = s.now
	case refused:
		f.refused = s.now
	}
}

func (s *simulation) traffic() []runtime.Traffic {
	var all []runtime.Traffic
	ago := func(at time.Time) time.Duration {
		if at.IsZero() || s.now.Sub(at) > 5*time.Second {
			return -1
		}
		return s.now.Sub(at)
	}
	for f, seen := range s.flows {
		if ago(seen.tried) >= 0 {
			all = append(all, runtime.Traffic{Target: f.target, Protocol: f.protocol, Tried: ago(seen.tried), Answered: ago(seen.answered), Refused: ago(seen.refused)})
		}
	}
	return all
}

func (s *simulation) checkShare() {
	alone, total := map[port]int{}, map[port]int{}
	for _, e := range s.judge.endpoints {
		total[e.port()]++
		if e.ejection != nil && !e.withNode {
			alone[e.port()]++
		}
	}
	for p, n := range alone {
		if of := total[p] + s.fleet.Services[p.service].Local; 2*n > of {
			s.t.Fatalf("%d of %d endpoints of %v are ejected", n, of, p)
		}
	}
	if s.judge.checks < 0 || s.judge.checks != len(s.pending) {
		s.t.Fatalf("%d checks are under way, it counts %d", len(s.pending), s.judge.checks)
	}
}

// However many endpoints are silent at once, checks are bounded, and their node
// is asked first.
func TestChecksAreBounded(t *testing.T) {
	var all []Endpoint
	for n := range 5000 {
		all = append(all, remote("web", n, "n1", "tcp"))
	}
	j, now := newJudge(), time.Unix(1e9, 0)
	j.set(fleetOf(0, all...), now)
	var seen []runtime.Traffic
	for _, e := range all {
		seen = append(seen, runtime.Traffic{Target: e.Target, Protocol: "tcp", Tried: patience, Answered: -1, Refused: -1})
	}
	j.read(seen, now)
	checks := j.due(now)
	if len(checks) > maxChecksOfNode+1+maxWitnesses {
		t.Fatalf("%d checks at once", len(checks))
	}
	if !slices.ContainsFunc(checks, func(c check) bool { return c.address == "192.0.2.1:7946" }) {
		t.Fatal("the node itself is not asked")
	}
	now = now.Add(checkLimit)
	for _, c := range checks {
		found := silent
		if c.node != "n1" {
			found = answered
		}
		j.done(c, found, now)
	}
	if out := j.ejected(all[0].port()); out != len(all) {
		t.Errorf("%d of %d endpoints of a dead node are ejected", out, len(all))
	}
}

func BenchmarkReading(b *testing.B) {
	var all []Endpoint
	var seen []runtime.Traffic
	for n := range 10000 {
		all = append(all, remote("web", n, "n1", "tcp"))
		seen = append(seen, runtime.Traffic{Target: all[n].Target, Protocol: "tcp", Tried: 0, Answered: time.Millisecond, Refused: -1})
	}
	j, now := newJudge(), time.Unix(1e9, 0)
	j.set(fleetOf(0, all...), now)
	for b.Loop() {
		now = now.Add(readEvery)
		j.read(seen, now)
		j.due(now)
	}
}
