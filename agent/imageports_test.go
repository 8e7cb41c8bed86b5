package agent

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// imagePorts makes the ports of its image ports of a service's address.
func imagePorts(s *planner.Service) { s.ImagePorts = true }

// listedPorts are the ports of a service as the agent tells them.
func listedPorts(a *Agent, name string) string {
	var out []string
	for _, p := range addressOf(a, name).Ports {
		out = append(out, fmt.Sprintf("%d→%d/%s", p.Port, p.Container, p.Protocol))
	}
	return strings.Join(out, " ")
}

// What an image exposes is reached by the service's address although the
// manifest says nothing of it: beside the ports that are declared, after a
// restart of the agent without Git, and on the ports of the image that runs.
func TestImagePortsOfNodeAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.ExposeImage("registry.example.com/db:1", "5432/tcp", "8080/tcp", "53/udp")
		w.driver.ExposeImage("registry.example.com/db:2", "6432/tcp")
		w.commit(service("db", "db:1", served(80), imagePorts), service("plain", "db:1"))
		w.settle(5 * time.Second)
		db := addressOf(w.agent, "db")
		if got, want := listedPorts(w.agent, "db"), "80→8080/tcp 53→53/udp 5432→5432/tcp 8080→8080/tcp"; got != want || db.Address == "" {
			t.Errorf("ports %s at %q, want %s", got, db.Address, want)
		}
		want := []string{}
		for _, port := range []string{"80 → %s:8080", "53 → %s:53", "5432 → %s:5432", "8080 → %s:8080"} {
			want = append(want, db.Address+":"+fmt.Sprintf(port, strings.TrimSuffix(w.targetsOf("db", 1), ":1")))
		}
		fronts := frontsOf(w.network, runtime.FrontService)
		if len(fronts) != 7 || !slices.Equal(fronts[:4], want) { // and three of the slot
			t.Errorf("fronts %q, want first %q", fronts, want)
		}
		if s := addressOf(w.agent, "plain"); s.Address != "" || len(s.Ports) != 0 {
			t.Errorf("a service that does not ask for it: %+v", s)
		}

		before := w.network.Balancing()
		w.crash()
		w.repo.fail(errors.New("connection refused"))
		w.driver.ForgetImages() // nothing is read from them
		done := len(w.network.Balanced())
		w.start()
		w.settle(time.Minute)
		for _, b := range w.network.Balanced()[done:] {
			if fmt.Sprint(b) != fmt.Sprint(before) {
				t.Errorf("a new agent changes what stands:\n%v\n%v", before, b)
			}
		}

		w.repo.fail(nil)
		w.commit(service("db", "db:2", served(80), imagePorts))
		w.settle(time.Minute)
		if got, want := listedPorts(w.agent, "db"), "80→8080/tcp 6432→6432/tcp"; got != want {
			t.Errorf("ports %s after the update, want %s", got, want)
		}
		if now := addressOf(w.agent, "db"); now.Address != db.Address {
			t.Errorf("db moved from %s to %s", db.Address, now.Address)
		}
		// No port any more: the manifest decides, nothing restarts.
		ids := w.ids()
		w.commit(service("db", "db:2", served(80)))
		w.settle(20 * time.Second)
		if got := listedPorts(w.agent, "db"); got != "80→8080/tcp" || !slices.Equal(w.ids(), ids) {
			t.Errorf("ports %s, instances %v, before %v", got, w.ids(), ids)
		}
	})
}

// A service of which nothing runs yet has an address and a name; it is not one
// of those that nobody calls.
func TestImagePortsAreNotKnownYet(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.ExposeImage("registry.example.com/db:1", "5432/tcp")
		w.driver.SetPullTime(time.Hour)
		w.commit(service("db", "db:1", imagePorts))
		w.settle(5 * time.Second)
		if s := addressOf(w.agent, "db"); s.Address == "" || !s.ImagePorts || len(s.Ports) != 0 {
			t.Errorf("%+v, want an address without ports", s)
		}
		if got := frontsOf(w.network, runtime.FrontService); len(got) != 0 {
			t.Errorf("fronts %q", got)
		}
	})
}

// Slots of a headless service answer on the ports of their own images.
func TestImagePortsOfSlots(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.ExposeImage("registry.example.com/db:1", "5432/tcp")
		w.commit(service("db", "db:1", replicas(2), headless, imagePorts))
		w.settle(5 * time.Second)
		var want []string
		for _, e := range addressOf(w.agent, "db").Endpoints {
			want = append(want, e.SlotAddress+":5432 → "+e.Targets[0])
		}
		if got := frontsOf(w.network, runtime.FrontService); len(got) != 2 || !slices.Equal(got, want) {
			t.Errorf("fronts %q, want %q", got, want)
		}
	})
}

// Instances of the host's network listen on the node itself, whatever their
// image says.
func TestImagePortsNeedANetwork(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.policy.HostNetwork = true
		w.start()
		w.driver.ExposeImage("registry.example.com/db:1", "5432/tcp")
		w.commit(service("db", "db:1", imagePorts, func(s *planner.Service) { s.Template.HostNetwork = true }))
		w.settle(5 * time.Second)
		if s := addressOf(w.agent, "db"); s.Address != "" || len(s.Ports) != 0 || len(w.running()) != 1 {
			t.Errorf("%+v; running %v", s, w.running())
		}
	})
}

// portFront is the front of one port of a service's own address on this node.
func (p *player) portFront(name string, port int) runtime.Front {
	at := addressOf(p.agent, name).Address
	for _, f := range p.network.Balancing().Fronts {
		if f.Kind == runtime.FrontService && f.Address == at && f.Port == port && at != "" {
			return f
		}
	}
	return runtime.Front{}
}

// Nodes tell each other what the images of their instances expose: every node
// leads to all of them, also after its agent was started again, and to those
// alone whose image has the port.
func TestImagePortsInFleet(t *testing.T) {
	play(t, 3, func(b *band) {
		for _, p := range b.nodes {
			p.driver.ExposeImage("registry.example.com/db:1", "5432/tcp")
			p.driver.ExposeImage("registry.example.com/db:2", "5432/tcp", "9187/tcp")
		}
		wantPort := func(port, n int) {
			t.Helper()
			for _, p := range b.nodes {
				f := p.portFront("db", port)
				if len(f.Targets) != n {
					t.Errorf("%s leads port %d to %v, want %d targets", p.name, port, f.Targets, n)
				}
				for _, at := range f.Targets {
					for _, other := range b.nodes {
						if other != p && other.host() == at.Address && !other.opens(at.Port) {
							t.Errorf("%s leads to %s:%d, which leads nowhere", p.name, other.name, at.Port)
						}
					}
				}
			}
		}
		b.commit(service("db", "db:1", replicas(2), imagePorts))
		b.settle(30 * time.Second)
		wantPort(5432, 2)
		before := b.nodes[0].network.Balancing()
		b.nodes[0].crash()
		done := len(b.nodes[0].network.Balanced())
		b.nodes[0].start()
		b.settle(30 * time.Second)
		for _, now := range b.nodes[0].network.Balanced()[done:] {
			if fmt.Sprint(now) != fmt.Sprint(before) {
				t.Errorf("a new agent changes what stands:\n%v\n%v", before, now)
			}
		}
		b.commit(service("db", "db:2", replicas(2), imagePorts))
		b.settle(2 * time.Minute)
		wantPort(5432, 2)
		wantPort(9187, 2)
		b.commit(service("db", "db:1", replicas(2), imagePorts))
		b.settle(2 * time.Minute)
		wantPort(5432, 2)
		wantPort(9187, 0)
	})
}

// A port is led to instances whose image exposes it: while an update runs, no
// port is led to an instance that does not have it.
func TestImagePortsFollowTheirInstances(t *testing.T) {
	old := local{id: "a", slot: "0", takes: true, own: true, address: addresses{"10.0.0.1"}, image: []imagePort{{planner.ImagePort{Port: 80, Protocol: "tcp"}, 20000}}}
	fresh := local{id: "b", slot: "0", runs: true, own: true, address: addresses{"10.0.0.2"}, image: []imagePort{{planner.ImagePort{Port: 81, Protocol: "tcp"}, 20001}}}
	there := remote{node: "n2", slot: "1", address: "192.0.2.2", image: []imagePort{{planner.ImagePort{Port: 81, Protocol: "tcp"}, 20005}}}
	l := &led{service: service("web", "a", imagePorts), address: addresses{"10.232.0.1"}, here: []local{old, fresh}}
	l.addImagePorts(nil)
	fronts := func() (out []string) {
		for _, f := range l.fronts() {
			out = append(out, describeFront(f))
		}
		return out
	}
	// What is not ready gets nothing while another instance takes connections.
	want := []string{
		"10.232.0.1:80 → 10.0.0.1:80", "10.232.0.1:81 →",
		":20000 → 10.0.0.1:80", ":20001 →",
	}
	if got := fronts(); !slices.Equal(got, want) {
		t.Errorf("fronts %q, want %q", got, want)
	}
	// What another node has joins; what is here is laid beside it again.
	l = &led{service: service("web", "a", imagePorts), address: l.address, here: []local{old, fresh}, there: []remote{there}}
	l.addImagePorts(nil)
	l = &led{service: service("web", "a", imagePorts), address: l.address, here: []local{fresh}, there: l.there}
	l.addImagePorts(nil)
	want = []string{"10.232.0.1:81 → 192.0.2.2:20005", ":20001 → 192.0.2.2:20005"}
	if got := fronts(); !slices.Equal(got, want) {
		t.Errorf("fronts %q, want %q", got, want)
	}
}

// A node announces no more than it may, what is declared first.
func TestImagePortsAreBounded(t *testing.T) {
	l := local{slot: "0", own: true, address: addresses{"10.0.0.1"}}
	s := service("web", "a", imagePorts)
	for k := range planner.MaxEndpoints {
		s.Ports = append(s.Ports, planner.Port{Container: 1000 + k, Protocol: "tcp"})
		l.ports, l.hostPorts = append(l.ports, 1000+k), append(l.hostPorts, 20000+k)
	}
	l.image = []imagePort{{planner.ImagePort{Port: 80, Protocol: "tcp"}, 21000}, {planner.ImagePort{Port: 1001, Protocol: "tcp"}, 20001}}
	all := &led{service: s, here: []local{l}}
	all.addImagePorts(nil)
	told := all.here[0].serves(s.ID, all.service.Ports).Endpoints
	if len(told) != planner.MaxEndpoints || told[0].Exposed || !told[1].Exposed || told[63].Container != 1063 {
		t.Errorf("%d endpoints: %+v", len(told), told)
	}
}

// What the API tells of them: a target that has a declared port is one for
// Prometheus, not two.
func TestImagePortsAreShownOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.driver.ExposeImage("registry.example.com/db:1", "5432/tcp", "8080/tcp")
		w.commit(service("db", "db:1", served(80), imagePorts, func(s *planner.Service) { s.Aliases = []string{"store"} }))
		w.settle(5 * time.Second)
		h := api.Handler(api.Options{Endpoints: w.agent.Endpoints})
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest("GET", "http://127.0.0.1/v1/http_sd", nil))
		if got := answer.Body.String(); strings.Count(got, ":8080") != 1 || strings.Count(got, ":5432") != 1 {
			t.Errorf("targets %s", got)
		}
		if s := addressOf(w.agent, "db"); !slices.Equal(s.Aliases, []string{"store"}) || !s.Ports[1].Image || s.Ports[0].Image {
			t.Errorf("%+v", s)
		}
	})
}

// BenchmarkImagePorts is what a service of 100 instances costs more in each pass
// for the ports of its images.
func BenchmarkImagePorts(b *testing.B) {
	ports := planner.ParseImagePorts([]string{"5432/tcp", "9187/tcp"})
	var image []imagePort
	for k, p := range ports {
		image = append(image, imagePort{p, 20000 + k})
	}
	l := &led{service: service("db", "db:1", imagePorts), here: make([]local, 10), there: make([]remote, 90)}
	for k := range l.here {
		l.here[k].image = image
	}
	for k := range l.there {
		l.there[k].image = image
	}
	declared := l.service.Ports
	l.addImagePorts(nil)
	before := &led{service: l.service, here: l.here, there: l.there}
	b.ReportAllocs()
	for b.Loop() {
		l.service.Ports = declared
		l.addImagePorts(before)
	}
}
