package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestExec is what people do with exec, and what becomes of it when the agent
// is killed.
func TestExec(t *testing.T) {
	onEachDriver(t, devfleet.Options{}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		n.apply("first version", map[string]string{
			"fleet.yaml": fleetYAML,
			"web.yaml":   n.manifest(spec{name: "web", replicas: 2}),
			"db.yaml":    n.manifest(spec{name: "db", env: map[string]string{"COLOUR": "blue"}}),
		})
		before := n.lives()
		program := payload
		if n.driver == planner.DriverContainerd {
			program = "/payload"
		}
		n.pipes(program)
		n.terminal(program)
		n.untouched("commands have run beside them", before)
		n.killedMeanwhile(program)
		n.untouched("the agent was killed while a command ran", before)
		out, _ := n.orpheus("events", "db", "--socket", n.Socket())
		contains(n.t, "orpheus events", out, "db-0 exec", "command="+filepath.Base(program), fmt.Sprintf("uid=%d", os.Getuid()))
		if strings.Contains(out, "a line") {
			n.t.Errorf("orpheus events tells arguments: %s", out)
		}
	})
}

// exec runs a command with this input.
func (n *node) exec(stdin string, args ...string) (code int, stdout, stderr string) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), orpheus, append([]string{"exec", "--socket", n.Socket()}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// pipes are commands without a terminal.
func (n *node) pipes(program string) {
	n.t.Helper()
	long := strings.Repeat("0123456789abcde\n", 64<<10)
	if code, out, errs := n.exec(long, "-i", "db", "--", program, "cat"); code != 0 || out != long {
		n.t.Errorf("cat of %d bytes: code %d, %d bytes, %s", len(long), code, len(out), errs)
	}
	for _, row := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"output and code", []string{"db-0", "--", program, "say", "a line", "7"}, 7, "a line\n", ""},
		{"no input without -i", []string{"db", "--", program, "cat"}, 0, "", ""},
		{"a container by its name", []string{"-c", "main", "db", "--", program, "exit", "3"}, 3, "", ""},
		{"a program that is not there", []string{"db", "--", "/no/such/program"}, 127, "", "/no/such/program"},
		{"one that is none", []string{"db", "--", "/proc/version"}, 126, "", "permission denied"},
		{"a service with two slots", []string{"web", "--", program, "exit", "0"}, 1, "", "name one of web-0, web-1"},
		{"one of them", []string{"web-1", "--", program, "exit", "0"}, 0, "", ""},
		{"nothing here", []string{"shop", "--", program, "exit", "0"}, 1, "", `nothing here is called "shop"`},
		{"no such container", []string{"-c", "proxy", "db", "--", program, "exit", "0"}, 1, "", `no container "proxy"; it has main`},
	} {
		code, out, errs := n.exec("typed", row.args...)
		if code != row.code || out != row.stdout || !strings.Contains(errs, row.stderr) || row.stderr == "" && errs != "" {
			n.t.Errorf("%s: code %d, %q, %q; want %d, %q, %q", row.name, code, out, errs, row.code, row.stdout, row.stderr)
		}
	}
}

// terminal is a session on one: what is typed is echoed, Ctrl-C ends the
// command alone.
func (n *node) terminal(program string) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), orpheus, "exec", "--socket", n.Socket(), "-it", "db", "--", program, "cat")
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 100, Rows: 30})
	if err != nil {
		n.t.Fatal(err)
	}
	defer screen.Close()
	shown := new(strings.Builder)
	read := func(text string) {
		n.t.Helper()
		_ = screen.SetReadDeadline(time.Now().Add(patience))
		buffer := make([]byte, 1024)
		for !strings.Contains(shown.String(), text) {
			k, err := screen.Read(buffer)
			shown.Write(buffer[:k])
			if err != nil && !strings.Contains(shown.String(), text) {
				n.t.Fatalf("the terminal shows %q, not %q: %v", shown, text, err)
			}
		}
	}
	// Typed before the command's own terminal is there, it is read all the same.
	if _, err := io.WriteString(screen, "hello\r"); err != nil {
		n.t.Fatal(err)
	}
	read("hello\r\nhello\r\n") // its echo, and what cat makes of it
	if _, err := io.WriteString(screen, "\x03"); err != nil {
		n.t.Fatal(err)
	}
	_ = cmd.Wait()                                                                         // its code tells
	if code := cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGINT) && code != 2 { // how Go programs end
		n.t.Errorf("Ctrl-C: exit code %d", code)
	}
}

// killedMeanwhile kills the agent while a command runs.
func (n *node) killedMeanwhile(program string) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), orpheus, "exec", "--socket", n.Socket(), "-i", "db", "--", program, "cat")
	keyboard, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	if _, err := io.WriteString(keyboard, "x"); err != nil {
		n.t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it runs
		n.t.Fatal(err)
	}
	n.kill()
	_ = cmd.Wait() // its code tells
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "has ended, and the session with it; the instance is not touched") {
		n.t.Errorf("exit code %d, %s", code, errs.String())
	}
	n.agent()
	n.eventually("the command ends", func() string {
		if pids := carriers(program + "\x00cat\x00"); len(pids) > 0 {
			return fmt.Sprintf("processes %v are still there", pids)
		}
		return ""
	})
	if code, out, errs := n.exec("again", "-i", "db", "--", program, "cat"); code != 0 || out != "again" {
		n.t.Errorf("with the next agent: code %d, %q, %s", code, out, errs)
	}
}

// carriers lists the processes of this machine with a command line.
func carriers(line string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && string(text) == line {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	return pids
}
