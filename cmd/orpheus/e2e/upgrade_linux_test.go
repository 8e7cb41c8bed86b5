package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// The ports that the test's services listen on.
const (
	upgradePort        = 18310 // published
	upgradeProcessPort = 18311
)

// newServer is a machine with what is to run on it: containers and processes.
func newServer(t *testing.T) (*machine, map[string]string) {
	n := newNode(t, devfleet.Options{LocalPath: true, Config: "policy: {drivers: [containerd, process]}\n"})
	m := newMachine(n)
	n.must(n.StartAgent()) // by hand, which writes its configuration
	n.must(n.EndAgent(syscall.SIGTERM))
	n.push("app:1", "1")
	files := n.bystanders()
	files["web.yaml"] = n.upgradedWeb("1")
	files["proc.yaml"] = n.upgradedProcess()
	files["talk.yaml"] = n.upgradedTalk("1")
	return m, files
}

func (n *node) upgradedWeb(version string) string {
	return n.manifest(spec{name: "web", args: []string{"serve"}, replicas: 2, env: map[string]string{"VERSION": version}, more: fmt.Sprintf(
		"  ports: [{name: http, containerPort: 8080, publish: %d}]\n"+
			"  livenessProbe: {exec: {command: [/payload, get, \"http://127.0.0.1:8080/healthz\"]}, periodSeconds: 2, timeoutSeconds: 30}\n", upgradePort)})
}

func (n *node) upgradedProcess() string {
	return spec{
		name: "proc", args: []string{"serve"}, env: map[string]string{"PORT": strconv.Itoa(upgradeProcessPort)},
		more: fmt.Sprintf("  livenessProbe: {exec: {command: [%s, get, \"http://127.0.0.1:%d/healthz\"]}, periodSeconds: 2, timeoutSeconds: 30}\n",
			n.Payload, upgradeProcessPort),
	}.manifest(n.Hub, planner.DriverProcess)
}

func (n *node) upgradedTalk(version string) string {
	return spec{name: "talk", args: []string{"lines"}, env: map[string]string{"VERSION": version}}.manifest(n.Hub, planner.DriverProcess)
}

// TestUpgradeUnderLoad replaces the agent by another version and back again,
// as people do and as crashes do, while clients ask what runs: over new
// connections, and over ones that are older than all of it.
func TestUpgradeUnderLoad(t *testing.T) {
	m, files := newServer(t)
	n := m.n
	later := buildVersion(t, n.Dir, "v9.9.9")
	install := []string{"install", "--prefix", m.prefix(), "--config", m.config()}
	out := m.must(orpheus, install...)
	contains(t, "the first install", out, "done  write "+m.binary(), "kept  "+m.config(), "done  systemctl restart", "NODE", "node-1", "COMMIT")
	n.apply("first version", files)
	before, logs := n.lives(), n.logFiles()
	m.hears("READY=1")
	m.hears("WATCHDOG=1")
	m.hears("STATUS=commit ")
	if !m.enabled {
		t.Error("the unit does not start with the machine")
	}

	world := newOutside(t, "192.168.78")
	web, local := net.JoinHostPort(world.node, strconv.Itoa(upgradePort)), net.JoinHostPort("127.0.0.1", strconv.Itoa(upgradePort))
	c := startClients(map[string]func() (string, error){
		"outside, a new connection each":  func() (string, error) { return ask(world.dial, "http://"+web) },
		"loopback, a new connection each": func() (string, error) { return ask(fromNode, "http://"+local) },
		"outside, one connection":         keptAlive(world.dial, web),
		"node, one connection":            keptAlive(fromNode, web),
		"loopback, one connection":        keptAlive(fromNode, local),
		"process, one connection":         keptAlive(fromNode, net.JoinHostPort("127.0.0.1", strconv.Itoa(upgradeProcessPort))),
	})
	same := m.must(orpheus, install...)
	contains(t, "the same version again", same, "kept  "+m.binary(), "kept  the agent runs this version")
	for round, step := range []struct {
		program, version string
		crash            bool // else it is told to end
	}{
		{later, "v9.9.9", false},
		{orpheus, "devel", false}, // back
		{later, "v9.9.9", true},
		{orpheus, "devel", true},
		{later, "v9.9.9", false},
	} {
		what := fmt.Sprintf("round %d, version %s", round, step.version)
		if step.crash {
			contains(t, what, m.must(step.program, append(install, "--no-start")...), "done  write "+m.binary(), "the agent is not started")
			m.kill()
		} else {
			contains(t, what, m.must(step.program, install...), "done  write "+m.binary()+": version "+step.version, "it was version", "done  systemctl restart", "orpheus "+step.version)
		}
		n.await(what, func(st *api.Status) string {
			if !strings.HasPrefix(st.Version, step.version) && step.version != "devel" {
				return "version " + st.Version + " answers"
			}
			return devfleet.Settled(st)
		})
		n.untouched(what, before)
		m.shims(what, before)
	}
	n.await("probes go on", func(st *api.Status) string { return probesMissing(st, "web", "proc") })
	asked, failed := c.stop()
	if len(failed) > 0 {
		t.Errorf("of %d requests %d failed during five changes of the agent; the first:\n%v", asked, len(failed), failed[0])
	}
	t.Logf("%d requests during five changes of the agent", asked)

	// The agent that is left is master of what others have started.
	out, code := n.orpheus("logs", "--socket", n.Socket(), "talk", "--tail", "3")
	if code != 0 || strings.Count(out, "line ") < 3 {
		t.Errorf("logs of a process of another version: code %d\n%s", code, out)
	}
	n.apply("second version", map[string]string{"web.yaml": n.upgradedWeb("2"), "talk.yaml": n.upgradedTalk("2")})
	n.untouched("two services changed", before, "web", "talk")
	if now := n.logFiles(); !slices.Equal(now, logs) {
		t.Errorf("upgrades, a crash and an update moved logs: they were\n%q and are\n%q", logs, now)
	}
	n.apply("without proc", map[string]string{"proc.yaml": gitsynctest.Delete})
	if pid := before["proc/0"].PID; running(pid) {
		t.Errorf("process %d, started by an agent of another version, was not stopped", pid)
	}
}

// logFiles are the paths below the folder of all logs that a shipper follows.
func (n *node) logFiles() []string {
	n.t.Helper()
	root := agent.LogRoot(n.StateDir())
	files, err := filepath.Glob(filepath.Join(root, "*", "*", "*", "*.log"))
	n.must(err)
	for k := range files {
		files[k] = strings.TrimPrefix(files[k], root+"/")
	}
	if !slices.Contains(files, "default/talk/0/main.log") {
		n.t.Errorf("the logs are %q", files)
	}
	return files
}

// keptAlive asks over one connection for as long as it lasts: unlike package
// http, it does not make up for one that broke.
func keptAlive(dial func(context.Context, string, string) (net.Conn, error), address string) func() (string, error) {
	var conn net.Conn
	var from *bufio.Reader
	return func() (text string, err error) {
		if conn == nil {
			if conn, err = dial(context.Background(), "tcp", address); err != nil {
				conn = nil
				return "", err
			}
			from = bufio.NewReader(conn)
		}
		defer func() {
			if err != nil {
				err = fmt.Errorf("connection %s to %s broke: %w", conn.LocalAddr(), conn.RemoteAddr(), err)
				conn.Close()
				conn = nil
			}
		}()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return "", err
		}
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", address); err != nil {
			return "", err
		}
		res, err := http.ReadResponse(from, nil)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return string(body), err
	}
}

// shims demands of the processes that their parents are the shims that started
// them, of a program that is gone from the disk by now, and that nothing of
// the service manager's is upon them.
func (m *machine) shims(what string, before map[string]life) {
	m.t.Helper()
	for _, slot := range []string{"proc/0", "talk/0"} {
		pid := before[slot].PID
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		m.n.must(err)
		_, rest, _ := strings.Cut(string(status), "\nPPid:\t")
		parent, _, _ := strings.Cut(rest, "\n")
		exe, err := os.Readlink(filepath.Join("/proc", parent, "exe"))
		m.n.must(err)
		if exe != m.binary()+" (deleted)" {
			m.t.Errorf("%s: parent %s of %s is %s, not a shim of the version that has started it", what, parent, slot, exe)
		}
		for _, p := range []string{parent, strconv.Itoa(pid)} {
			if score, err := os.ReadFile(filepath.Join("/proc", p, "oom_score_adj")); err != nil || string(score) != "0\n" {
				m.t.Errorf("%s: process %s of %s has the score %q, %v", what, p, slot, score, err)
			}
		}
	}
}

// probesMissing says what keeps the liveness probes of services from being
// what they should: made, and passed.
func probesMissing(st *api.Status, names ...string) string {
	for _, name := range names {
		for _, i := range service(st, name).Instances {
			if len(i.Probes) == 0 {
				return name + " has no probes"
			}
			for _, p := range i.Probes {
				if p.Result != "success" {
					return fmt.Sprintf("%s: %+v", i.Slot, p)
				}
			}
		}
	}
	return ""
}

// TestUninstall takes the unit away twice: once so that what runs runs on,
// and once with all that there is.
func TestUninstall(t *testing.T) {
	m, files := newServer(t)
	n := m.n
	place := []string{"--prefix", m.prefix(), "--config", m.config()}
	m.must(orpheus, append([]string{"install"}, place...)...)
	n.apply("first version", files)
	before := n.lives()

	out := m.must(orpheus, append([]string{"uninstall"}, place...)...)
	contains(t, "uninstall", out, "done  stop and disable", "done  remove "+unitFolder+"/"+unitService, "done  remove "+m.binary(), "what runs on this node runs on")
	for slot, l := range before {
		if !running(l.PID) {
			t.Errorf("%s ended with the unit", slot)
		}
	}
	for _, path := range []string{m.binary(), m.unitFile()} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	if m.enabled || m.show("LoadState") != "not-found" {
		t.Error("systemd still knows the unit")
	}
	contains(t, "uninstall again", m.must(orpheus, append([]string{"uninstall"}, place...)...), "kept  "+m.binary()+": it is not there")

	m.must(orpheus, append([]string{"install"}, place...)...)
	n.await("adopted", devfleet.Settled)
	n.untouched("the unit was away", before)

	all := append([]string{"uninstall", "--stop-workloads", "--purge"}, place...)
	if out, code := m.run(orpheus, all...); code == 0 || !strings.Contains(out, "--yes") {
		t.Errorf("data went without a word: code %d\n%s", code, out)
	}
	n.untouched("nobody answered", before)
	m.must(orpheus, append(all, "--yes")...)
	for slot, l := range before {
		if running(l.PID) {
			t.Errorf("%s still runs", slot)
		}
	}
	for _, path := range []string{m.binary(), m.unitFile(), n.StateDir(), filepath.Dir(n.Socket()), m.config()} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		left, err := filepath.Glob(pattern + n.Cgroup() + "/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range left {
			if info, err := os.Stat(dir); err == nil && info.IsDir() && filepath.Base(dir) != "host" { // the machine's own
				t.Errorf("cgroup %s is still there", dir)
			}
		}
	}
	if _, err := net.InterfaceByName(n.bridge); err == nil {
		t.Errorf("bridge %s is still there", n.bridge)
	}
	if out, err := exec.Command("nft", "list", "tables").CombinedOutput(); err != nil || strings.Contains(string(out), n.bridge) {
		t.Errorf("table %s is still there: %v\n%s", n.bridge, err, out)
	}
}

// TestSetBackBehindState starts an agent that cannot read what a later one has
// written: of all the node runs nothing ends, with Git and without, and the
// status says what became of the file. Fields that a later version of the same
// format has are no hindrance.
func TestSetBackBehindState(t *testing.T) {
	for _, row := range []struct {
		name, from, to string
		aside          bool
	}{
		{"more fields", `"format":1`, `"format":1,"later":{"a":[1]}`, false},
		{"another format", `"format":1`, `"format":99`, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := newNode(t, devfleet.Options{LocalPath: true, Config: "policy: {drivers: [containerd, process]}\n"})
			n.push("app:1", "1")
			files := n.bystanders()
			files["talk.yaml"] = n.upgradedTalk("1")
			n.agent()
			hash := n.apply("first version", files)
			before := n.lives()
			n.must(n.EndAgent(syscall.SIGTERM))
			file := filepath.Join(n.StateDir(), "state.json")
			state, err := os.ReadFile(file)
			n.must(err)
			n.must(os.WriteFile(file, []byte(strings.Replace(string(state), row.from, row.to, 1)), 0o600))
			away := n.Repo.Dir + ".away"
			n.must(os.Rename(n.Repo.Dir, away))
			n.agent()
			st := n.await("Git is away", func(st *api.Status) string {
				if st.Repository.Error == "" {
					return "it can be read"
				}
				return ""
			})
			n.untouched("set back, without Git", before)
			told := strings.Join(st.Problems, " ")
			if row.aside != strings.Contains(told, file+".unreadable") || row.aside != strings.Contains(told, "format 99") {
				t.Errorf("status says of the file %q", st.Problems)
			}
			n.must(os.Rename(away, n.Repo.Dir))
			n.await("Git is back", devfleet.SettledAt(hash))
			n.untouched("set back, with Git", before)
			n.apply("a second version", map[string]string{"talk.yaml": n.upgradedTalk("2")})
			n.untouched("one service changed", before, "talk")
		})
	}
}
