package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// prefix is where the refs of the records begin.
const prefix = "refs/orpheus/"

// defaults is a fleet as it is without a word about it.
const defaults = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: e2e}\n"

// three lists the nodes: work is placed as soon as all are there.
const three = defaults + "spec: {nodes: [node-1, node-2, node-3]}\n"

// threeQuick is three that look every second.
const threeQuick = defaults + "spec: {nodes: [node-1, node-2, node-3], pollInterval: 1s}\n"

// fleet is many nodes, as a test sees them.
type fleet struct {
	*devfleet.Cluster
	t      *testing.T
	driver string
}

// newFleet makes nodes that go away with the test. Their agents do not run
// yet.
func newFleet(t *testing.T, opts devfleet.ClusterOptions) *fleet {
	t.Helper()
	if os.Geteuid() != 0 && !opts.Loopback {
		t.Skip("needs root: each node has a network of its own")
	}
	if why := devfleet.Missing(opts.Driver); why != "" {
		t.Skip(why)
	}
	opts.Orpheus, opts.Payload = orpheus, payload
	c, err := devfleet.NewCluster(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{Cluster: c, t: t, driver: opts.Driver}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range c.Nodes {
				t.Logf("last words of %s:\n%s", n.Name, n.AgentLog(40))
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("take the fleet away: %v", err)
		}
	})
	return f
}

// begin starts all agents on a first commit and waits until everything is as
// it asks.
func (f *fleet) begin(files map[string]string, slots map[string]int) (hash string) {
	f.t.Helper()
	hash = f.commit("first version", files)
	f.must(f.StartAgents())
	f.settles("first version", hash, slots)
	return hash
}

func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) commit(message string, files map[string]string) string {
	f.t.Helper()
	hash, err := f.Repo.Commit(files, message)
	f.must(err)
	return hash
}

// push puts an image that calls itself version into the registry, if there is
// one, and returns its digest. It exposes ports, written as in EXPOSE.
func (f *fleet) push(nameTag, version string, expose ...string) (digest string) {
	f.t.Helper()
	if f.Registry != nil {
		_, d, err := f.PushImage(nameTag, version, expose...)
		f.must(err)
		digest = d
	}
	return digest
}

func (f *fleet) manifest(s spec) string { return s.manifest(f.Hub, f.driver) }

// place is where an instance of a slot runs.
type place struct {
	node string
	life
	ready bool
}

// places are the running instances by service/slot, ordered by node.
type places map[string][]place

// placesOf reads them from what all agents say.
func placesOf(all []*api.Status) places {
	out := places{}
	for _, st := range all {
		if st == nil {
			continue
		}
		for _, s := range st.Services {
			for _, i := range s.Instances {
				if len(i.Containers) == 1 && i.Containers[0].State == string(planner.StateRunning) {
					slot := s.Name + "/" + i.Slot
					is := life{i.ID, i.Containers[0].PID, i.Restarts, i.StartedAt}
					out[slot] = append(out[slot], place{string(st.Node), is, i.Phase == planner.PhaseReady})
				}
			}
		}
	}
	return out
}

// places asks the agents of all nodes that are on.
func (f *fleet) places() places { return placesOf(f.Statuses(f.t.Context())) }

// perNode counts the instances of a service on each node that has some.
func (p places) perNode(service string) map[string]int {
	count := map[string]int{}
	for slot, at := range p {
		if name, _, _ := strings.Cut(slot, "/"); name == service {
			for _, where := range at {
				count[where.node]++
			}
		}
	}
	return count
}

// exactly says what keeps services from having each slot once, ready, and
// nothing else from running.
func (p places) exactly(slots map[string]int) (missing string) {
	count := 0
	for _, name := range slices.Sorted(maps.Keys(slots)) {
		for k := range slots[name] {
			slot := fmt.Sprintf("%s/%d", name, k)
			switch at := p[slot]; {
			case len(at) != 1:
				return fmt.Sprintf("%s runs %d times: %v", slot, len(at), at)
			case !at[0].ready:
				return fmt.Sprintf("%s on %s is not ready", slot, at[0].node)
			}
			count++
		}
	}
	if len(p) != count {
		return fmt.Sprintf("%d slots run instead of %d", len(p), count)
	}
	return ""
}

// settles waits until every agent that runs follows a commit, and each slot
// runs once.
func (f *fleet) settles(what, hash string, slots map[string]int) places {
	f.t.Helper()
	var last places
	f.await(what, 2*patience, func(all []*api.Status) string {
		for k, st := range all {
			switch n := f.Nodes[k]; {
			case n.AgentPID() == 0:
			case st == nil:
				return n.Name + " does not answer"
			default:
				if missing := devfleet.SettledAt(hash)(st); missing != "" {
					return n.Name + ": " + missing
				}
			}
		}
		last = placesOf(all)
		return last.exactly(slots)
	})
	return last
}

// await waits until nothing is missing and returns how long that took.
func (f *fleet) await(what string, patience time.Duration, missing func([]*api.Status) string) time.Duration {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	began := time.Now()
	if err := f.Await(ctx, missing); err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	return time.Since(began)
}

// watch looks at the fleet until the time is over, and fails at the first
// thing that is wrong.
func (f *fleet) watch(what string, lasts time.Duration, wrong func([]*api.Status) string) {
	f.t.Helper()
	for until := time.Now().Add(lasts); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if why := wrong(f.Statuses(f.t.Context())); why != "" {
			f.t.Fatalf("%s: %s", what, why)
		}
	}
}

// untouched demands that what ran runs on where it is, never started again.
func (f *fleet) untouched(why string, before places) {
	f.t.Helper()
	if changed := before.changed(f.places()); changed != "" {
		f.t.Errorf("%s: %s", why, changed)
	}
}

// changed says which instance is not as it was.
func (p places) changed(now places) string {
	for _, slot := range slices.Sorted(maps.Keys(p)) {
		for _, was := range p[slot] {
			same := func(is place) bool {
				return is.node == was.node && is.ID == was.ID && is.PID == was.PID && is.Started.Equal(was.Started)
			}
			if !slices.ContainsFunc(now[slot], same) {
				return fmt.Sprintf("%s: %+v became %+v", slot, was, now[slot])
			}
		}
	}
	return ""
}

// status asks one node.
func (f *fleet) status(n *devfleet.Node) *api.Status {
	f.t.Helper()
	st, err := n.Status(f.t.Context())
	f.must(err)
	return st
}

// nodeOf is what one node knows of another; a zero one if it knows nothing.
func nodeOf(st *api.Status, name string) api.FleetNode {
	if st != nil && st.Fleet != nil {
		for _, n := range st.Fleet.Nodes {
			if string(n.Name) == name {
				return n
			}
		}
	}
	return api.FleetNode{}
}

// restart kills a node's agent and starts it again.
func (f *fleet) restart(n *devfleet.Node) {
	f.t.Helper()
	f.must(n.EndAgent(syscall.SIGKILL))
	f.must(n.StartAgent())
}

// boot switches a node on, with its agent.
func (f *fleet) boot(n *devfleet.Node) {
	f.t.Helper()
	f.must(n.Start())
	f.must(n.StartAgent())
}

// orpheus runs a verb of the command line where a node's people would, and
// returns what it printed and its exit code.
func (f *fleet) orpheus(args ...string) (out string, code int) {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), orpheus, args...)
	cmd.Dir = f.Dir
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "COLUMNS=160", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=e2e", "GIT_AUTHOR_EMAIL=e2e@example.com", "GIT_COMMITTER_NAME=e2e", "GIT_COMMITTER_EMAIL=e2e@example.com")
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.t.Fatal(err)
	}
	return buf.String(), cmd.ProcessState.ExitCode()
}

// refs are the values of all records on the server.
func (f *fleet) refs() map[string]string {
	f.t.Helper()
	text, err := f.Repo.Git("", "for-each-ref", "--format=%(refname) %(objectname)", prefix)
	f.must(err)
	refs := map[string]string{}
	for line := range strings.Lines(text) {
		if name, hash, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			refs[name] = hash
		}
	}
	return refs
}

// record is the text of what stands in a ref.
func (f *fleet) record(ref planner.Ref) planner.Message {
	f.t.Helper()
	text, err := f.Repo.Git("", "log", "-1", "--format=%B", prefix+string(ref))
	f.must(err)
	m, err := planner.ParseMessage(text)
	if err != nil {
		f.t.Fatalf("%s: %v\n%s", ref, err, text)
	}
	return m
}

// best repeats a measurement until one is within a bound, three times at most:
// the machine may be busy, the rule is not.
func best(t *testing.T, what string, bound time.Duration, measure func() time.Duration) {
	t.Helper()
	least := time.Duration(0)
	for try := range 3 {
		took := measure()
		t.Logf("%s, try %d: %s", what, try+1, took.Round(100*time.Millisecond))
		if least == 0 || took < least {
			least = took
		}
		if least <= bound {
			return
		}
	}
	t.Errorf("%s took %s at best, and may take %s", what, least.Round(100*time.Millisecond), bound)
}

// containsAll reports whether a text holds each of some others.
func containsAll(text string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) })
}
