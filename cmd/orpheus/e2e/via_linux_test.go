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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// operator is a person at a machine of their own: a checkout of the fleet's
// repository, and an ssh configuration with the nodes in it.
type operator struct {
	*fleet
	home, checkout, config string
	keys                   map[string]string // by node
	server                 *gitsynctest.SSHD
}

// newOperator lets a person in on all nodes: each node's key leads to its agent's
// socket and nothing else.
func newOperator(f *fleet) *operator {
	f.t.Helper()
	o := &operator{fleet: f, home: f.t.TempDir(), keys: map[string]string{}}
	dir := filepath.Join(o.home, "sshd")
	f.must(os.MkdirAll(dir, 0o755))
	server, err := gitsynctest.StartSSHD(gitsynctest.SSHDOptions{Root: dir, Dir: dir})
	if errors.Is(err, gitsynctest.ErrNoSSHD) {
		f.t.Skip(err)
	}
	f.must(err)
	f.t.Cleanup(server.Close)
	o.server = server
	var allowed, config strings.Builder
	for _, n := range f.Nodes {
		key, err := server.AddKey()
		f.must(err)
		public, err := exec.Command("ssh-keygen", "-y", "-f", key).Output()
		f.must(err)
		o.keys[n.Name] = key
		fmt.Fprintf(&allowed, `restrict,command="env ORPHEUS_SOCKET='%s' PATH='%s:/usr/bin:/bin' sh -c \"$SSH_ORIGINAL_COMMAND\"" %s`, n.Socket(), filepath.Dir(orpheus), public)
		host, port, _ := strings.Cut(server.Address, ":")
		fmt.Fprintf(&config, "Host %s\n  HostName %s\n  Port %s\n  User %s\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  StrictHostKeyChecking yes\n\n",
			n.Name, host, port, server.User, key, server.KnownHosts)
	}
	o.config = filepath.Join(o.home, "ssh-config")
	f.must(os.WriteFile(server.AuthorizedKeys(), []byte(allowed.String()), 0o644))
	f.must(os.WriteFile(o.config, []byte(config.String()), 0o600))
	o.checkout = filepath.Join(o.home, "checkout")
	f.must(git("clone", "-q", f.Repo.Dir, o.checkout))
	return o
}

// command is orpheus as the person runs it. No agent runs on that machine.
func (o *operator) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(o.t.Context(), orpheus, args...)
	cmd.Dir = o.checkout
	cmd.Env = append(os.Environ(), "HOME="+o.home, "XDG_CACHE_HOME="+o.home, "XDG_STATE_HOME="+o.home, "ORPHEUS_SOCKET="+filepath.Join(o.home, "none"), "ORPHEUS_SSH=ssh -F '"+o.config+"'")
	return cmd
}

func (o *operator) run(args ...string) (code int, stdout, stderr string) {
	o.t.Helper()
	cmd := o.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		o.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// shows demands an exit code and texts in what a verb prints.
func (o *operator) shows(wantCode int, want []string, args ...string) string {
	o.t.Helper()
	code, out, errs := o.run(args...)
	missing := false
	for _, text := range want {
		if !strings.Contains(out+errs, text) {
			missing = true
			o.t.Errorf("orpheus %s does not show %q", strings.Join(args, " "), text)
		}
	}
	if code != wantCode || missing {
		o.t.Errorf("orpheus %s: code %d, want %d\n%s\n%s", strings.Join(args, " "), code, wantCode, out, errs)
	}
	return out
}

// TestVia: a person with a checkout and ssh sees, reads and enters what runs on the
// nodes of a fleet, and what cannot be reached is said.
func TestVia(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 3, Loopback: true})
	f.begin(map[string]string{"fleet.yaml": threeQuick, "web.yaml": f.manifest(spec{name: "web", replicas: 3}), "db.yaml": f.manifest(spec{name: "db"})}, map[string]int{"web": 3, "db": 1})
	o := newOperator(f)
	o.seesAll()
	o.entersSlots()
	o.refuses()
	o.followsWhileOneDies()
}

// seesAll: what all agents know, while all are there.
func (o *operator) seesAll() {
	o.t.Helper()
	o.shows(0, []string{"AGENT OF", "node-1", "node-2", "node-3"}, "status", "--via", "ssh")
	o.shows(0, []string{"ON node-1", "ON node-2", "ON node-3", "web-0", "web-2"}, "status", "web", "--via", "ssh")
	o.shows(0, nil, "status", "--via", "ssh", "--exit-code")
	o.shows(0, []string{`"agents"`, `"host": "node-3"`, `"version"`}, "status", "--via", "ssh", "-o", "json")
	o.shows(0, []string{"node-1", "node-2", "node-3", "web"}, "top", "--via", "ssh")
	o.shows(0, []string{`"measured": true`, `"memory": `}, "top", "--via", "ssh", "-o", "json")
	o.shows(0, []string{"web-0", "on node-1: start", "on node-2: start", "on node-3: start"}, "events", "web", "--via", "ssh")
	o.shows(0, []string{`"node":"node-2"`, `"seq":`}, "events", "--via", "ssh", "-o", "json")
	o.shows(0, []string{"FINE", "ON node-1", "ON node-3", "DECIDED", "HAPPENED", "on node-2: start"}, "why", "web", "--via", "ssh")
	o.shows(0, []string{"ON " + o.nodeOfSlot("web/1"), "web-1"}, "why", "web-1", "--via", "ssh")
	o.shows(1, []string{`no service "shop"`}, "why", "shop", "--via", "ssh")
	o.shows(0, []string{`"nodes"`}, "endpoints", "--via", "ssh", "-o", "json")
	o.shows(2, []string{"add --via ssh"}, "logs", "web", "-C", ".")
	o.shows(2, []string{"write ssh"}, "logs", "web", "--via", "docker")
}

// nodeOfSlot is where a slot runs.
func (o *operator) nodeOfSlot(slot string) string { return o.places()[slot][0].node }

// entersSlots: commands run where the slot is, with their codes and a terminal.
func (o *operator) entersSlots() {
	o.t.Helper()
	for _, slot := range []string{"web-0", "web-1", "web-2", "db"} {
		o.shows(7, []string{"it's \"$HOME\" $(id)\n"}, "exec", "--via", "ssh", slot, "--", payload, "say", `it's "$HOME" $(id)`, "7")
	}
	o.shows(127, []string{"/no/such/program"}, "exec", "--via", "ssh", "web-1", "--", "/no/such/program")
	o.shows(1, []string{"name one of web-0, web-1, web-2"}, "exec", "--via", "ssh", "web", "--", payload, "exit", "0")
	o.shows(1, []string{`no service "shop"`}, "exec", "--via", "ssh", "shop", "--", payload, "exit", "0")

	long := strings.Repeat("0123456789abcde\n", 64<<10)
	cmd := o.command("exec", "-i", "--via", "ssh", "web-2", "--", payload, "cat")
	cmd.Stdin = strings.NewReader(long)
	if out, err := cmd.Output(); err != nil || string(out) != long {
		o.t.Errorf("cat of %d bytes: %v, %d bytes", len(long), err, len(out))
	}

	cmd = o.command("exec", "-it", "--via", "ssh", "web-0", "--", payload, "cat")
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 100, Rows: 30})
	o.must(err)
	defer screen.Close()
	shown := &sharedBuffer{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(shown, screen) // the terminal ends with an error
	}()
	_, err = screen.Write([]byte("hello\r"))
	o.must(err)
	shown.shows(o.t, "hello\r\nhello\r\n") // typed, and told by the command
	_, err = screen.Write([]byte("\x04"))
	o.must(err)
	_ = cmd.Wait() // its code tells
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		o.t.Errorf("on a terminal: code %d", code)
	}
	screen.Close()
	<-read
}

// refuses: what leads elsewhere, or nowhere, is told in plain words.
func (o *operator) refuses() {
	o.t.Helper()
	swapped := filepath.Join(o.home, "swapped")
	text, err := os.ReadFile(o.config)
	o.must(err)
	o.must(os.WriteFile(swapped, bytes.ReplaceAll(text, []byte(o.keys["node-1"]), []byte(o.keys["node-2"])), 0o600))
	o.shows(0, []string{"not reached", "is that of node node-2: correct --ssh-host"}, "status", "--via", "ssh -F "+swapped, "--all")
	slot := "web-0"
	for _, s := range []string{"web-1", "web-2"} {
		if o.nodeOfSlot(strings.Replace(s, "-", "/", 1)) == "node-1" {
			slot = s
		}
	}
	o.shows(1, []string{"is that of node node-2"}, "exec", "--via", "ssh -F "+swapped, slot, "--", payload, "exit", "0")
	o.shows(0, []string{"not reached", "--ssh-command"}, "status", "--via", "ssh", "--ssh-command", "no-such-orpheus")
	o.shows(3, []string{"not reached"}, "status", "--via", "ssh", "--ssh-host", "{name}.invalid", "--exit-code")
}

// followsWhileOneDies: the streams of the others go on, and the dead node is named.
func (o *operator) followsWhileOneDies() {
	o.t.Helper()
	all := o.shows(0, []string{"web-0", "web-1", "web-2"}, "logs", "web", "--via", "ssh", "--tail", "1")
	if lines := strings.Count(all, "\n"); lines != 3 {
		o.t.Errorf("one line of each slot:\n%s", all)
	}
	cmd := o.command("logs", "web", "-f", "--via", "ssh", "--tail", "1")
	out := &sharedBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	o.must(cmd.Start())
	defer func() { _ = cmd.Process.Kill() }() // it may have ended
	out.shows(o.t, "web-0", "web-1", "web-2")

	dead := o.nodeOfSlot("db/0")
	for _, n := range o.Nodes {
		if n.Name == dead {
			o.must(n.Kill())
		}
	}
	out.shows(o.t, dead+": ")
	o.shows(0, []string{"not reached", dead, "no agent answers"}, "status", "--via", "ssh", "--all")
	o.shows(0, []string{"NOT REACHED", dead}, "top", "--via", "ssh")
	o.shows(1, []string{dead + " is not reached", "on node-"}, "events", "--via", "ssh")
	o.must(cmd.Process.Signal(syscall.SIGINT))
	if err := cmd.Wait(); err != nil {
		o.t.Errorf("Ctrl-C ends logs -f: %v\n%s", err, out)
	}
}

// sharedBuffer is written to while it is looked at.
type sharedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sharedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sharedBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *sharedBuffer) shows(t *testing.T, want ...string) {
	t.Helper()
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(20 * time.Millisecond) {
		missing := ""
		for _, text := range want {
			if !strings.Contains(s.String(), text) {
				missing = text
			}
		}
		switch {
		case missing == "":
			return
		case time.Now().After(deadline):
			t.Fatalf("it does not print %q:\n%s", missing, s)
		}
	}
}
