package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerdtest"
)

// patience is how long a test waits for one thing to come true.
const patience = 45 * time.Second

// node is a fleet of one node with its agent, as a test sees it.
type node struct {
	*devfleet.Fleet
	t      *testing.T
	driver string
	bridge string // and the nftables table
	port   int    // to publish: no other node's, they share a machine

	network string // their part of the configuration
}

// onEachDriver tells a story once on containers and once on processes.
func onEachDriver(t *testing.T, opts devfleet.Options, story func(*node)) {
	t.Parallel()
	onDrivers(t, opts, story)
}

// onDrivers is onEachDriver for a test that is parallel already.
func onDrivers(t *testing.T, opts devfleet.Options, story func(*node)) {
	for _, driver := range []string{planner.DriverContainerd, planner.DriverProcess} {
		t.Run(driver, func(t *testing.T) {
			opts.Driver = driver
			story(newNode(t, opts))
		})
	}
}

// networks numbers the nodes of this test binary: they share a kernel.
var networks atomic.Int32

// newNode makes a node that goes away with the test, which is told beside
// others from here on. Its agent does not run yet.
func newNode(t *testing.T, opts devfleet.Options) *node {
	t.Helper()
	t.Parallel()
	return newNodeNow(t, opts)
}

// newNodeNow is newNode for a story of those that are told all at once.
func newNodeNow(t *testing.T, opts devfleet.Options) *node {
	t.Helper()
	if opts.Driver == "" {
		opts.Driver = planner.DriverContainerd
	}
	if why := containerdtest.Missing(); opts.Driver == planner.DriverContainerd && why != "" {
		t.Skip(why)
	}
	opts.Orpheus, opts.Payload = orpheus, payload
	k := networks.Add(1)
	bridge := fmt.Sprintf("e2e%d", k)
	network := fmt.Sprintf("network: {bridge: %s, table: %s, subnet: 10.%d.0.0/16}\n", bridge, bridge, 100+k)
	opts.Config = network + opts.Config
	fleet, err := devfleet.New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Fleet: fleet, t: t, driver: opts.Driver, bridge: bridge, port: 18000 + int(k), network: network}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's last words:\n%s", n.AgentLog(60))
		}
		if err := fleet.Close(); err != nil {
			t.Errorf("take the fleet away: %v", err)
		}
	})
	return n
}

// configure lays YAML over the configuration from the agent's next start on.
func (n *node) configure(config string) { n.Configure(n.network + config) }

// kill ends the agent as nothing else can: at once.
func (n *node) kill() {
	n.t.Helper()
	if err := n.EndAgent(syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
}

// agent starts the agent and waits until it knows what runs.
func (n *node) agent() {
	n.t.Helper()
	if err := n.StartAgent(); err != nil {
		n.t.Fatal(err)
	}
	n.await("the agent has listed what runs", func(st *api.Status) string {
		for _, d := range st.Drivers {
			if d.Error != "" {
				return d.Name + ": " + d.Error
			}
		}
		return ""
	})
}

// commit writes files on top of the branch the agent follows and returns the
// commit. gitsynctest.Delete as content deletes a file.
func (n *node) commit(message string, files map[string]string) string {
	n.t.Helper()
	hash, err := n.Repo.Commit(files, message)
	if err != nil {
		n.t.Fatal(err)
	}
	return hash
}

// apply commits files and waits until everything is as they ask.
func (n *node) apply(message string, files map[string]string) string {
	n.t.Helper()
	hash := n.commit(message, files)
	n.await(message, devfleet.SettledAt(hash))
	return hash
}

// await waits until nothing is missing and returns the status that says so.
func (n *node) await(what string, missing func(*api.Status) string) *api.Status {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	var last *api.Status
	err := n.Await(ctx, func(st *api.Status) string {
		last = st
		return missing(st)
	})
	if err != nil {
		n.t.Fatalf("%s: %v", what, err)
	}
	return last
}

// eventually waits until a condition that the status does not tell holds.
func (n *node) eventually(what string, missing func() string) {
	n.t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if last = missing(); last == "" {
			return
		}
	}
	n.t.Fatalf("%s: waited in vain: %s", what, last)
}

func (n *node) status() *api.Status {
	n.t.Helper()
	st, err := n.Status(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return st
}

// service returns one service of a status; a zero one if it is not there.
func service(st *api.Status, name string) api.Service {
	for _, s := range st.Services {
		if s.Name == name {
			return s
		}
	}
	return api.Service{}
}

// life is what tells one run of an instance from another.
type life struct {
	ID       string
	PID      int
	Restarts int
	Started  time.Time
}

// lives returns what runs, by service/slot.
func (n *node) lives() map[string]life {
	n.t.Helper()
	var out map[string]life
	n.await("every process is known", func(st *api.Status) string {
		out = map[string]life{}
		for _, s := range st.Services {
			for _, i := range s.Instances {
				if len(i.Containers) != 1 || i.Containers[0].State != string(planner.StateRunning) {
					continue
				}
				if i.Containers[0].PID == 0 {
					return s.Name + "-" + i.Slot + ": a shim was too slow to tell"
				}
				out[s.Name+"/"+i.Slot] = life{i.ID, i.Containers[0].PID, i.Restarts, i.StartedAt}
			}
		}
		return ""
	})
	return out
}

// untouched demands that what ran before runs on, but for the services named.
func (n *node) untouched(why string, before map[string]life, except ...string) {
	n.t.Helper()
	now := n.lives()
	for slot, was := range before {
		name, _, _ := strings.Cut(slot, "/")
		replaced := false
		for _, e := range except {
			replaced = replaced || e == name
		}
		is, runs := now[slot]
		switch {
		case !replaced && (is.ID != was.ID || is.PID != was.PID || is.Restarts != was.Restarts || !is.Started.Equal(was.Started)):
			n.t.Errorf("%s: %s was touched: %+v became %+v", why, slot, was, is)
		case replaced && runs && is.PID == was.PID:
			n.t.Errorf("%s: %s was not replaced: it still is %+v", why, slot, is)
		}
	}
}

// metric reads one value of /metrics, without labels.
func (n *node) metric(name string) float64 {
	n.t.Helper()
	for line := range strings.Lines(n.get("/metrics")) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == name {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				n.t.Fatalf("metric %s: %v", name, err)
			}
			return v
		}
	}
	n.t.Fatalf("there is no metric %s", name)
	return 0
}

// get asks the agent over its socket.
func (n *node) get(path string) string {
	n.t.Helper()
	body, err := n.ask(path)
	if err != nil {
		n.t.Fatal(err)
	}
	return body
}

func (n *node) ask(path string) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", n.Socket())
	}}
	client := http.Client{Transport: transport, Timeout: 10 * time.Second}
	res, err := client.Get("http://agent" + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// orpheus runs a verb of the command line in the fleet's folder and returns
// what it printed and its exit code.
func (n *node) orpheus(args ...string) (out string, code int) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), orpheus, args...)
	cmd.Dir = n.Dir
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "COLUMNS=160")
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	return buf.String(), cmd.ProcessState.ExitCode()
}

// agentLog is everything the agents of this node have logged.
func (n *node) agentLog() string { return n.AgentLog(1 << 30) }

// contains demands each of some texts in a longer one.
func contains(t *testing.T, where, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s does not say %q:\n%s", where, part, text)
		}
	}
}

// running reports whether a process lives.
func running(pid int) bool {
	_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return err == nil
}
