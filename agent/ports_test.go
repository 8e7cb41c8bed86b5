package agent

import (
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestPortsOfTheNodeAreTakenOnce: of two replicas that listen on the same port
// of the node one runs, and the other says what it waits for. When the first
// is gone it starts.
func TestPortsOfTheNodeAreTakenOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.policy.HostNetwork = true
		w.start()
		listens := func(s *planner.Service) {
			s.Template.HostNetwork = true
			s.Template.Containers[0].Ports = []planner.ContainerPort{{ContainerPort: 8080}}
		}
		w.commit(service("a", "a", replicas(2), listens))
		w.settle(20 * time.Second)
		w.wantRunning("a-0 a")
		const why = "port 8080/tcp is taken by another of its instances"
		if i := w.service("a").Instances; len(i) != 2 || i[1].Reason != why {
			t.Errorf("status: %+v", i)
		}
		w.commit(service("b", "b", listens), service("a", "a", listens, replicas(0)))
		w.settle(time.Minute)
		w.wantRunning("b-0 b")
	})
}
