package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// dial reaches the addresses of nodes that are not mute.
func (b *band) dial(_ context.Context, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	for _, p := range b.nodes {
		if own, _, _ := net.SplitHostPort(p.address()); own == host && !p.mute.Load() {
			near, far := net.Pipe()
			far.Close()
			return near, nil
		}
	}
	return nil, fmt.Errorf("dial %s: %w", address, syscall.EHOSTUNREACH)
}

// host is the node's address without a port.
func (p *player) host() string {
	host, _, _ := net.SplitHostPort(p.address())
	return host
}

// front is the front of a service's own address on this node.
func (p *player) front(name string) runtime.Front {
	at := addressOf(p.agent, name).Address
	for _, f := range p.network.Balancing().Fronts {
		if f.Kind == runtime.FrontService && f.Address == at && at != "" {
			return f
		}
	}
	return runtime.Front{}
}

// spread counts the targets of a front by node: this one's are its own.
func (b *band) spread(self *player, f runtime.Front) map[planner.NodeName]int {
	out := map[planner.NodeName]int{}
	for _, t := range f.Targets {
		at := self.name
		for _, p := range b.nodes {
			if p.host() == t.Address {
				at = p.name
			}
		}
		out[at]++
	}
	return out
}

// wantEverywhere checks that connections to a service lead to so many instances
// on every node, of which one is the node's own, and those of others are reached
// by ports that lead to them.
func (b *band) wantEverywhere(name string, n int) {
	b.t.Helper()
	for _, p := range b.nodes {
		f := p.front(name)
		if len(f.Targets) != n {
			b.t.Errorf("%s leads to %v, want %d targets; it says:\n%s", p.name, f.Targets, n, describe(p.agent))
		}
		for _, t := range f.Targets {
			for _, other := range b.nodes {
				if other != p && other.host() == t.Address && !other.opens(t.Port) {
					b.t.Errorf("%s leads to %s:%d, which leads nowhere", p.name, other.name, t.Port)
				}
			}
		}
	}
}

// opens reports whether a port for other nodes leads to exactly one instance.
func (p *player) opens(port int) bool {
	return slices.ContainsFunc(p.network.Balancing().Fronts, func(f runtime.Front) bool {
		return f.Kind == runtime.FrontHost && f.Port == port && len(f.Targets) == 1
	})
}

// Every node leads connections to all instances of the fleet: its own directly,
// others by ports of their nodes, and opens published ports although it has no
// instance.
func TestFleetLeadsToAll(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(3), served(80)), service("api", "b", published(8000)))
		b.settle(30 * time.Second)
		b.wantEverywhere("web", 3)
		for _, p := range b.nodes {
			if got := b.spread(p, p.front("web")); len(got) != 3 {
				t.Errorf("%s spreads web over %v, want one on each node", p.name, got)
			}
			open := p.network.Published()
			if len(open) != 1 || open[0].Port != 8000 || len(open[0].Targets) != 1 {
				t.Errorf("%s has published %v, want port 8000 and the instance, wherever it is", p.name, open)
			}
			if fleet := p.network.Balancing().Fleet; len(fleet) != 2 || slices.Contains(fleet, p.host()) {
				t.Errorf("%s lets %q in", p.name, fleet)
			}
			for _, other := range b.nodes {
				if a, o := addressOf(p.agent, "web"), addressOf(other.agent, "web"); a.Address != o.Address || a.Address == "" {
					t.Errorf("web is at %q and at %q", a.Address, o.Address)
				}
			}
		}
		// A slot's address leads to its instance from everywhere.
		for _, p := range b.nodes {
			for _, e := range addressOf(p.agent, "web").Endpoints {
				i := slices.IndexFunc(p.network.Balancing().Fronts, func(f runtime.Front) bool { return f.Address == e.SlotAddress && e.SlotAddress != "" })
				if i < 0 || len(p.network.Balancing().Fronts[i].Targets) != 1 {
					t.Errorf("%s: slot %s at %q leads nowhere", p.name, e.Slot, e.SlotAddress)
				}
			}
		}
	})
}

// Ports of mode node are open where an instance runs, and lead to that.
func TestPublishedWhereItRuns(t *testing.T) {
	play(t, 3, func(b *band) {
		onNode := func(s *planner.Service) { s.Ports[0].Publish.Mode = "node" }
		b.commit(service("web", "a", replicas(2), published(8000), onNode))
		b.settle(30 * time.Second)
		for _, p := range b.nodes {
			open := p.network.Published()
			if p.running() == 0 && len(open) != 0 {
				t.Errorf("%s has opened %v without an instance", p.name, open)
			}
			if p.running() == 1 && (len(open) != 1 || len(open[0].Targets) != 1 || strings.HasPrefix(open[0].Targets[0].Address, "192.0.2.")) {
				t.Errorf("%s has opened %v, want its own instance behind the port", p.name, open)
			}
		}
	})
}

// leads reports whether any node leads new connections to one instance of a
// node: to its address or to a port of the node that leads there.
func (b *band) leads(of *player, id string) (where []string) {
	address := of.network.Attached()[id].Address
	ports, _ := of.network.HostPorts(context.Background(), id, []runtime.ContainerPort{{Port: 8080, Protocol: "tcp"}})
	for _, p := range b.nodes {
		for _, f := range p.network.Balancing().Fronts {
			for _, t := range f.Targets {
				if p == of && t.Address == address || p != of && t.Address == of.host() && ports[runtime.ContainerPort{Port: 8080, Protocol: "tcp"}] == t.Port {
					where = append(where, fmt.Sprintf("%s %s", p.name, describeFront(f)))
				}
			}
		}
	}
	return where
}

// When an instance is stopped, no node leads new connections to it any more, and
// every peer has said so.
func TestGracefulEnd(t *testing.T) {
	rows := []struct {
		name   string
		deaf   bool // a peer never says that it has heard
		within time.Duration
	}{
		{"all acknowledge", false, 2 * time.Second},
		{"one does not", true, 5 * time.Second},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			play(t, 3, func(b *band) {
				b.commit(service("web", "a", replicas(3), served(80)))
				b.settle(30 * time.Second)
				b.wantEverywhere("web", 3)
				var mu sync.Mutex
				stops := 0
				for _, p := range b.nodes {
					p.deaf.Store(row.deaf && p.name == "n3")
					p.driver.Before(func(_ context.Context, c runtimetest.Call) error {
						if c.Verb != "Stop" {
							return nil
						}
						mu.Lock()
						defer mu.Unlock()
						stops++
						if where := b.leads(p, c.ID); len(where) > 0 {
							t.Errorf("%s is stopped while connections are led to it: %q", c.ID, where)
						}
						said := p.announced()
						for _, other := range b.nodes {
							theirs := p.peers.Load().news
							theirs.mu.Lock()
							if heard := theirs.applied[other.name]; other != p && !other.deaf.Load() && heard < said[len(said)-1].Serving-1 {
								t.Errorf("%s is stopped, and %s has acknowledged %d of %d", c.ID, other.name, heard, said[len(said)-1].Serving)
							}
							theirs.mu.Unlock()
						}
						return nil
					})
				}
				b.commit(service("web", "b", replicas(3), served(80)))
				b.settle(2 * time.Minute)
				b.wantSlots("web-0 b", "web-1 b", "web-2 b")
				b.wantEverywhere("web", 3)
				if stops != 3 {
					t.Errorf("%d stops, want 3", stops)
				}
				for _, p := range b.nodes {
					p.driver.Before(nil)
				}
			})
		})
	}
}

// TestEndWaitsForNobodyElse: while one instance waits for a peer that does not
// acknowledge, other work goes on.
func TestEndWaitsForNobodyElse(t *testing.T) {
	play(t, 2, func(b *band) {
		b.commit(service("web", "a", replicas(4), served(80)))
		b.settle(30 * time.Second)
		for _, p := range b.nodes {
			p.deaf.Store(true)
		}
		var mu sync.Mutex
		var starts, stops []time.Time
		for _, p := range b.nodes {
			p.driver.Before(func(_ context.Context, c runtimetest.Call) error {
				mu.Lock()
				defer mu.Unlock()
				switch c.Verb {
				case "Start":
					starts = append(starts, time.Now())
				case "Stop":
					stops = append(stops, time.Now())
				}
				return nil
			})
		}
		begin := time.Now()
		b.commit(service("web", "a", replicas(2), served(80)), service("db", "b"))
		b.settle(2500 * time.Millisecond)
		mu.Lock()
		if len(starts) != 1 || len(stops) != 0 {
			t.Errorf("%d starts and %d stops in the first seconds, want the new service and no stop", len(starts), len(stops))
		}
		mu.Unlock()
		b.settle(30 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(stops) != 2 || stops[1].Sub(begin) > 10*time.Second {
			t.Errorf("stops at %v after %v", stops, begin)
		}
	})
}

// TestEndingLeadsOn: the port by which other nodes reach an instance that is
// being stopped leads on to others: who has not heard is served all the same.
func TestEndingLeadsOn(t *testing.T) {
	play(t, 2, func(b *band) {
		for _, p := range b.nodes {
			p.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
				return runtimetest.Behaviour{StopDelay: 20 * time.Second}
			})
		}
		b.commit(service("web", "a", replicas(2), served(80)))
		b.settle(30 * time.Second)
		b.commit(service("web", "a", replicas(1), served(80)))
		b.settle(15 * time.Second)
		led := 0
		for _, p := range b.nodes {
			for _, f := range p.network.Balancing().Fronts {
				if f.Kind != runtime.FrontHost {
					continue
				}
				if len(f.Targets) != 1 {
					t.Errorf("%s: port %d leads to %v", p.name, f.Port, f.Targets)
				} else if strings.HasPrefix(f.Targets[0].Address, "192.0.2.") {
					led++
				}
			}
		}
		if led != 1 {
			t.Errorf("%d ports lead on to another node, want that of the instance that is being stopped", led)
		}
		b.settle(time.Minute)
		b.wantEverywhere("web", 1)
	})
}

// narrows says which front of what stood has lost a target, or is gone.
func narrows(before, after runtime.Balancing) string {
	for _, f := range before.Fronts {
		i := slices.IndexFunc(after.Fronts, func(g runtime.Front) bool {
			return g.Kind == f.Kind && g.Address == f.Address && g.Port == f.Port && g.Protocol == f.Protocol
		})
		if i < 0 {
			return describeFront(f) + " is gone"
		}
		for _, t := range f.Targets {
			if !slices.Contains(after.Fronts[i].Targets, t) {
				return describeFront(f) + " became " + describeFront(after.Fronts[i])
			}
		}
	}
	for _, a := range before.Fleet {
		if !slices.Contains(after.Fleet, a) {
			return a + " is let in no more"
		}
	}
	return ""
}

// An agent that is killed and started again never takes anything out of a
// healthy fleet's balancing, on its node or on others, with Git or without, its
// peers or none.
func TestNewAgentNarrowsNothing(t *testing.T) {
	rows := []struct {
		name           string
		noGit, noPeers bool
		away           time.Duration
	}{
		{"at once", false, false, 0},
		{"after a while", false, false, 2 * time.Second},
		{"without Git", true, false, 0},
		{"without peers", false, true, 0},
		{"without both", true, true, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			play(t, 3, func(b *band) {
				b.commit(service("web", "a", replicas(6), served(80)), service("api", "b", replicas(2), published(8000)))
				b.settle(40 * time.Second)
				b.wantEverywhere("web", 6)
				before, done := map[planner.NodeName]runtime.Balancing{}, map[planner.NodeName]int{}
				for _, p := range b.nodes {
					before[p.name], done[p.name] = p.network.Balancing(), len(p.network.Balanced())
				}
				p := b.nodes[0]
				p.noGit.Store(row.noGit)
				p.noPeers.Store(row.noPeers)
				for range 3 {
					p.crash()
					b.settle(row.away)
					p.start()
					b.settle(10 * time.Second)
				}
				b.settle(30 * time.Second)
				if len(p.network.Balanced()) == done[p.name] {
					t.Error("the new agent has balanced nothing")
				}
				for _, p := range b.nodes {
					if row.noGit && row.noPeers && p != b.nodes[0] {
						continue // for them the node is lost, and its slots run elsewhere
					}
					for _, after := range p.network.Balanced()[done[p.name]:] {
						if lost := narrows(before[p.name], after); lost != "" {
							t.Errorf("%s: %s", p.name, lost)
							break
						}
					}
				}
			})
		})
	}
}

// What a node announces counts at once, also while nobody reads the records.
func TestAnnouncementsCountAtOnce(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(3), served(80)))
		b.settle(30 * time.Second)
		b.wantEverywhere("web", 3)
		for _, p := range b.nodes {
			p.noGit.Store(true)
		}
		b.settle(10 * time.Second)
		p := b.nodes[0]
		p.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{StartDelay: 5 * time.Second}
		})
		p.driver.Exit(p.driver.Listing()[0].ID, planner.Exit{Code: 1})
		b.settle(200 * time.Millisecond)
		for _, p := range b.nodes {
			if f := p.front("web"); len(f.Targets) != 2 {
				t.Errorf("%s leads to %v just after an exit, want two targets", p.name, f.Targets)
			}
		}
		b.settle(20 * time.Second)
		b.wantEverywhere("web", 3)
	})
}

// What does not answer is taken out of balancing on the node that sees it, at
// once, and comes back when it answers.
func TestSilentNodeIsLeftOut(t *testing.T) {
	play(t, 3, func(b *band) {
		b.commit(service("web", "a", replicas(3), served(80)))
		b.settle(30 * time.Second)
		b.wantEverywhere("web", 3)
		p, dead := b.nodes[0], b.nodes[2]
		var target runtime.Target
		for _, at := range p.front("web").Targets {
			if at.Address == dead.host() {
				target = at
			}
		}
		dead.mute.Store(true)
		begin := time.Now()
		p.network.SetTraffic(runtime.Traffic{Target: target, Protocol: "tcp", Tried: 50 * time.Millisecond, Answered: -1, Refused: -1})
		for slices.Contains(p.front("web").Targets, target) && time.Since(begin) < 10*time.Second {
			b.settle(10 * time.Millisecond)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("left out after %v", took)
		}
		b.settle(100 * time.Millisecond)
		if !slices.Contains(p.network.Forgotten(), target) {
			t.Error("connections that wait for an answer still do")
		}
		if st := p.agent.Status(); !slices.ContainsFunc(st.Problems, func(s string) bool { return strings.Contains(s, "do not answer") && strings.Contains(s, "n3") }) {
			t.Errorf("problems %q", st.Problems)
		}
		ejected := 0
		for _, e := range addressOf(p.agent, "web").Endpoints {
			if e.State == api.EndpointEjected && e.Node == "n3" && e.Reason != "" && !e.Since.IsZero() {
				ejected++
			}
		}
		if ejected != 1 {
			t.Errorf("endpoints %+v, want that of n3 ejected", addressOf(p.agent, "web").Endpoints)
		}
		// Others, which see nothing wrong, go on.
		if f := b.nodes[1].front("web"); len(f.Targets) != 3 {
			t.Errorf("n2 leads to %v", f.Targets)
		}
		dead.mute.Store(false)
		p.network.SetTraffic()
		b.settle(time.Minute)
		b.wantEverywhere("web", 3)
		if st := p.agent.Status(); slices.ContainsFunc(st.Problems, func(s string) bool { return strings.Contains(s, "do not answer") }) {
			t.Errorf("problems %q after it answers again", st.Problems)
		}
	})
}

// A node whose ports cannot be read at its agent's start goes on as it was.
func TestHostPortsUnreadable(t *testing.T) {
	play(t, 2, func(b *band) {
		b.commit(service("web", "a", replicas(2), served(80)))
		b.settle(30 * time.Second)
		p := b.nodes[0]
		p.crash()
		p.network.Before(func(_ context.Context, c runtimetest.Call) error {
			if c.Verb == "HostPorts" {
				return errors.New("disk: input/output error")
			}
			return nil
		})
		done := len(p.network.Balanced())
		p.start()
		b.settle(30 * time.Second)
		if n := len(p.network.Balanced()) - done; n != 0 {
			t.Errorf("%d changes of what stands", n)
		}
		b.wantTold(b.nodes[1], "web", 2)
		p.network.Before(nil)
		b.settle(30 * time.Second)
		b.wantEverywhere("web", 2)
	})
}

// wantTold checks how many targets one node leads to.
func (b *band) wantTold(p *player, name string, n int) {
	b.t.Helper()
	if f := p.front(name); len(f.Targets) != n {
		b.t.Errorf("%s leads to %v, want %d targets", p.name, f.Targets, n)
	}
}
