package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a machine whose services systemd runs, as far as "orpheus agent
// install" sees it: systemctl is a link to this test's program, and what it is
// asked is done here. It is strict where systemd is: units must be reloaded to
// count, a start is over when READY=1 has come, and what KillMode=process says
// is taken at its word.
type machine struct {
	t      *testing.T
	n      *node
	dir    string
	client net.Listener
	notify *net.UnixConn
	begin  func(*exec.Cmd) error // starts the agent
	// environ is what the agent has beside what systemd gives it.
	environ []string

	mu      sync.Mutex
	loaded  string // the unit's text; "" = not known
	enabled bool
	unit    map[string]string
	agent   *exec.Cmd     // nil = does not run
	ended   chan struct{} // of agent
	ready   chan struct{} // of agent
	heard   []string      // what agents have told
	starts  int
}

// systemctlSocket names the socket of the machine to the client.
const systemctlSocket = "ORPHEUS_E2E_SYSTEMCTL"

// Where systemd looks, seen from within enter.
const (
	unitFolder  = "/etc/systemd/system"
	unitService = "orpheus.service"
)

func newMachine(n *node) *machine {
	n.t.Helper()
	needsUnits(n.t)
	return machineAt(n, (*exec.Cmd).Start)
}

func needsUnits(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(unitFolder); err != nil || os.Geteuid() != 0 {
		t.Skipf("needs root, and %s to mount something else there (Debian: apt install systemd)", unitFolder)
	}
}

// machineAt is a machine whose agent is started that way.
func machineAt(n *node, begin func(*exec.Cmd) error) *machine {
	n.t.Helper()
	m := &machine{t: n.t, n: n, dir: filepath.Join(n.Dir, "machine"), begin: begin}
	for _, dir := range []string{m.units(), m.tools()} {
		n.must(os.MkdirAll(dir, 0o755))
	}
	self, err := os.Executable()
	n.must(err)
	n.must(os.Symlink(self, filepath.Join(m.tools(), "systemctl")))
	m.client, err = net.Listen("unix", filepath.Join(m.dir, "systemctl.sock"))
	n.must(err)
	m.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(m.dir, "notify"), Net: "unixgram"})
	n.must(err)
	var serving sync.WaitGroup
	serving.Go(m.serve)
	serving.Go(m.listen)
	n.t.Cleanup(func() {
		if err := m.stop(); err != nil {
			n.t.Error(err)
		}
		m.client.Close()
		m.notify.Close()
		serving.Wait()
	})
	return m
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (m *machine) units() string    { return filepath.Join(m.dir, "units") }
func (m *machine) tools() string    { return filepath.Join(m.dir, "tools") }
func (m *machine) prefix() string   { return filepath.Join(m.n.Dir, "usr") }
func (m *machine) binary() string   { return filepath.Join(m.prefix(), "bin", "orpheus") }
func (m *machine) config() string   { return filepath.Join(m.n.Dir, "agent.yaml") }
func (m *machine) unitFile() string { return filepath.Join(m.units(), unitService) }

// run executes a program's "agent VERB" on the machine and returns its output.
func (m *machine) run(program string, args ...string) (out string, code int) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), program, append([]string{"agent"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+m.tools()+":"+os.Getenv("PATH"), systemctlSocket+"="+m.client.Addr().String())
	var buf strings.Builder
	cmd.Stdout, cmd.Stderr = &buf, &buf
	m.n.must(onPassingThread(func() error {
		if err := m.enter(); err != nil {
			return err
		}
		return cmd.Start()
	}))
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return buf.String(), cmd.ProcessState.ExitCode()
}

// must runs it and demands success.
func (m *machine) must(program string, args ...string) string {
	m.t.Helper()
	out, code := m.run(program, args...)
	if code != 0 {
		m.t.Fatalf("orpheus agent %s: code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// onPassingThread calls f on a thread that ends with the call. It is never the
// process's first, which would not end, and by which /proc/self is read.
func onPassingThread(f func() error) error {
	result := make(chan error, 1)
	var run func()
	run = func() {
		goruntime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return
		}
		next := make(chan struct{})
		go func() { run(); close(next) }()
		<-next // keeps the first thread away from that goroutine
		goruntime.UnlockOSThread()
	}
	go run()
	return <-result
}

// enter has the calling thread see a machine with systemd. What is unmounted
// there is unmounted here too.
func (m *machine) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts apart: %w", err)
	}
	if err := unix.Mount(m.units(), unitFolder, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the folder of units: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return os.MkdirAll("/run/systemd/system", 0o755)
}

// order is what the client asks, answer what it gets.
type (
	order  []string
	answer struct{ Out, Err string }
)

// askMachine is main of systemctl.
func askMachine(args []string) int {
	conn, err := net.Dial("unix", os.Getenv(systemctlSocket))
	var a answer
	if err == nil {
		defer conn.Close()
		if err = json.NewEncoder(conn).Encode(order(args)); err == nil {
			err = json.NewDecoder(bufio.NewReader(conn)).Decode(&a)
		}
	}
	if err != nil {
		a.Err = err.Error()
	}
	fmt.Print(a.Out)
	if a.Err != "" {
		fmt.Fprintln(os.Stderr, a.Err)
		return 1
	}
	return 0
}

func (m *machine) serve() {
	for {
		conn, err := m.client.Accept()
		if err != nil {
			return
		}
		var o order
		var a answer
		if err := json.NewDecoder(conn).Decode(&o); err == nil {
			a.Out, err = m.obey(slices.DeleteFunc(o, func(s string) bool {
				return s == "--no-pager" || s == "--no-ask-password"
			}))
			if err != nil {
				a.Err = err.Error()
			}
		}
		_ = json.NewEncoder(conn).Encode(a)
		conn.Close()
	}
}

func (m *machine) obey(o order) (string, error) {
	switch strings.Join(o, " ") {
	case "daemon-reload":
		return "", m.reload()
	case "enable " + unitService:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.enabled = true
		return "", nil
	case "disable --now " + unitService:
		err := m.stop()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.enabled = false
		return "", err
	case "restart " + unitService:
		if err := m.stop(); err != nil {
			return "", err
		}
		return "", m.start()
	}
	if len(o) == 4 && o[0] == "show" && o[3] == unitService {
		return m.show(strings.TrimPrefix(o[2], "--property=")) + "\n", nil
	}
	return "", fmt.Errorf("systemctl: this machine does not know %q", o)
}

func (m *machine) show(property string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case property == "LoadState" && m.loaded == "":
		return "not-found"
	case property == "LoadState":
		return "loaded"
	case property == "ActiveState" && m.agent == nil:
		return "inactive"
	case property == "ActiveState":
		return "active"
	case property == "MainPID" && m.agent == nil:
		return "0"
	case property == "MainPID":
		return strconv.Itoa(m.agent.Process.Pid)
	}
	return ""
}

func (m *machine) reload() error {
	text, err := os.ReadFile(m.unitFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loaded, m.unit = string(text), map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			m.unit[key] = value
		}
	}
	return nil
}

// start runs the agent and waits until it is ready.
func (m *machine) start() error {
	m.mu.Lock()
	text, err := os.ReadFile(m.unitFile())
	switch {
	case err != nil || string(text) != m.loaded:
		err = errors.Join(err, errors.New("the unit on disk is another one: systemctl daemon-reload"))
	case m.unit["Type"] != "notify" || m.unit["KillMode"] != "process" || m.unit["Restart"] != "always" || m.unit["Delegate"] != "yes":
		err = fmt.Errorf("the unit would harm what runs: %v", m.unit)
	}
	if err == nil {
		err = m.execute()
	}
	ready, ended := m.ready, m.ended
	m.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case <-ended:
		return errors.New("job failed: the agent has ended")
	case <-time.After(2 * time.Minute):
		return errors.New("job timed out: the agent does not say that it is ready")
	}
}

// execute starts the main process; the lock is held.
func (m *machine) execute() error {
	log, err := os.OpenFile(m.n.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	words := strings.Fields(m.unit["ExecStart"])
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NOTIFY_SOCKET=" + m.notify.LocalAddr().String(), "WATCHDOG_USEC=2000000"}
	cmd.Env = append(cmd.Env, m.environ...)
	if err := m.begin(cmd); err != nil {
		return err
	}
	score := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "oom_score_adj")
	if err := os.WriteFile(score, []byte(m.unit["OOMScoreAdjust"]), 0); err != nil {
		m.t.Logf("the agent is spared no more than others here: %v", err)
	}
	m.agent, m.ready, m.ended = cmd, make(chan struct{}), make(chan struct{})
	m.starts++
	go m.collect(cmd, m.ended)
	return nil
}

// collect waits for the end of the main process, and starts it again unless it
// was stopped.
func (m *machine) collect(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	close(ended)
	if m.agent == cmd {
		if err := m.execute(); err != nil {
			m.t.Errorf("start the agent again: %v", err)
		}
	}
}

// stop ends the main process and nothing else, as KillMode=process has it.
func (m *machine) stop() error {
	m.mu.Lock()
	cmd, ended := m.agent, m.ended
	m.agent = nil
	m.mu.Unlock()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return nil
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		return errors.New("the agent does not end when it is told to")
	}
}

// kill ends the agent as nothing else can, and waits until another is ready.
func (m *machine) kill() {
	m.t.Helper()
	m.mu.Lock()
	before := m.starts
	_ = m.agent.Process.Kill()
	m.mu.Unlock()
	m.n.eventually("another agent is ready", func() string {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.starts == before {
			return "it was not started"
		}
		select {
		case <-m.ready:
			return ""
		default:
			return "it does not say so"
		}
	})
}

// listen hears what agents tell.
func (m *machine) listen() {
	buf := make([]byte, 4096)
	for {
		k, _, err := m.notify.ReadFromUnix(buf)
		if err != nil {
			return
		}
		m.mu.Lock()
		for line := range strings.SplitSeq(string(buf[:k]), "\n") {
			m.heard = append(m.heard, line)
			if line == "READY=1" {
				close(m.ready)
			}
		}
		m.mu.Unlock()
	}
}

// hears waits for a line of an agent that begins so.
func (m *machine) hears(prefix string) {
	m.t.Helper()
	m.n.eventually("the agent tells "+prefix, func() string {
		m.mu.Lock()
		defer m.mu.Unlock()
		if slices.ContainsFunc(m.heard, func(line string) bool { return strings.HasPrefix(line, prefix) }) {
			return ""
		}
		return fmt.Sprintf("it told %q", m.heard)
	})
}

// buildVersion makes another build of the program, with another content.
func buildVersion(t *testing.T, dir, version string) string {
	t.Helper()
	file := filepath.Join(dir, "orpheus-"+version)
	build := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", file,
		"-ldflags", "-X main.version="+version, "github.com/orpheus-cd/orpheus/cmd/orpheus")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build version %s: %v\n%s", version, err, out)
	}
	return file
}
