package runtimetest

import (
	"errors"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

var limitCases = []testCase{
	{name: "Limits/Memory", needs: needs("LimitsMemory", func(c runtime.Capabilities) bool { return c.LimitsMemory }), run: func(s *scene) {
		w := s.workload("memory")
		w.Containers[0].Resources.Limits.MemoryBytes = 32 << 20
		s.begin(w)
		e := s.wait(w.ID)
		if e.Code != 128+9 {
			s.Errorf("exit is %+v; want code 137", e)
		}
		if s.info.Capabilities.OOM && !e.OOM {
			s.Errorf("exit is %+v; want it flagged as out of memory", e)
		}
		if i := s.must(w.ID, planner.StateExited); s.info.Capabilities.OOM && (i.Exit == nil || !i.Exit.OOM) {
			s.Errorf("listed with exit %+v; want it flagged as out of memory", i.Exit)
		}
	}},

	{name: "Limits/PIDs", needs: all(real, needs("LimitsPIDs", func(c runtime.Capabilities) bool { return c.LimitsPIDs })), run: func(s *scene) {
		w := s.workload("fork", "200")
		w.Containers[0].Resources.Limits.PIDs = 40
		s.begin(w)
		// A Go program that gets no thread may also end by itself.
		if !within(patience, func() bool {
			i := s.find(w.ID)
			return strings.Contains(s.log(w), "fork") || i != nil && i.State == planner.StateExited
		}) {
			s.Fatalf("no answer from the payload: %q", s.log(w))
		}
		if strings.Contains(s.log(w), "forked all") {
			s.Error("200 processes were started with a limit of 40")
		}
	}},

	{name: "Limits/CPU", needs: all(real, needs("LimitsCPU", func(c runtime.Capabilities) bool { return c.LimitsCPU })), run: func(s *scene) {
		reader, ok := s.driver.(runtime.Stats)
		if !ok {
			s.Skip("not run: the driver reads no Stats")
		}
		w := s.workload("burn") // wants two cores
		w.Containers[0].Resources.Limits.CPUMillis = 200
		s.begin(w)
		use := func() time.Duration {
			u, err := reader.Stats(s.Context(), w.ID)
			if errors.Is(err, errors.ErrUnsupported) {
				s.Skip("not run: the driver reads no Stats")
			}
			if err != nil {
				s.Fatalf("Stats: %v", err)
			}
			return u.CPU
		}
		begin, used := time.Now(), use()
		if !within(patience, func() bool { return use()-used > 200*time.Millisecond }) {
			s.Fatal("200 ms of CPU are not used up")
		}
		// A fifth of a core needs a second for this, two cores a tenth.
		if took := time.Since(begin); took < 600*time.Millisecond {
			s.Errorf("200 ms of CPU were used within %s; want about a second", took)
		}
	}},
}
