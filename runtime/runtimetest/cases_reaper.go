package runtimetest

import (
	"errors"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// reaperCases are about a first process of the driver's own.
var reaperCases = []testCase{
	{name: "Reaper/Reaps", needs: reaps, run: func(s *scene) {
		uid := int64(12345)
		for _, sec := range []planner.Security{
			{},
			{RunAsUser: &uid, RunAsGroup: &uid, ReadOnlyRootFilesystem: true, DropCapabilities: []string{"ALL"}},
		} {
			w := s.reaped("orphans", "5", "30")
			w.Containers[0].Security = sec
			s.begin(w)
			if e := s.wait(w.ID); e.Code != 0 {
				s.Errorf("%+v: exit is %+v", sec, e)
			}
			s.awaitLog(w, "zombies 0\n")
		}
	}},

	{name: "Reaper/PassesSignalsOn", needs: reaps, run: func(s *scene) {
		w := s.beginReady(s.reaped("plain"))
		s.stop(w.ID, patience) // which the kernel keeps from the first process
		if e := s.wait(w.ID); e.Code != 128+15 {
			s.Errorf("exit is %+v; want code 143: ended by SIGTERM", e)
		}
		w = s.reaped("trap")
		w.Containers[0].StopSignal = "SIGUSR1"
		s.beginReady(w)
		s.stop(w.ID, patience)
		if e := s.wait(w.ID); e.Code != 100+10 {
			s.Errorf("exit is %+v; want code 110: ended by SIGUSR1", e)
		}
	}},

	{name: "Reaper/EndsAsTheProgram", needs: reaps, run: func(s *scene) {
		w := s.begin(s.reaped("exit", "7"))
		if e := s.wait(w.ID); e.Code != 7 || e.Signal != 0 {
			s.Errorf("exit is %+v; want code 7", e)
		}
		token := id("killed")
		w = s.beginReady(s.reaped("ignore", token))
		for _, pid := range carriers(s.T, token) {
			if pid != s.pid(w.ID) {
				s.kill(pid)
			}
		}
		if e := s.wait(w.ID); e.Code != 128+9 || e.Signal != 9 {
			s.Errorf("exit is %+v; want code 137: killed", e)
		}
	}},

	{name: "Reaper/TakesTheWholeTree", needs: reaps, run: func(s *scene) {
		token := id("tree")
		w := s.beginReady(s.reaped("tree", token))
		s.stop(w.ID, 0)
		if left := carriers(s.T, token); len(left) > 0 {
			s.Errorf("processes %d survived Stop", left)
		}
	}},

	// What is said of a program that is not there is the same with and without.
	{name: "Reaper/NoProgram", needs: reaps, run: func(s *scene) {
		for _, program := range []string{"there-is-none", "/nowhere/there-is-none", "./there-is-none", "/etc", "/etc/passwd"} {
			for _, reaper := range []bool{false, true} {
				w := s.reaped()
				w.Containers[0].Command, w.Containers[0].Reaper = []string{program}, reaper
				s.prepare(w)
				err := s.driver.Start(s.Context(), w)
				if !errors.Is(err, runtime.ErrInvalid) || !errors.Is(err, runtime.ErrNotBegun) || !strings.Contains(err.Error(), `exec: "`+program+`"`) {
					s.Errorf("%s, reaper %t: %v; want ErrInvalid and ErrNotBegun", program, reaper, err)
				}
			}
		}
	}},
}

var reaps = all(real, needs("Reaper", func(c runtime.Capabilities) bool { return c.Reaper }))

func (s *scene) reaped(args ...string) runtime.Workload {
	s.Helper()
	w := s.workload(args...)
	w.Containers[0].Reaper = true
	return w
}
