//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
)

// serveExec is an agent that runs commands as it is told.
func serveExec(t *testing.T, run func(context.Context, api.ExecRequest, runtime.Streams) (int, error)) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "orph") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "orpheus.sock")
	server, err := api.Listen(api.Options{Socket: socket, Status: func() *api.Status { return &api.Status{} }, Exec: run})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func program(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// TestExecStreams: what goes in and comes out without a terminal, and the code.
func TestExecStreams(t *testing.T) {
	socket := serveExec(t, func(_ context.Context, req api.ExecRequest, s runtime.Streams) (int, error) {
		switch req.Argv[0] {
		case "missing":
			return 0, &runtime.CommandError{Code: runtime.CodeNoProgram, Err: fmt.Errorf("no program %s in %s", req.Argv[0], req.Target)}
		case "refused":
			return 0, fmt.Errorf("%s does not run on this node now", req.Target)
		}
		_, _ = fmt.Fprintf(s.Err, "%q in %s of %s", req.Argv, req.Container, req.Target)
		if s.In != nil {
			_, _ = io.Copy(s.Out, s.In)
		}
		return 3, nil
	})
	for _, row := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"with input", []string{"-i", "-c", "main", "web-0", "--", "cat", "-n", "--", "x"}, 3, "typed", `["cat" "-n" "--" "x"] in main of web-0`},
		{"without", []string{"web", "--", "date"}, 3, "", `["date"] in  of web`},
		{"a program that is not there", []string{"web", "--", "missing"}, 127, "", "Error: no program missing in web\n"},
		{"what the agent refuses", []string{"web", "--", "refused"}, 1, "", "Error: web does not run on this node now\n"},
		{"without dashes", []string{"web", "date"}, 2, "", "Error: write the command behind two dashes: orpheus exec web -- COMMAND\n"},
		{"without a command", []string{"web", "--"}, 2, "", "Error: write the command behind two dashes: orpheus exec web -- COMMAND\n"},
		{"a terminal without one", []string{"-it", "web", "--", "sh"}, 2, "", "Error: standard input is no terminal: leave out -t\n"},
	} {
		cmd := program(t, append([]string{"--socket", socket, "exec"}, row.args...)...)
		var out, errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("typed"), &out, &errs
		_ = cmd.Run() // its code tells
		if code := cmd.ProcessState.ExitCode(); code != row.code || out.String() != row.stdout || errs.String() != row.stderr {
			t.Errorf("%s: code %d, %q, %q; want %d, %q, %q", row.name, code, out.String(), errs.String(), row.code, row.stdout, row.stderr)
		}
	}
}

// onTerminal is the program with a terminal of its own, and who sits at it.
type onTerminal struct {
	t        *testing.T
	keyboard *os.File
	tty      *os.File
	before   *term.State
	cmd      *exec.Cmd

	mu     sync.Mutex
	screen bytes.Buffer
}

func startOnTerminal(t *testing.T, args ...string) *onTerminal {
	t.Helper()
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	o := &onTerminal{t: t, keyboard: keyboard, tty: tty}
	t.Cleanup(func() { keyboard.Close(); tty.Close() })
	if err := pty.Setsize(keyboard, &pty.Winsize{Cols: 100, Rows: 30}); err != nil {
		t.Fatal(err)
	}
	if o.before, err = term.GetState(int(tty.Fd())); err != nil {
		t.Fatal(err)
	}
	o.cmd = program(t, args...)
	o.cmd.Stdin, o.cmd.Stdout, o.cmd.Stderr = tty, tty, tty
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buffer)
			o.mu.Lock()
			o.screen.Write(buffer[:n])
			o.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return o
}

func (o *onTerminal) shows(text string) {
	o.t.Helper()
	shown := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		o.mu.Lock()
		shown = o.screen.String()
		o.mu.Unlock()
		if strings.Contains(shown, text) {
			return
		}
	}
	o.t.Fatalf("the terminal does not show %q: %q", text, shown)
}

func (o *onTerminal) types(text string) {
	o.t.Helper()
	if _, err := io.WriteString(o.keyboard, text); err != nil {
		o.t.Fatal(err)
	}
}

// ends demands an exit code, and the terminal as it was before.
func (o *onTerminal) ends(want int) {
	o.t.Helper()
	_ = o.cmd.Wait() // its code tells
	if code := o.cmd.ProcessState.ExitCode(); code != want {
		o.t.Errorf("exit code %d, want %d", code, want)
	}
	after, err := term.GetState(int(o.tty.Fd()))
	if err != nil || !reflect.DeepEqual(after, o.before) {
		o.t.Errorf("the terminal was left as %+v, %v; it was %+v", after, err, o.before)
	}
}

// TestExecOnTerminal: its size and what is typed arrive, Ctrl-C is typed like
// anything else, and the terminal is left as it was found.
func TestExecOnTerminal(t *testing.T) {
	socket := serveExec(t, func(ctx context.Context, _ api.ExecRequest, s runtime.Streams) (int, error) {
		size := func(w runtime.WindowSize) { _, _ = fmt.Fprintf(s.Out, "size %dx%d;", w.Columns, w.Rows) }
		size(s.Terminal.Size)
		typed := make(chan byte)
		go func() {
			buffer := make([]byte, 1)
			for {
				if _, err := s.In.Read(buffer); err != nil {
					return
				}
				typed <- buffer[0]
			}
		}()
		for {
			select {
			case w := <-s.Terminal.Resize:
				size(w)
			case c := <-typed:
				_, _ = fmt.Fprintf(s.Out, "key %d;", c)
				if c == 'q' {
					return 5, nil
				}
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
	})
	o := startOnTerminal(t, "--socket", socket, "exec", "-it", "web-0", "--", "top")
	o.shows("size 100x30;")
	if err := pty.Setsize(o.keyboard, &pty.Winsize{Cols: 120, Rows: 40}); err != nil {
		t.Fatal(err)
	}
	o.shows("size 120x40;")
	o.types("\x03\x1a\x04")
	o.shows("key 3;key 26;key 4;")
	o.types("q")
	o.ends(5)
}

// TestExecIsKilled: a signal ends the session, and the terminal is left as it
// was found.
func TestExecIsKilled(t *testing.T) {
	ended := make(chan struct{})
	socket := serveExec(t, func(ctx context.Context, _ api.ExecRequest, s runtime.Streams) (int, error) {
		_, _ = io.WriteString(s.Out, "begun")
		<-ctx.Done()
		close(ended)
		return 0, ctx.Err()
	})
	o := startOnTerminal(t, "--socket", socket, "exec", "-it", "web-0", "--", "sleep")
	o.shows("begun")
	if err := o.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	o.ends(128 + int(syscall.SIGTERM))
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the command goes on")
	}
}
