package devfleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// devVerbs runs `orpheus dev`, which stands on this package, as people do.
type devVerbs struct {
	t     *testing.T
	cache string // where the fleet's folder is made
}

// fleet is the folder of all but the supervisor's own.
func (d devVerbs) fleet() string { return filepath.Join(d.cache, "orpheus-dev", "dev", "f") }

func newDevVerbs(t *testing.T) devVerbs {
	t.Helper()
	d := devVerbs{t, filepath.Join(os.TempDir(), "cache")} // not the test's own: that is too long for sockets
	must(t, os.MkdirAll(d.cache, 0o755))
	t.Cleanup(func() {
		if t.Failed() {
			for _, log := range []string{"../log", "node-1/agent.log"} {
				text, _ := os.ReadFile(filepath.Join(d.fleet(), log))
				t.Logf("%s:\n%s", log, text)
			}
		}
		_, _ = d.try("down") // of a test that failed
		must(t, os.RemoveAll(d.cache))
	})
	return d
}

func (d devVerbs) command(args ...string) *exec.Cmd {
	cmd := exec.Command(orpheus, append([]string{"dev"}, args...)...)
	cmd.Dir = d.cache
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+d.cache)
	return cmd
}

func (d devVerbs) try(args ...string) (string, error) {
	out, err := d.command(args...).CombinedOutput()
	return string(out), err
}

// run demands that a verb works.
func (d devVerbs) run(args ...string) string {
	d.t.Helper()
	out, err := d.try(args...)
	if err != nil {
		d.t.Fatalf("dev %v: %v\n%s", args, err, out)
	}
	return out
}

// devState is the part of the JSON of `dev status` that is looked at.
type devState struct {
	PID    int    `json:"pid"`
	GitURL string `json:"gitURL"`
	Nodes  []struct {
		Name      string `json:"name"`
		On        bool   `json:"on"`
		AgentPID  int    `json:"agentPID"`
		Processes []int  `json:"processes"`
		Cut       Side   `json:"cut"`
	} `json:"nodes"`
	Agents map[string]*api.Status `json:"agents"`
}

func (d devVerbs) state() (st devState) {
	d.t.Helper()
	must(d.t, json.Unmarshal([]byte(d.run("status", "-o", "json")), &st))
	return st
}

// until waits for a state of the fleet.
func (d devVerbs) until(what string, holds func(devState) bool) devState {
	d.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		st := d.state()
		if holds(st) {
			return st
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("waited in vain: %s\n%s", what, d.run("status"))
		}
	}
}

// serving counts the nodes with a ready instance of hello.
func serving(st devState) (nodes []string) {
	for _, n := range st.Nodes {
		if a := st.Agents[n.Name]; a != nil && slices.ContainsFunc(a.Services, func(s api.Service) bool {
			return slices.ContainsFunc(s.Instances, func(i api.Instance) bool { return i.Phase == planner.PhaseReady })
		}) {
			nodes = append(nodes, n.Name)
		}
	}
	return nodes
}

// TestDevStory: the example on five nodes, up within a minute and, once --wait is
// over, answered by each; one is switched off, on, cut off and healed; then the
// fleet leaves nothing.
func TestDevStory(t *testing.T) {
	needsRoot(t)
	if why := Missing(planner.DriverContainerd); why != "" {
		t.Skip(why)
	}
	before := traces(t)
	t.Run("fleet", func(t *testing.T) {
		d := newDevVerbs(t)
		began := time.Now()
		out := d.run("up", "--nodes", "5", "--wait")
		if took := time.Since(began); took > time.Minute { // a quarter of that, where nothing else runs
			t.Errorf("five nodes are up after %v", took)
		} else {
			t.Logf("up in %v", took)
		}
		noteCgroup(t, d.fleet())
		for _, text := range []string{"5 nodes that run containers", "git clone http://", "Registry", "All is up, ", ": 1 of 1 up to date and ready.\n"} {
			if !strings.Contains(out, text) {
				t.Errorf("dev up does not say %q:\n%s", text, out)
			}
		}
		if out, err := d.try("up"); err == nil || !strings.Contains(out, `fleet "dev" is up already`) {
			t.Errorf("a second one: %v\n%s", err, out)
		}
		st := d.state()
		if nodes := serving(st); len(nodes) != 2 {
			t.Errorf("those that run hello are %v", nodes)
		}
		for _, n := range st.Nodes {
			says(t, st, n.Name)
		}

		d.run("kill", "node-2")
		if off := d.state().Nodes[1]; off.On || off.AgentPID != 0 || len(off.Processes) > 0 {
			t.Errorf("a killed node: %+v", off)
		}
		d.run("start", "node-2")
		d.run("start", "node-2") // again
		d.run("kill", "node-3", "--agent")
		if n := d.state().Nodes[2]; !n.On || n.AgentPID != 0 || len(n.Processes) == 0 {
			t.Errorf("a node without its agent: %+v", n)
		}
		d.run("start", "node-3")
		d.run("cut", "node-1", "--from", "git")
		if n := d.state().Nodes[0]; n.Cut != FromGit {
			t.Errorf("a node that was cut off: %+v", n)
		}
		d.run("heal", "node-1")
		for _, args := range [][]string{{"kill", "node-9"}, {"cut", "node-9"}, {"logs", "node-9"}} {
			if out, err := d.try(args...); err == nil || !strings.Contains(out, `there is no node "node-9"`) {
				t.Errorf("dev %v: %v\n%s", args, err, out)
			}
		}
		d.until("all agents answer", func(st devState) bool { return len(st.Agents) == 5 })
		if out := d.run("logs", "node-2", "--tail", "0"); strings.Count(out, `msg="agent started"`) != 2 {
			t.Errorf("the log of a node that was booted twice:\n%s", out)
		}
		began = time.Now()
		d.run("down")
		t.Logf("down in %v", time.Since(began))
	})
	leavesNothing(t, before)
}

// says demands the greeting from a node's published port.
func says(t *testing.T, st devState, node string) {
	t.Helper()
	k, err := strconv.Atoi(strings.TrimPrefix(node, "node-"))
	must(t, err)
	hub := strings.Split(strings.TrimPrefix(st.GitURL, "http://"), ":")[0]
	resp, err := http.Get(fmt.Sprintf("http://%s:8080/", strings.TrimSuffix(hub, ".1")+"."+strconv.Itoa(firstNode+k-1)))
	must(t, err)
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.HasPrefix(string(body), "Hello from hello-") {
		t.Errorf("%s says %q: %v", node, body, err)
	}
}

// TestDevWaitsInVain: a fleet whose services do not all come up is up all the same,
// and what keeps them is told at once.
func TestDevWaitsInVain(t *testing.T) {
	needsRoot(t)
	d := newDevVerbs(t)
	repo := filepath.Join(d.cache, "repo")
	for name, text := range map[string]string{
		"fleet.yaml": "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: vain}\n",
		"good.yaml":  "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: good}\nspec: {driver: process, command: [sleep, infinity]}\n",
		"bad.yaml":   "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: bad}\nspec: {driver: process, command: [sleep, infinity], replicas: many}\n",
	} {
		must(t, os.MkdirAll(repo, 0o755))
		must(t, os.WriteFile(filepath.Join(repo, name), []byte(text), 0o644))
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "vain"}} {
		if out, err := exec.Command("git", append([]string{"-C", repo}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	out, err := d.try("up", "--process", "--nodes", "2", "--repository", repo, "--wait", "--timeout", "1m")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(out, "STATE     NOT FINE: 1 fault of the manifests; 1 of 1 up to date and ready\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if st := d.state(); len(st.Agents) != 2 {
		t.Errorf("the fleet has not stayed: %+v", st)
	}
	d.run("down")
}

// TestDevEndsBadly: nothing is left either of a fleet whose supervisor, or
// whose `dev up`, was killed.
func TestDevEndsBadly(t *testing.T) {
	needsRoot(t)
	before := traces(t)
	t.Run("supervisor", func(t *testing.T) {
		d := newDevVerbs(t)
		d.run("up", "--process", "--nodes", "2")
		noteCgroup(t, d.fleet())
		st := d.until("two nodes say hello", func(st devState) bool { return len(serving(st)) == 2 })
		must(t, syscall.Kill(st.PID, syscall.SIGKILL))
		awaitDead(t, st.PID)
		for _, args := range [][]string{{"status"}, {"kill", "node-1"}, {"up", "--process"}} {
			if out, err := d.try(args...); err == nil || !strings.Contains(out, `"orpheus dev down" takes away what is left`) {
				t.Errorf("dev %v: %v\n%s", args, err, out)
			}
		}
		d.run("logs", "node-1")
		d.run("down")
		if out, err := d.try("down"); err == nil || !strings.Contains(out, "there is no fleet") {
			t.Errorf("a second time: %v\n%s", err, out)
		}
	})
	leavesNothing(t, before)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run("up "+sig.String(), func(t *testing.T) {
			d := newDevVerbs(t)
			up := d.command("up", "--process", "--nodes", "20")
			progress, err := up.StdoutPipe()
			must(t, err)
			must(t, up.Start())
			_, err = progress.Read(make([]byte, 1)) // the first thing it says
			must(t, err)
			noteCgroup(t, d.fleet()) // was written before that
			must(t, up.Process.Signal(sig))
			_, _ = io.Copy(io.Discard, progress)
			if err := up.Wait(); err == nil {
				t.Error("dev up was killed, and says that all is well")
			}
			for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				if _, err := os.Stat(filepath.Join(d.cache, "orpheus-dev")); err != nil {
					return
				}
			}
			t.Error("the supervisor goes on without anybody who knows of the fleet")
		})
		leavesNothing(t, before)
	}
}

func awaitDead(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if !alive(pid) {
			return
		}
	}
	t.Fatalf("process %d lives", pid)
}
