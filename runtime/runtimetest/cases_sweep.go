package runtimetest

import (
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var sweepCases = []testCase{
	{name: "Sweep/KeepsTheLiving", run: func(s *scene) {
		sweeper, ok := s.driver.(runtime.Sweeper)
		if !ok {
			s.Skip("not run: the driver is no Sweeper")
		}
		keep, gone := s.begin(s.workload("sleep")), s.begin(s.workload("sleep"))
		exited := s.begin(s.workload("exit", "4"))
		s.wait(exited.ID)
		before := s.pid(keep.ID)
		if err := sweeper.Sweep(s.Context(), map[string]bool{keep.ID: true, exited.ID: true, "nobody": true}); err != nil {
			s.Fatalf("Sweep: %v", err)
		}
		if after := s.pid(keep.ID); after != before {
			s.Errorf("the process is %d, was %d", after, before)
		}
		if i := s.must(exited.ID, planner.StateExited); i.Exit == nil || i.Exit.Code != 4 {
			s.Errorf("listed with exit %+v; want code 4", i.Exit)
		}
		if i := s.find(gone.ID); i != nil {
			s.Errorf("not live, but still listed: %+v", *i)
		}
		if err := sweeper.Sweep(s.Context(), nil); err != nil {
			s.Fatalf("Sweep of all: %v", err)
		}
		if have := s.list(); len(have) > 0 {
			s.Errorf("listed after Sweep of all: %+v", have)
		}
	}},
}
