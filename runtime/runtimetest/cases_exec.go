package runtimetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
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

	{name: "Exec/Input", needs: real, run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		long := strings.Repeat("0123456789abcdef", 16<<10)
		for _, in := range []string{"", "a line\n", long} {
			var out strings.Builder
			code, err := s.command(s.Context(), w, runtime.Streams{In: strings.NewReader(in), Out: &out}, s.payload(w), "cat")
			if err != nil || code != 0 || out.String() != in {
				s.Errorf("cat of %d bytes: code %d, %v, %d bytes", len(in), code, err, out.Len())
			}
		}
	}},

	{name: "Exec/InputIsLeftWhenTheCommandEnds", needs: real, run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		in, keyboard := io.Pipe()
		defer keyboard.Close()
		if code, err := s.command(s.Context(), w, runtime.Streams{In: in}, s.payload(w), "exit", "3"); err != nil || code != 3 {
			s.Errorf("a command that reads nothing: code %d, %v; want 3", code, err)
		}
	}},

	{name: "Exec/StreamsApart", needs: real, run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		var out, errs strings.Builder
		code, err := s.command(s.Context(), w, runtime.Streams{Out: &out, Err: &errs}, s.payload(w), "say", "hello")
		if err != nil || code != 0 || out.String() != "hello\n" || errs.String() != "said 1\n" {
			s.Errorf("say: code %d, %v, %q and %q", code, err, out.String(), errs.String())
		}
	}},

	{name: "Exec/NoSuchCommand", needs: real, run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		for program, want := range map[string]int{
			"no-such-program": runtime.CodeNoProgram, "/no/such/program": runtime.CodeNoProgram, "/proc/version": runtime.CodeNotExecutable,
		} {
			_, err := s.command(s.Context(), w, runtime.Streams{}, program)
			var failed *runtime.CommandError
			if !errors.As(err, &failed) || failed.Code != want || !errors.Is(err, runtime.ErrInvalid) {
				s.Errorf("%s: %v; want a CommandError with %d", program, err, want)
			}
		}
		s.must(w.ID, planner.StateRunning)
	}},

	{name: "Exec/Terminal", needs: all(real, terminals), run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		in, keyboard := io.Pipe()
		defer keyboard.Close()
		var screen transcript
		sizes := make(chan runtime.WindowSize, 1)
		streams := runtime.Streams{In: in, Out: &screen, Terminal: &runtime.Terminal{Size: runtime.WindowSize{Columns: 100, Rows: 30}, Resize: sizes}}
		var code int
		var err error
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			code, err = s.command(s.Context(), w, streams, s.payload(w), "terminal")
		}()
		s.shows(&screen, "terminal 100x30 xterm\r\n")
		sizes <- runtime.WindowSize{Columns: 120, Rows: 40}
		s.shows(&screen, "terminal 120x40 xterm\r\n")
		if _, err := io.WriteString(keyboard, "\x03"); err != nil {
			s.Error(err)
		}
		<-ended
		if err != nil || code != 130 {
			s.Errorf("interrupted from its terminal: code %d, %v; want 130", code, err)
		}
		s.must(w.ID, planner.StateRunning)
	}},

	{name: "Exec/TerminalShowsBothStreams", needs: all(real, terminals), run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		var screen transcript
		code, err := s.command(s.Context(), w, runtime.Streams{Out: &screen, Terminal: &runtime.Terminal{}}, s.payload(w), "say", "hello")
		if err != nil || code != 0 || screen.String() != "hello\r\nsaid 1\r\n" {
			s.Errorf("say on a terminal: code %d, %v, %q", code, err, screen.String())
		}
	}},

	{name: "Exec/TerminalEndsWithItsContext", needs: all(real, terminals), run: func(s *scene) {
		w := s.workload("sleep")
		s.beginReady(w)
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		var screen transcript
		ended := make(chan error, 1)
		go func() {
			_, err := s.command(ctx, w, runtime.Streams{Out: &screen, Terminal: &runtime.Terminal{}}, s.payload(w), "ignore")
			ended <- err
		}()
		s.shows(&screen, "ready\r\n")
		cancel()
		select {
		case err := <-ended:
			if err == nil {
				s.Error("a command that ignores signals ended by itself")
			}
		case <-time.After(patience):
			s.Error("the command goes on after its context has ended")
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

// terminals is the condition of cases that need one.
var terminals = needs("Terminal", func(c runtime.Capabilities) bool { return c.Terminal })

// transcript is what a terminal has shown; it may be read at any time.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// shows waits until a terminal shows a text.
func (s *scene) shows(t *transcript, text string) {
	s.Helper()
	if !within(patience, func() bool { return strings.Contains(t.String(), text) }) {
		s.Fatalf("the terminal does not show %q: %q", text, t.String())
	}
}

// exec runs the payload with arguments in an instance.
func (s *scene) exec(ctx context.Context, w runtime.Workload, out *strings.Builder, args ...string) (int, error) {
	var streams runtime.Streams
	if out != nil {
		streams.Out = out
	}
	return s.command(ctx, w, streams, append([]string{s.payload(w)}, args...)...)
}

// payload is the path of the payload where an instance runs.
func (s *scene) payload(w runtime.Workload) string {
	program := "/proc/1/exe" // in a container
	if command := w.Containers[0].Command; len(command) > 0 {
		program = command[0]
	}
	return program
}

// command runs a command in an instance.
func (s *scene) command(ctx context.Context, w runtime.Workload, streams runtime.Streams, argv ...string) (int, error) {
	e, can := s.driver.(runtime.Execer)
	if !can {
		s.Skip("not run: the driver runs no commands")
	}
	code, err := e.Exec(ctx, w.ID, planner.MainContainer, argv, streams)
	if errors.Is(err, errors.ErrUnsupported) {
		s.Skip("not run: the driver runs no commands")
	}
	return code, err
}
