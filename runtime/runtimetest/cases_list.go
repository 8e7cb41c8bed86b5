package runtimetest

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

var listCases = []testCase{
	{name: "List/Identity", run: func(s *scene) {
		w := s.workload("sleep")
		// The longest and oddest names that are legal.
		w.ID = id("a.b-") + ".z"
		w.ID += strings.Repeat("9", 63-len(w.ID))
		w.Slot = planner.SlotID{
			Service: planner.ServiceID{Namespace: strings.Repeat("n", 63), Name: "0--" + strings.Repeat("x", 59) + "9"},
			Name:    "node-7.rack-2." + strings.Repeat("sub.", 50) + "example",
		}
		w.Node = planner.NodeName(w.Slot.Name)
		w.Epoch, w.Token = math.MaxUint64, math.MaxUint64-1
		w.Revision = planner.Revision("r1-" + strings.Repeat("e3", 32))
		w.Grace = 7*time.Second + 5*time.Millisecond
		s.begin(w)
		s.checkIdentity(w.ID, planner.Instance{
			ID: w.ID, Driver: s.info.Name, Slot: w.Slot, Node: w.Node, Epoch: w.Epoch, Token: w.Token,
			Revision: w.Revision, State: planner.StateRunning, GracePeriod: w.Grace,
		})
		s.restartAgent()
		s.stop(w.ID, 0)
		s.checkIdentity(w.ID, planner.Instance{
			ID: w.ID, Driver: s.info.Name, Slot: w.Slot, Node: w.Node, Epoch: w.Epoch, Token: w.Token,
			Revision: w.Revision, State: planner.StateExited, GracePeriod: w.Grace,
		})
	}},

	{name: "List/ZeroGrace", run: func(s *scene) {
		w := s.workload("sleep")
		w.Grace = 0
		s.begin(w)
		if i := s.must(w.ID, planner.StateRunning); i.GracePeriod != 0 {
			s.Errorf("grace is listed as %s; want 0", i.GracePeriod)
		}
	}},

	{name: "List/Many", run: func(s *scene) {
		const n = 12
		want := map[string]planner.InstanceState{}
		for k := range n {
			if k%3 == 0 {
				w := s.begin(s.workload("exit", "1"))
				s.wait(w.ID)
				want[w.ID] = planner.StateExited
				continue
			}
			want[s.begin(s.workload("sleep")).ID] = planner.StateRunning
		}
		have := s.list()
		if len(have) != n {
			s.Errorf("%d instances are listed; want %d", len(have), n)
		}
		for _, i := range have {
			if want[i.ID] != i.State {
				s.Errorf("%s is %s; want %s", i.ID, i.State, want[i.ID])
			}
		}
	}},

	{name: "List/AllOrAnError", run: func(s *scene) {
		for range 3 {
			s.begin(s.workload("sleep"))
		}
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		if have, err := s.driver.List(ctx); err == nil && len(have) != 3 {
			s.Errorf("List with an ended context returns %d of 3 instances and no error", len(have))
		}
	}},
}

// checkIdentity compares everything but times and containers.
func (s *scene) checkIdentity(id string, want planner.Instance) {
	s.Helper()
	got := s.find(id)
	if got == nil {
		s.Fatalf("%s is not listed", id)
	}
	if got.ID != want.ID || got.Driver != want.Driver || got.Slot != want.Slot || got.Node != want.Node ||
		got.Epoch != want.Epoch || got.Token != want.Token || got.Revision != want.Revision ||
		got.State != want.State || got.GracePeriod != want.GracePeriod {
		s.Errorf("listed as\n%+v; want\n%+v", *got, want)
	}
}
