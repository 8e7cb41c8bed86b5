package runtimetest

import (
	"context"
	"errors"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var adoptionCases = []testCase{
	{name: "Adoption/SameProcess", run: func(s *scene) {
		w := s.beginReady(s.workload("sleep"))
		before := s.pid(w.ID)
		s.restartAgent()
		if after := s.pid(w.ID); after != before {
			s.Errorf("the process is %d, was %d", after, before)
		}
		if err := s.driver.Start(s.Context(), w); err != nil {
			s.Fatalf("Start of an adopted instance: %v", err)
		}
		if after := s.pid(w.ID); after != before {
			s.Errorf("the process is %d, was %d: Start restarted it", after, before)
		}
		s.stop(w.ID, patience)
		if e := s.wait(w.ID); e.Code != 0 {
			s.Errorf("exit is %+v; want code 0", e)
		}
	}},

	{name: "Adoption/ExitSeenLater", needs: real, run: func(s *scene) {
		w := s.beginReady(s.workload("sleep"))
		pid := s.pid(w.ID)
		s.close()
		s.kill(pid)
		s.restartAgent()
		if e := s.wait(w.ID); e.Code != 128+9 || e.Unknown {
			s.Errorf("exit is %+v; want code 137", e)
		}
		if i := s.must(w.ID, planner.StateExited); i.Exit == nil || i.Exit.Code != 128+9 {
			s.Errorf("listed with exit %+v; want code 137", i.Exit)
		}
	}},

	{name: "Adoption/BackendRestarts", needs: func(h Harness, _ runtime.Capabilities) string {
		if h.RestartBackend == nil {
			return "the driver has no backend of its own"
		}
		return ""
	}, run: func(s *scene) {
		w := s.beginReady(s.workload("trap"))
		before := s.pid(w.ID)
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		waited := make(chan error, 1)
		go func() { _, err := s.driver.Wait(ctx, w.ID); waited <- err }()
		s.h.RestartBackend(s.T)
		if !within(patience, func() bool { _, err := s.driver.List(s.Context()); return err == nil }) {
			s.Fatal("the same driver object does not find its backend again")
		}
		if after := s.pid(w.ID); after != before {
			s.Errorf("the process is %d, was %d", after, before)
		}
		// The Wait under way may have failed, but must not have seen an exit.
		select {
		case err := <-waited:
			if err == nil || errors.Is(err, runtime.ErrNotFound) {
				s.Errorf("Wait across the restart: %v; want to go on, or an error that means unknown", err)
			}
		default:
		}
		s.stop(w.ID, patience)
		if e := s.wait(w.ID); e.Code != 100+15 {
			s.Errorf("exit is %+v; want code 115", e)
		}
	}},
}
