package runtimetest

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var startCases = []testCase{
	{name: "Start/Runs", run: func(s *scene) {
		w := s.begin(s.workload("sleep"))
		i := s.must(w.ID, planner.StateRunning)
		if len(i.Containers) != 1 || i.Containers[0].Name != "main" || i.Containers[0].State != planner.StateRunning || i.Containers[0].PID <= 0 {
			s.Errorf("containers are %+v; want main, running, with a process id", i.Containers)
		}
		if i.Exit != nil {
			s.Errorf("a running instance has the exit %+v", *i.Exit)
		}
		if age := time.Since(i.StartedAt); age < -time.Second || age > patience {
			s.Errorf("StartedAt is %s ago", age)
		}
	}},

	{name: "Start/RunningIsSuccess", run: func(s *scene) {
		w := s.begin(s.workload("sleep"))
		before := s.pid(w.ID)
		if err := s.driver.Start(s.Context(), w); err != nil {
			s.Fatalf("second Start: %v", err)
		}
		if after := s.pid(w.ID); after != before {
			s.Errorf("the process is %d, was %d: it was restarted", after, before)
		}
		if n := len(s.list()); n != 1 {
			s.Errorf("%d instances are listed; want 1", n)
		}
	}},

	{name: "Start/ReplacesExited", run: func(s *scene) {
		w := s.begin(s.workload("exit", "3"))
		s.wait(w.ID)
		again := s.workload("sleep")
		again.ID, again.Token = w.ID, 2
		s.begin(again)
		if i := s.must(w.ID, planner.StateRunning); i.Token != 2 || i.Exit != nil {
			s.Errorf("listed as %+v; want the new token and no exit", i)
		}
	}},

	{name: "Start/FailureLeavesNothing", run: func(s *scene) {
		w := s.workload("sleep")
		s.prepare(w)
		w.Containers[0].Command = []string{"/nonexistent/program"}
		w.Containers[0].Args = nil
		err := s.driver.Start(s.Context(), w)
		if err == nil {
			s.Fatal("Start of a program that is not there succeeded")
		}
		if !errors.Is(err, runtime.ErrInvalid) || !strings.Contains(err.Error(), "/nonexistent/program") {
			s.Errorf("Start: %v; want ErrInvalid naming the program", err)
		}
		if !errors.Is(err, runtime.ErrNotBegun) {
			s.Errorf("Start: %v; want it to say that nothing was executed", err)
		}
		if i := s.find(w.ID); i != nil {
			s.Errorf("listed after a failed start: %+v", *i)
		}
		s.begin(func() runtime.Workload { again := s.workload("sleep"); again.ID = w.ID; return again }())
		s.must(w.ID, planner.StateRunning)
	}},

	{name: "Start/Concurrently", run: func(s *scene) {
		const n = 20
		var wg sync.WaitGroup
		ws := make([]runtime.Workload, n)
		for k := range ws {
			ws[k] = s.workload("sleep")
		}
		s.prepare(ws[0])
		errs := make([]error, n)
		for k := range ws {
			wg.Go(func() { errs[k] = s.driver.Start(s.Context(), ws[k]) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			s.Fatalf("Start: %v", err)
		}
		pids := map[int]bool{}
		for _, w := range ws {
			pids[s.pid(w.ID)] = true
		}
		if len(pids) != n {
			s.Errorf("%d different processes; want %d", len(pids), n)
		}
		for k := range ws {
			wg.Go(func() {
				errs[k] = errors.Join(s.driver.Stop(s.Context(), ws[k].ID, 0), s.driver.Remove(s.Context(), ws[k].ID))
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			s.Errorf("Stop, Remove: %v", err)
		}
		if have := s.list(); len(have) > 0 {
			s.Errorf("listed after all were removed: %+v", have)
		}
	}},
}
