package agent

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// localFleet is an agent that follows n services, of which the first few run
// on its node.
func localFleet(t testing.TB, n, local int) *Agent {
	t.Helper()
	a, err := New(Config{
		Node: planner.Node{Name: "n1"}, StateDir: t.TempDir(), Source: newFakeSource(), Relate: newFakeSource().relate,
		Drivers: map[string]runtime.Driver{planner.DriverContainerd: runtimetest.NewFake(planner.DriverContainerd)},
		Volumes: runtimetest.NewFakeVolumes(), Log: slog.New(slog.DiscardHandler),
		Clock: func() planner.Time { return planner.Time{Boot: time.Hour, Wall: time.Unix(1e9, 0)} },
	})
	if err != nil {
		t.Fatal(err)
	}
	services := map[planner.ServiceID]planner.Service{}
	for i := range n {
		s := planner.Service{ID: numbered(i), Replicas: 1}
		if i >= local {
			s.NodeSelector = map[string]string{planner.LabelNode: "n2"}
		}
		services[s.ID] = s
	}
	a.followed(planner.Followed{Commit: planner.Commit{Hash: "c1"}, Services: services})
	return a
}

func numbered(i int) planner.ServiceID {
	return planner.ServiceID{Namespace: "default", Name: fmt.Sprintf("s%05d", i)}
}

// A pass goes over what runs here, what has leases and what is found running,
// each once and in order, and over nothing else of the repository.
func TestConcerned(t *testing.T) {
	a := localFleet(t, 100, 2)
	a.state.docs[numbered(50)] = planner.LeaseDoc{Service: numbered(50)} // ran here once
	a.state.docs[numbered(1)] = planner.LeaseDoc{Service: numbered(1)}   // runs here
	found := []planner.Instance{
		{ID: "s00070-0-a", Slot: planner.SlotID{Service: numbered(70), Name: "0"}}, // no record of it
		{ID: "s00001-0-a", Slot: planner.SlotID{Service: numbered(1), Name: "0"}},
	}
	got := a.concerned(found)
	if want := []planner.ServiceID{numbered(0), numbered(1), numbered(50), numbered(70)}; !slices.Equal(got, want) {
		t.Errorf("concerned: %v, want %v", got, want)
	}
	a.drivers[planner.DriverContainerd].listed = true
	if got := a.decidable(found).Services; len(got) != 4 {
		t.Errorf("leases are decided for %d services, want 4", len(got))
	}
	// Another commit moves a service here and takes another away.
	services := map[planner.ServiceID]planner.Service{numbered(0): {ID: numbered(0), NodeSelector: map[string]string{"x": "y"}}, numbered(9): {ID: numbered(9)}}
	a.followed(planner.Followed{Commit: planner.Commit{Hash: "c2"}, Services: services})
	if want := []planner.ServiceID{numbered(9)}; !slices.Equal(a.here, want) {
		t.Errorf("here: %v, want %v", a.here, want)
	}
}

// BenchmarkPass is one pass with 20 services of the node in a repository of as
// many as the name says: the fleet's size must not show.
func BenchmarkPass(b *testing.B) {
	for _, n := range []int{20, 10_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			a := localFleet(b, n, 20)
			a.timer = time.NewTimer(time.Hour)
			a.swept = time.Hour
			d := a.drivers[planner.DriverContainerd]
			d.listed, d.err = true, nil
			b.ReportAllocs()
			for b.Loop() {
				a.pass(b.Context())
			}
		})
	}
}
