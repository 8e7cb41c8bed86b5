package runtimetest

import (
	"context"
	"errors"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var waitCases = []testCase{
	{name: "Wait/ExitCode", run: func(s *scene) {
		w := s.begin(s.workload("exit", "42"))
		e := s.wait(w.ID)
		if e.Code != 42 || e.Signal != 0 || e.OOM || e.Unknown {
			s.Errorf("exit is %+v; want code 42", e)
		}
		if e.Container != "main" {
			s.Errorf("exit names container %q; want main", e.Container)
		}
		if age := time.Since(e.At); age < -time.Second || age > patience {
			s.Errorf("exit is %s ago", age)
		}
		i := s.must(w.ID, planner.StateExited)
		if i.Exit == nil || i.Exit.Code != 42 {
			s.Errorf("the listing has the exit %+v; want code 42", i.Exit)
		}
		if again := s.wait(w.ID); again.Code != 42 {
			s.Errorf("second Wait: %+v; want the same", again)
		}
	}},

	{name: "Wait/SeesTheExitHappen", run: func(s *scene) {
		w := s.beginReady(s.workload("trap"))
		got := make(chan planner.Exit, 1)
		go func() {
			e, err := s.driver.Wait(s.Context(), w.ID)
			if err != nil {
				s.Errorf("Wait: %v", err)
			}
			got <- e
		}()
		s.stop(w.ID, patience)
		if e := <-got; e.Code != 100+15 {
			s.Errorf("exit is %+v; want code 115", e)
		}
	}},

	{name: "Wait/Killed", needs: real, run: func(s *scene) {
		w := s.begin(s.workload("sleep"))
		s.kill(s.pid(w.ID))
		e := s.wait(w.ID)
		if e.Code != 128+9 || e.Signal != 9 && e.Signal != 0 || e.OOM || e.Unknown {
			s.Errorf("exit is %+v; want code 137 by signal 9, not for memory", e)
		}
	}},

	{name: "Wait/UnknownInstance", run: func(s *scene) {
		if _, err := s.driver.Wait(s.Context(), "nobody"); !errors.Is(err, runtime.ErrNotFound) {
			s.Errorf("Wait: %v; want ErrNotFound", err)
		}
	}},

	{name: "Wait/ContextEnds", run: func(s *scene) {
		w := s.begin(s.workload("sleep"))
		ctx, cancel := context.WithCancel(s.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := s.driver.Wait(ctx, w.ID)
			failed <- err
		}()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			s.Errorf("Wait: %v; want the end of the context", err)
		}
		s.must(w.ID, planner.StateRunning)
	}},

	{name: "Watch/HintsAtAnExit", run: func(s *scene) {
		watcher, ok := s.driver.(runtime.Watcher)
		if !ok {
			s.Skip("not run: the driver is no Watcher")
		}
		w := s.beginReady(s.workload("trap"))
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		hints, err := watcher.Watch(ctx)
		if err != nil {
			s.Fatalf("Watch: %v", err)
		}
		s.stop(w.ID, patience)
		select {
		case _, open := <-hints:
			if !open {
				s.Error("the channel is closed while the context lives")
			}
		case <-time.After(patience):
			s.Error("no hint after an exit")
		}
		cancel()
		for range hints { // must be closed
		}
	}},
}
