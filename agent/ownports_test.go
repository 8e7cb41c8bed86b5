package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// listener is a balancer that listens on the node itself, below 1024 at other
// ports.
type listener struct{ *runtimetest.FakeNetwork }

func (listener) ListensOn(port int) int {
	if port < 1024 {
		return port + 10000
	}
	return port
}

// processes is a driver as a node without root has it.
func processes() *runtimetest.Fake {
	procs := runtimetest.NewFake(planner.DriverProcess)
	procs.SetInfo(func(i *runtime.Info) { i.Capabilities = runtime.Capabilities{} })
	return procs
}

func asProcess(s *planner.Service) {
	s.Template.Driver = planner.DriverProcess
	s.Template.Containers[0].Image, s.Template.Containers[0].Command = "", []string{"/bin/" + s.ID.Name}
}

// inRootlessWorld is inWorld on a node that runs processes only, with a balancer
// that listens on the node itself.
func inRootlessWorld(t *testing.T, f func(w *world)) {
	inWorld(t, func(w *world) {
		w.crash()
		w.more = map[string]runtime.Driver{planner.DriverProcess: processes()}
		w.policy.Drivers, w.noNetwork = []string{planner.DriverProcess}, true
		w.start()
		f(w)
	})
}

// closedOf are the ports of a service that are told not to be opened.
func closedOf(a *Agent, name string) (told []string) {
	for _, n := range addressOf(a, name).NotOpened {
		told = append(told, n.String())
	}
	return told
}

// TestOwnPortsAreNotOpened: where the balancer listens on the node itself, it
// listens on no port that programs of the node have or are to have, whosever
// they are, and at no address of a slot; it is told at the service, and is
// nothing wrong.
func TestOwnPortsAreNotOpened(t *testing.T) {
	inRootlessWorld(t, func(w *world) {
		udp := func(s *planner.Service) {
			s.Ports = append(s.Ports, planner.Port{Container: 8081, Protocol: "udp", Port: 8602})
		}
		elsewhere := func(s *planner.Service) { s.NodeSelector = map[string]string{planner.LabelNode: "n2"} }
		w.commit(
			service("web", "", served(80), asProcess),                             // 10080: nobody's
			service("own", "", served(8602), listens(8602), asProcess, udp),       // its program's; datagrams are nobody's
			service("other", "", served(8602), listens(9000), asProcess),          // the program's of own
			service("raised", "", served(443), listens(10443), asProcess),         // would be 10443
			service("far", "", served(7000), listens(7000), asProcess, elsewhere), // never runs here
			service("beside", "", served(7000), listens(7001), asProcess),         // so that this is nobody's here
			service("set", "", served(6000), listens(6000), asProcess, headless),  // has no address
			service("image", "a", served(6001), listens(6001)),                    // a container, which this node does not run
			service("copy", "", served(6001), listens(6002), asProcess),           // so that this is nobody's here
		)
		w.settle(5 * time.Second)
		var open []string
		for _, f := range w.network.Balancing().Fronts {
			open = append(open, f.Service.Name+":"+strings.TrimPrefix(f.Protocol, "tcp")+describeFront(f)[strings.Index(describeFront(f), ":"):])
		}
		slices.Sort(open)
		want := []string{
			"beside::7000 → 127.0.0.1:7001", "copy::6001 → 127.0.0.1:6002", "image::6001 →", "own:udp:8602 → 127.0.0.1:8081", "web::80 → 127.0.0.1:8080",
		}
		if !slices.Equal(open, want) {
			t.Errorf("open are %q, want %q", open, want)
		}
		const way = `; choose another "port" in the manifest, or connect to where its instances are`
		for name, want := range map[string]string{
			"web": "", "beside": "", "set": "",
			"own":    "port 8602/tcp of own is not opened: port 8602 of this node is the program's own" + way,
			"other":  "port 8602/tcp of other is not opened: port 8602 of this node is that of the programs of own" + way,
			"raised": "port 443/tcp of raised is not opened: without root it would be 10443, and port 10443 of this node is the program's own" + way,
		} {
			if got := strings.Join(closedOf(w.agent, name), "; "); got != want {
				t.Errorf("%s: told %q, want %q", name, got, want)
			}
		}
		// One that has a port left has its address, others have none; nor has a slot.
		if addressOf(w.agent, "own").Address == "" || addressOf(w.agent, "other").Address != "" {
			t.Errorf("addresses %+v, %+v", addressOf(w.agent, "own"), addressOf(w.agent, "other"))
		}
		for _, s := range w.agent.Endpoints().Services {
			for _, e := range s.Endpoints {
				if e.SlotAddress != "" || e.State != api.EndpointReady || len(e.Targets) == 0 {
					t.Errorf("%s: %+v", s.Name, e)
				}
			}
		}
		st := w.agent.Status()
		if len(st.Problems) != 0 || len(st.NotOpened) != 3 || !st.NotOpened[0].Meant {
			t.Errorf("problems %q, not opened %+v", st.Problems, st.NotOpened)
		}
	})
}

// TestPortOfAnEarlierRevision: a port is the program's for as long as one runs
// that has it, and is opened once none does.
func TestPortOfAnEarlierRevision(t *testing.T) {
	inRootlessWorld(t, func(w *world) {
		procs := w.more[planner.DriverProcess].(*runtimetest.Fake)
		procs.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{StopDelay: 5 * time.Second}
		})
		first, second := service("web", "", served(8602), listens(8602), asProcess), service("web", "", served(8602), listens(8700), asProcess)
		has := map[planner.Revision]int{first.Revision: 8602, second.Revision: 8700}
		w.commit(first, service("other", "", served(9000), listens(9001), asProcess))
		w.settle(5 * time.Second)
		w.commit(second, service("other", "", served(8700), listens(9001), asProcess))
		for range 300 {
			w.settle(time.Second / 5)
			runs := map[int]bool{}
			for _, i := range procs.Listing() {
				if i.Slot.Service.Name == "web" && i.State == planner.StateRunning {
					runs[has[i.Revision]] = true
				}
			}
			for _, f := range w.network.Balancing().Fronts {
				if f.Port == 8700 || runs[f.Port] {
					t.Fatalf("%d of %s is open; programs have %v", f.Port, f.Service, runs)
				}
			}
		}
		if got := frontsOf(w.network, runtime.FrontService); len(got) != 1 || !strings.HasSuffix(got[0], ":8602 → 127.0.0.1:8700") || len(closedOf(w.agent, "web")) != 0 {
			t.Errorf("fronts %q, closed %q", got, closedOf(w.agent, "web"))
		}
	})
}
