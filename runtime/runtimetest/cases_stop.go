package runtimetest

import (
	"context"
	"errors"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

var stopCases = []testCase{
	{name: "Stop/Term", run: func(s *scene) {
		w := s.beginReady(s.workload("trap"))
		s.stop(w.ID, patience)
		if e := s.wait(w.ID); e.Code != 100+15 {
			s.Errorf("exit is %+v; want code 115: ended by SIGTERM", e)
		}
		s.must(w.ID, planner.StateExited)
	}},

	{name: "Stop/OwnSignal", run: func(s *scene) {
		w := s.workload("trap")
		w.Containers[0].StopSignal = "SIGINT"
		s.beginReady(w)
		s.stop(w.ID, patience)
		if e := s.wait(w.ID); e.Code != 100+2 {
			s.Errorf("exit is %+v; want code 102: ended by SIGINT", e)
		}
	}},

	{name: "Stop/OwnSignalSurvivesTheAgent", run: func(s *scene) {
		w := s.workload("trap")
		w.Containers[0].StopSignal = "SIGUSR1"
		s.beginReady(w)
		s.restartAgent()
		s.stop(w.ID, patience)
		if e := s.wait(w.ID); e.Code != 100+10 {
			s.Errorf("exit is %+v; want code 110: ended by SIGUSR1", e)
		}
	}},

	{name: "Stop/KillsAfterGrace", run: func(s *scene) {
		w := s.beginReady(s.workload("ignore"))
		const grace = 300 * time.Millisecond
		begin := time.Now()
		s.stop(w.ID, grace)
		if took := time.Since(begin); took < grace {
			s.Errorf("killed after %s; the grace is %s", took, grace)
		}
		if e := s.wait(w.ID); e.Code != 128+9 {
			s.Errorf("exit is %+v; want code 137", e)
		}
	}},

	{name: "Stop/TakesTheWholeTree", needs: real, run: func(s *scene) {
		token := id("tree")
		w := s.beginReady(s.workload("tree", token))
		if n := len(carriers(s.T, token)); n < 5 {
			s.Fatalf("%d processes of the tree run; want 5", n)
		}
		s.stop(w.ID, 50*time.Millisecond)
		if left := carriers(s.T, token); len(left) > 0 {
			s.Errorf("processes %d survived Stop", left)
		}
	}},

	{name: "Stop/TakesTheTreeOfAnExited", needs: real, run: func(s *scene) {
		token := id("orphans")
		w := s.beginReady(s.workload("tree", token))
		s.kill(s.pid(w.ID))
		s.wait(w.ID)
		s.stop(w.ID, 0)
		if left := carriers(s.T, token); len(left) > 0 {
			s.Errorf("processes %d survived Stop", left)
		}
	}},

	{name: "Stop/ContextEnds", run: func(s *scene) {
		w := s.beginReady(s.workload("ignore"))
		ctx, cancel := context.WithTimeout(s.Context(), 100*time.Millisecond)
		defer cancel()
		if err := s.driver.Stop(ctx, w.ID, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			s.Fatalf("Stop: %v; want the end of the context", err)
		}
		s.must(w.ID, planner.StateRunning)
		s.stop(w.ID, 0)
		s.must(w.ID, planner.StateExited)
	}},

	{name: "Stop/Again", run: func(s *scene) {
		w := s.begin(s.workload("sleep"))
		s.stop(w.ID, 0)
		s.stop(w.ID, 0)
		s.must(w.ID, planner.StateExited)
		s.remove(w.ID)
		s.stop(w.ID, 0)
	}},

	{name: "Stop/UnknownInstance", run: func(s *scene) { s.stop("nobody", time.Hour) }},

	{name: "Remove/Running", run: func(s *scene) {
		w := s.beginReady(s.workload("ignore"))
		s.remove(w.ID)
		if i := s.find(w.ID); i != nil {
			s.Errorf("listed after Remove: %+v", *i)
		}
	}},

	{name: "Remove/TakesTheWholeTree", needs: real, run: func(s *scene) {
		token := id("tree")
		w := s.beginReady(s.workload("tree", token))
		s.remove(w.ID)
		if left := carriers(s.T, token); len(left) > 0 {
			s.Errorf("processes %d survived Remove", left)
		}
	}},

	{name: "Remove/Again", run: func(s *scene) {
		w := s.begin(s.workload("exit", "0"))
		s.wait(w.ID)
		s.remove(w.ID)
		s.remove(w.ID)
		s.remove("nobody")
		if i := s.find(w.ID); i != nil {
			s.Errorf("listed after Remove: %+v", *i)
		}
	}},
}
