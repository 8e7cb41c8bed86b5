package runtimetest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// execCases are for drivers that run commands in instances; others count them
// as skipped.
var execCases = []testCase{
	{name: "Exec/OutputAndCode", needs: real, run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		var out strings.Builder
		if code, err := s.exec(s.Context(), w, &out, "say", "hello"); err != nil || code != 0 || out.String() != "hello\n" {
			s.Errorf("Exec: code %d, %v, %q", code, err, out.String())
		}
		if code, err := s.exec(s.Context(), w, nil, "exit", "7"); err != nil || code != 7 {
			s.Errorf("Exec: code %d, %v; want 7", code, err)
		}
		s.must(w.ID, planner.StateRunning)
	}},

	{name: "Exec/EndsWithItsContext", needs: real, run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		ctx, cancel := context.WithTimeout(s.Context(), 500*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := s.exec(ctx, w, nil, "ignore"); err == nil {
			s.Errorf("a command that ignores signals ended by itself")
		}
		if took := time.Since(began); took > patience {
			s.Errorf("a command that ignores signals ended after %s", took)
		}
		s.must(w.ID, planner.StateRunning)
	}},

	{name: "Exec/NotFound", needs: real, run: func(s *scene) {
		w := s.workload("sleep")
		if _, err := s.exec(s.Context(), w, nil, "exit", "0"); !errors.Is(err, runtime.ErrNotFound) {
			s.Errorf("Exec in nothing: %v; want ErrNotFound", err)
		}
	}},
}

// exec runs the payload with arguments in an instance.
func (s *scene) exec(ctx context.Context, w runtime.Workload, out *strings.Builder, args ...string) (int, error) {
	e, can := s.driver.(runtime.Execer)
	if !can {
		s.Skip("not run: the driver runs no commands")
	}
	program := "/proc/1/exe" // in a container
	if command := w.Containers[0].Command; len(command) > 0 {
		program = command[0]
	}
	var streams runtime.Streams
	if out != nil {
		streams.Out = out
	}
	code, err := e.Exec(ctx, w.ID, planner.MainContainer, append([]string{program}, args...), streams)
	if errors.Is(err, errors.ErrUnsupported) {
		s.Skip("not run: the driver runs no commands")
	}
	return code, err
}
