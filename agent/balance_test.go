package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/network/resolver"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// served gives a service a port on an address of its own.
func served(port int) func(*planner.Service) {
	return func(s *planner.Service) {
		s.Template.Containers[0].Ports = []planner.ContainerPort{{Name: "http", ContainerPort: 8080}}
		s.Ports = append(s.Ports, planner.Port{Name: "http", Container: 8080, Protocol: "tcp", Port: port})
	}
}

func headless(s *planner.Service) { s.Headless = true }

// listens changes the port that the container listens on, not its name.
func listens(port int) func(*planner.Service) {
	return func(s *planner.Service) {
		s.Template.Containers[0].Ports[0].ContainerPort, s.Ports[0].Container = port, port
	}
}

// frontsOf lists the fronts of a kind that stand, as "address:port → targets".
func frontsOf(n *runtimetest.FakeNetwork, kind runtime.FrontKind) []string {
	var out []string
	for _, f := range n.Balancing().Fronts {
		if f.Kind == kind {
			out = append(out, describeFront(f))
		}
	}
	return out
}

func describeFront(f runtime.Front) string {
	var targets []string
	for _, t := range f.Targets {
		targets = append(targets, fmt.Sprintf("%s:%d", t.Address, t.Port))
	}
	return strings.TrimSpace(fmt.Sprintf("%s:%d → %s", f.Address, f.Port, strings.Join(targets, " ")))
}

// targetsOf are the instances of a service as targets.
func (w *world) targetsOf(name string, port int) string {
	var targets []string
	for _, i := range w.driver.Listing() {
		if i.Slot.Service.Name == name {
			targets = append(targets, fmt.Sprintf("%s:%d", w.network.Attached()[i.ID].Address, port))
		}
	}
	slices.Sort(targets)
	return strings.Join(targets, " ")
}

// addressOf is what a service's name resolves to, as the agent says.
func addressOf(a *Agent, name string) api.ServiceEndpoints {
	if e := a.Endpoints(); e != nil {
		for _, s := range e.Services {
			if s.Name == name {
				return s
			}
		}
	}
	return api.ServiceEndpoints{}
}

// A node alone gives its services addresses, and their slots, and keeps them
// over restarts, Git or not.
func TestAloneAddressesStay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2), served(80)), service("db", "b", served(5432)))
		w.settle(5 * time.Second)
		web, db := addressOf(w.agent, "web"), addressOf(w.agent, "db")
		if web.Address == "" || db.Address == "" || web.Address == db.Address || web.Endpoints[0].SlotAddress == "" {
			t.Fatalf("addresses %+v, %+v", web, db)
		}
		if got := frontsOf(w.network, runtime.FrontService); len(got) != 5 || !slices.Contains(got, web.Address+":80 → "+w.targetsOf("web", 8080)) ||
			!slices.Contains(got, db.Address+":5432 → "+w.targetsOf("db", 8080)) {
			t.Errorf("fronts %q, want one of each service and each slot", got)
		}
		if b := w.network.Balancing(); len(b.Services) != 1 || b.Services[0] != planner.DefaultServiceRange || len(b.Fleet) != 0 || len(frontsOf(w.network, runtime.FrontHost)) != 0 {
			t.Errorf("balancing of a node alone: %+v", b)
		}
		before := w.network.Balancing()
		w.crash()
		w.repo.fail(errors.New("connection refused"))
		done := len(w.network.Balanced())
		w.start()
		w.settle(time.Minute)
		for _, b := range w.network.Balanced()[done:] {
			if fmt.Sprint(b) != fmt.Sprint(before) {
				t.Errorf("a new agent changes what stands:\n%v\n%v", before, b)
			}
		}
		// A service that goes gives its address back, the others keep theirs.
		w.crash()
		w.repo.fail(nil)
		w.start()
		w.commit(service("api", "c", served(80)), service("db", "b", served(5432)))
		w.settle(20 * time.Second)
		if now := addressOf(w.agent, "db"); now.Address != db.Address || addressOf(w.agent, "api").Address == "" {
			t.Errorf("db has %s instead of %s", now.Address, db.Address)
		}
	})
}

// The addresses of a node whose state was lost are the same again: they follow
// from the services' names.
func TestAloneAddressesFollowFromNames(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", served(80)))
		w.settle(5 * time.Second)
		before := addressOf(w.agent, "web")
		w.crash()
		w.state = t.TempDir()
		w.start()
		w.settle(20 * time.Second)
		if now := addressOf(w.agent, "web"); before.Address == "" || now.Address != before.Address {
			t.Errorf("web has %q, and had %q", now.Address, before.Address)
		}
	})
}

// Where the node has IPv6, services have an address of each family that lead to
// the same instances.
func TestBothFamilies(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.network.GiveIPv6()
		w.start()
		w.commit(service("web", "a", served(80)))
		w.settle(5 * time.Second)
		s := addressOf(w.agent, "web")
		want := []string{s.Address + ":80 → 10.99.0.3:8080", s.Address6 + ":80 → fd99::2:8080"}
		if got := frontsOf(w.network, runtime.FrontService); len(got) < 2 || !slices.Equal(got[:2], want) || s.Address6 == "" {
			t.Errorf("fronts %q, want first %q", got, want)
		}
		if b := w.network.Balancing(); len(b.Services) != 2 {
			t.Errorf("ranges %q, want one of each family", b.Services)
		}
	})
}

// An instance of an earlier revision is reached where it listens: ports are
// found by name.
func TestPortsAreFoundByName(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", served(80), withVolume))
		w.settle(5 * time.Second)
		w.driver.DeleteImage("registry.example.com/missing")
		w.commit(service("web", "missing", served(80), listens(9090), withVolume))
		w.settle(10 * time.Second)
		s := addressOf(w.agent, "web")
		if got := frontsOf(w.network, runtime.FrontService); !slices.Contains(got, s.Address+":80 → "+w.targetsOf("web", 8080)) {
			t.Errorf("fronts %q, want the port of the revision that runs", got)
		}
		w.driver.PushImage("registry.example.com/missing")
		w.settle(5 * time.Minute)
		if got := strings.Join(frontsOf(w.network, runtime.FrontService), " "); !strings.Contains(got, ":9090") || strings.Contains(got, ":8080") {
			t.Errorf("fronts %q, want those of the new revision", got)
		}
	})
}

// What has the node's network is reached at the bridge's address, and a
// published port on which it listens itself has no front.
func TestHostNetworkIsLedTo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.policy.HostNetwork = true
		w.start()
		onHost := func(s *planner.Service) { s.Template.HostNetwork = true }
		open := func(s *planner.Service) { s.Ports[0].Publish = &planner.Publish{Port: 8080} }
		w.commit(service("web", "a", served(80), open, onHost))
		w.settle(5 * time.Second)
		s := addressOf(w.agent, "web")
		if got := frontsOf(w.network, runtime.FrontService); !slices.Contains(got, s.Address+":80 → 10.99.0.1:8080") {
			t.Errorf("fronts %q, want one to the bridge's address", got)
		}
		if got := frontsOf(w.network, runtime.FrontPublished); len(got) != 0 {
			t.Errorf("published %q, where the instance itself listens", got)
		}
	})
}

// Without a network of their own, processes are led to on loopback.
func TestProcessesAreLedTo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		procs := runtimetest.NewFake(planner.DriverProcess)
		procs.SetInfo(func(i *runtime.Info) { i.Capabilities = runtime.Capabilities{} })
		w.more = map[string]runtime.Driver{planner.DriverProcess: procs}
		w.policy.Drivers, w.noNetwork = []string{planner.DriverProcess}, true
		w.start()
		process := func(s *planner.Service) {
			s.Template.Driver = planner.DriverProcess
			s.Template.Containers[0].Image, s.Template.Containers[0].Command = "", []string{"/bin/web"}
		}
		w.commit(service("web", "", served(80), process))
		w.settle(5 * time.Second)
		s := addressOf(w.agent, "web")
		if got := frontsOf(w.network, runtime.FrontService); s.Address == "" || !slices.Contains(got, s.Address+":80 → 127.0.0.1:8080") || len(w.agent.Status().Problems) != 0 {
			t.Errorf("fronts %q, want one to loopback; problems %q", got, w.agent.Status().Problems)
		}
	})
}

// Ports by which other nodes reach instances may not be published.
func TestPortsForNodesAreNotPublished(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.policy.HostPorts = [2]int{20000, 29999}
		w.start()
		w.commit(service("web", "a", published(20080)), service("api", "b", published(80)))
		w.settle(5 * time.Second)
		w.wantRunning("api-0 b")
		if m := w.service("web").Message; !strings.Contains(m, "20080") || !strings.Contains(m, "20000-29999") {
			t.Errorf("message %q", m)
		}
	})
}

// fakeNames keeps what it is told.
type fakeNames struct {
	mu   sync.Mutex
	told []resolver.Zone
}

func (f *fakeNames) Write(z resolver.Zone) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, z)
	return nil
}

func (f *fakeNames) Run(ctx context.Context, _ func(error)) { <-ctx.Done() }

func (f *fakeNames) last() resolver.Zone {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.told) == 0 {
		return resolver.Zone{}
	}
	return f.told[len(f.told)-1]
}

// The name server is told of every service: its address, or those of its ready
// slots, and named ports. While nothing is known it is told nothing.
func TestZone(t *testing.T) {
	inWorld(t, func(w *world) {
		names := &fakeNames{}
		w.crash()
		w.names = names
		w.start()
		w.settle(time.Minute)
		if len(names.told) != 0 {
			t.Fatalf("told %+v without a commit", names.told)
		}
		twice := func(s *planner.Service) { // as one port that is published twice is read
			again := s.Ports[0]
			s.Ports[0].Publish, again.Publish, again.Port = &planner.Publish{Port: 8080}, &planner.Publish{Port: 8081}, 0
			s.Ports = append(s.Ports, again)
		}
		w.commit(service("web", "a", served(80), twice), service("db", "b", replicas(2), served(5432), headless), service("job", "c"))
		w.settle(5 * time.Second)
		z := names.last()
		if len(z.Services) != 2 || !slices.Equal(z.Reverse, []string{planner.DefaultServiceRange}) {
			t.Fatalf("zone %+v, want db and web", z)
		}
		db, web := z.Services[0], z.Services[1]
		if !slices.Equal(web.Addresses, []string{addressOf(w.agent, "web").Address}) || len(web.Ports) != 1 ||
			web.Ports[0] != (resolver.Port{Name: "http", Protocol: "tcp", Port: 80}) || len(web.Slots) != 1 || web.Slots[0].Ready || len(web.Slots[0].Ports) != 1 {
			t.Errorf("web: %+v", web)
		}
		if got := frontsOf(w.network, runtime.FrontPublished); len(got) != 2 {
			t.Errorf("fronts %q: want those of both ports", got)
		}
		if !db.Headless || len(db.Ports) != 0 || len(db.Slots) != 2 || !db.Slots[1].Ready || len(db.Addresses) != 2 ||
			db.Addresses[1] != db.Slots[1].Addresses[0] || db.Slots[1].Ports[0].Port != 8080 {
			t.Errorf("db: %+v", db)
		}
		if got := frontsOf(w.network, runtime.FrontService); len(got) != 4 { // web, its slot, and two slots of db
			t.Errorf("fronts %q", got)
		}
		// A slot that is not ready is not in the answers.
		w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{StartDelay: time.Hour}
		})
		for _, i := range w.driver.Listing() {
			if i.Slot.String() == "db-1" {
				w.driver.Exit(i.ID, planner.Exit{Code: 1})
			}
		}
		w.settle(5 * time.Second)
		if db := names.last().Services[0]; len(db.Addresses) != 1 || db.Slots[1].Ready || !db.Slots[0].Ready {
			t.Errorf("db after the end of a slot: %+v", db)
		}
		told := len(names.told)
		w.crash()
		w.repo.fail(errors.New("connection refused"))
		w.start()
		w.settle(10 * time.Second)
		for _, z := range names.told[told:] {
			if len(z.Services) != 2 {
				t.Errorf("an agent without Git tells of %d services", len(z.Services))
			}
		}
	})
}

// A headless service on several nodes is not answered for in a family in which
// only the slots of this node are reached.
func TestHeadlessFamilies(t *testing.T) {
	web := service("web", "a", served(80), headless)
	l := led{service: web, slots: map[string]addresses{"0": {"10.232.0.1", "fd00::1"}, "1": {"10.232.0.2", "fd00::2"}}}
	l.here = []local{{id: "web-0", slot: "0", takes: true, address: addresses{"10.99.0.2", "fd99::2"}, ports: []int{8080}, hostPorts: []int{0}}}
	if got := l.names().Addresses; !slices.Equal(got, []string{"10.232.0.1", "fd00::1"}) {
		t.Errorf("alone: %q, want both families", got)
	}
	l.there = []remote{{node: "n2", slot: "1", address: "192.0.2.2", ports: []int{20001}}}
	if got := l.names().Addresses; !slices.Equal(got, []string{"10.232.0.1", "10.232.0.2"}) {
		t.Errorf("with another node: %q, want IPv4 alone", got)
	}
}

// The address of IPv6 is told where it leads to as many instances as that of
// IPv4: not where other nodes are reached over IPv4 alone.
func TestAddressOfIPv6IsTold(t *testing.T) {
	l := led{service: service("web", "a", served(80)), address: addresses{"10.232.0.1", "fd00::1"}}
	shown := func() api.ServiceEndpoints { return (&ledNow{}).service(&l) }
	if s := shown(); s.Address == "" || s.Address6 == "" {
		t.Errorf("without instances: %+v", s)
	}
	l.here = []local{{id: "web-0", slot: "0", takes: true, address: addresses{"10.99.0.2", "fd99::2"}, ports: []int{8080}, hostPorts: []int{0}}}
	if s := shown(); s.Address != "10.232.0.1" || s.Address6 != "fd00::1" {
		t.Errorf("with both: %+v", s)
	}
	l.there = []remote{{node: "n2", slot: "1", address: "192.0.2.2", ports: []int{20001}}}
	if s := shown(); s.Address != "10.232.0.1" || s.Address6 != "" {
		t.Errorf("with a node of IPv4: %+v", s)
	}
}

// What the API tells of endpoints.
func TestEndpointsAreShown(t *testing.T) {
	inWorld(t, func(w *world) {
		if w.agent.Endpoints() != nil {
			t.Error("endpoints are told although nothing is known")
		}
		w.commit(service("web", "a", replicas(2), served(80)))
		w.settle(5 * time.Second)
		e := w.agent.Endpoints()
		if e.Node != "n1" || e.Range != planner.DefaultServiceRange || e.Balanced.Addresses != 3 || e.Balanced.Targets != 4 || len(e.Services) != 1 {
			t.Fatalf("%+v", e)
		}
		web := e.Services[0]
		if len(web.Endpoints) != 2 || web.Endpoints[1].Slot != "1" || web.Endpoints[1].State != api.EndpointReady || len(web.Endpoints[1].Targets) != 1 ||
			!strings.HasSuffix(web.Endpoints[1].Targets[0], ":8080") {
			t.Errorf("%+v", web)
		}
		if w.agent.Endpoints() != e {
			t.Error("told anew although nothing changed")
		}
		w.driver.Exit(w.ids()[0], planner.Exit{Code: 1})
		w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{StartDelay: time.Hour}
		})
		w.settle(2 * time.Second)
		if web := addressOf(w.agent, "web"); len(web.Endpoints) == 0 || web.Endpoints[0].State != api.EndpointDraining && web.Endpoints[1].State != api.EndpointDraining {
			t.Errorf("after an exit: %+v", web)
		}
	})
}
