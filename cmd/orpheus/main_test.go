package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// asMain makes the test's binary the program itself.
const asMain = "ORPHEUS_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// orpheus runs the program as people do, away from the machine's own agent.
func orpheus(t testing.TB, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Dir = dir
	// The race detector would wait a second at each exit.
	cmd.Env = append(os.Environ(), asMain+"=1", "HOME="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
	if !strings.Contains(strings.Join(args, " "), "--socket") {
		cmd.Env = append(cmd.Env, "ORPHEUS_SOCKET="+filepath.Join(t.TempDir(), "none.sock"))
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// serveStatus is an agent that answers as it is told.
func serveStatus(t *testing.T, st func() *api.Status, change ...func(*api.Options)) (socket, logRoot string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "orph") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, logRoot = filepath.Join(dir, "orpheus.sock"), filepath.Join(dir, "logs")
	o := api.Options{Socket: socket, Status: st, LogRoot: logRoot}
	for _, c := range change {
		c(&o)
	}
	server, err := api.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket, logRoot
}

func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCommandLine: exit codes and the one line that errors are.
func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string // on stderr, or on stdout when the code is 0
	}{
		{"", 0, "Usage:"},
		{"--help", 0, "validate"},
		{"version", 0, "orpheus "},
		{"completion bash", 0, "__start_orpheus"},
		{"completion zsh", 0, "#compdef orpheus"},
		{"statsu", 2, `Error: there is no verb "statsu"; did you mean status?`},
		{"frobnicate", 2, `Error: there is no verb "frobnicate"; see "orpheus --help"`},
		{"validate one two", 2, `Error: "orpheus validate" cannot be read with 2 arguments; write orpheus validate [DIR]`},
		{"logs", 2, `Error: "orpheus logs" cannot be read with 0 arguments`},
		{"doctor now", 2, `Error: "orpheus doctor" cannot be read with 1 arguments`},
		{"status --colour", 2, `Error: unknown flag: --colour; see "orpheus status --help"`},
		{"version -o yaml", 2, "write text or json"},
		{"logs web --tail=-3", 2, "--tail -3: write a number of lines from 0"},
		{"status", 1, "Error: no agent answers: there is no socket"},
		{"logs web", 1, `start the agent with "orpheus agent"`},
		{"status --socket https://example.com", 2, "neither the path of a socket nor an http URL"},
	} {
		code, stdout, stderr := orpheus(t, t.TempDir(), strings.Fields(c.args)...)
		shown := stderr
		if c.code == 0 {
			shown = stdout
		}
		if code != c.code || !strings.Contains(shown, c.want) {
			t.Errorf("orpheus %s: %d\n%s%s", c.args, code, stdout, stderr)
		}
		if code != 0 && (strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "Usage:")) {
			t.Errorf("orpheus %s says more than one line:\n%s", c.args, stderr)
		}
	}
}

func TestVersionJSON(t *testing.T) {
	_, stdout, _ := orpheus(t, ".", "version", "-o", "json")
	var b buildInfo
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || b.Version == "" || b.OS != goruntime.GOOS {
		t.Errorf("%s: %v", stdout, err)
	}
}

func TestErrorsOfOthersAreHarmless(t *testing.T) {
	var b bytes.Buffer
	printError(&b, fmt.Errorf("first\x1b[2J\nsec\rond"))
	if got, want := b.String(), "Error: first\\x1b[2J\n       sec\\rond\n"; got != want {
		t.Errorf("%q", got)
	}
}

func TestStatusVerb(t *testing.T) {
	all := scenarios()
	now := all["rolling"]
	socket, _ := serveStatus(t, func() *api.Status { return now })
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"status", 0, "web       3/3"},
		{"status web", 0, "SLOT"},
		{"status default/web", 0, "SLOT"},
		{"status shop/api", 0, "shop/api-1"},
		{"status web -o json", 0, `"updated": 2`},
		{"status api", 1, `there is no service "api" on node node-1; it has db, web, shop/api`},
		{"status --exit-code", 3, "web       3/3"},
		{"status web --exit-code", 3, "SLOT"},
		{"status shop/api --exit-code", 0, "SLOT"},
		{"__complete status s", 0, "shop/api"},
		{"__complete logs shop/api", 0, "shop/api-1"},
	} {
		args := append(strings.Fields(c.args), "--socket", socket)
		if strings.HasPrefix(c.args, "__") {
			args = append([]string{"__complete", args[1], "--socket", socket}, args[2:len(args)-2]...)
		}
		code, stdout, stderr := orpheus(t, ".", args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("orpheus %s: %d\n%s%s", c.args, code, stdout, stderr)
		}
		if strings.Contains(stdout, "\x1b") {
			t.Errorf("orpheus %s: colours in a pipe", c.args)
		}
	}
}

// TestStatusExitCode: what counts as not as the repository asks.
func TestStatusExitCode(t *testing.T) {
	for name, st := range scenarios() {
		want := name == "healthy" || name == "pod" || name == "long name"
		if asAsked(st) != want {
			t.Errorf("%s: as asked %v", name, !want)
		}
	}
}

// TestWatchInPipe: a new block for each change, and none for a look that
// found nothing new.
func TestWatchInPipe(t *testing.T) {
	all := scenarios()
	states := make(chan *api.Status, 1)
	states <- all["healthy"]
	socket, _ := serveStatus(t, func() *api.Status {
		st := <-states
		states <- st
		return st
	})
	cmd := exec.CommandContext(t.Context(), os.Args[0], "status", "--watch", "--socket", socket)
	cmd.Env = append(os.Environ(), asMain+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	until := func(what string) {
		t.Helper()
		deadline := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer deadline.Stop()
		buffer := make([]byte, 1)
		for !strings.Contains(text.String(), what) {
			if n, err := out.Read(buffer); err != nil {
				t.Fatalf("%q does not come: %v\n%s", what, err, text.String())
			} else {
				text.Write(buffer[:n])
			}
		}
	}
	until("3 of 3")
	read := *all["healthy"] // the repository was read again
	read.Repository.LastRead = read.Repository.LastRead.Add(time.Second)
	<-states
	states <- &read
	<-states
	states <- all["crash loop"]
	until("exited with code 1")
	if n := strings.Count(text.String(), "--- "); n != 2 {
		t.Errorf("%d blocks:\n%s", n, text.String())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("an interrupted watch: %v", err)
	}
}
