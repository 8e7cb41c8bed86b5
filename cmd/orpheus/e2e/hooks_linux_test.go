package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// counter is asked by hooks, and says how often: the hook of version V asks for
// /V and ends when it is answered.
type counter struct {
	url string

	mu     sync.Mutex
	asked  map[string]int
	answer map[string]chan struct{}
}

// newCounter answers where the nodes of a fleet find its registry.
func newCounter(f *fleet) *counter {
	host, _, err := net.SplitHostPort(f.Registry.Host)
	f.must(err)
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	f.must(err)
	c := &counter{url: "http://" + l.Addr().String(), asked: map[string]int{}, answer: map[string]chan struct{}{}}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: c}}
	s.Start()
	f.t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return c
}

func (c *counter) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	version := strings.TrimPrefix(r.URL.Path, "/")
	c.mu.Lock()
	c.asked[version]++
	c.mu.Unlock()
	select {
	case <-c.of(version):
	case <-r.Context().Done():
	}
}

func (c *counter) of(version string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answer[version] == nil {
		c.answer[version] = make(chan struct{})
	}
	return c.answer[version]
}

func (c *counter) release(version string) { close(c.of(version)) }

func (c *counter) count(version string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[version]
}

// TestHookRunsOnce: a preRollout hook is started once for each revision in the
// whole fleet, whoever's agent dies meanwhile, and what became of one that died
// with its node is not known, so that nothing is rolled out.
func TestHookRunsOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	c := newCounter(f)
	slots := map[string]int{"web": 2}
	version := func(v string) map[string]string {
		return map[string]string{"web.yaml": f.manifest(spec{name: "web", replicas: 2, args: []string{"serve"}, env: map[string]string{"GENERATION": v},
			more: fmt.Sprintf("  hooks: {preRollout: {command: [%s, get, %q], timeoutSeconds: 120}}\n", imagetest.Program, c.url+"/"+v)})}
	}
	files := version("1")
	files["fleet.yaml"] = defaults + "spec: {nodes: [node-1, node-2, node-3], pollInterval: 1s, failover: fast}\n"
	c.release("1")
	f.begin(files, slots)
	runs := func(v string) (doc planner.LeaseDoc) {
		f.await("the hook of version "+v+" runs", patience, func([]*api.Status) string {
			if c.count(v) == 0 {
				return "it has not been started"
			}
			return ""
		})
		return f.records(t.Context()).docs["web"]
	}
	once := func(what, v string) {
		t.Helper()
		if n := c.count(v); n != 1 {
			t.Errorf("%s: the hook of version %s was started %d times", what, v, n)
		}
	}

	hash := f.commit("version 2", version("2"))
	f.restart(f.hookNode(runs("2")))
	c.release("2")
	f.settles("the agent beside the hook was killed", hash, slots)
	once("the agent beside the hook was killed", "2")

	hash = f.commit("version 3", version("3"))
	decides, err := f.Node(string(runs("3").By))
	f.must(err)
	f.restart(decides)
	c.release("3")
	f.settles("the agent that decides was killed", hash, slots)
	once("the agent that decides was killed", "3")

	hash = f.commit("version 4", version("4"))
	runs("4")
	for _, n := range f.Nodes {
		f.must(n.EndAgent(syscall.SIGKILL))
	}
	c.release("4") // it ends while nobody sees it
	f.must(f.StartAgents())
	f.settles("all agents were killed", hash, slots)
	once("all agents were killed", "4")

	hash, err = f.Repo.Revert()
	f.must(err)
	f.settles("a revert", hash, slots)
	once("a revert", "3")

	before := f.places()
	f.commit("version 5", version("5"))
	victim := f.hookNode(runs("5"))
	f.must(victim.Kill())
	f.await("the hook that died with its node has failed", patience, func([]*api.Status) string {
		if doc := f.records(t.Context()).docs["web"]; len(doc.Blocked) != 1 || !strings.Contains(doc.BlockedWhy, "preRollout") {
			return fmt.Sprintf("blocked %v: %s", doc.Blocked, doc.BlockedWhy)
		}
		return ""
	})
	f.boot(victim)
	f.await("as before, wherever", patience, func(all []*api.Status) string { return placesOf(all).exactly(slots) })
	once("its node died", "5")
	for slot, at := range before {
		if at[0].node == victim.Name {
			delete(before, slot)
		}
	}
	f.untouched("a hook failed", before)
}

// hookNode is the node that a document gives the hook to.
func (f *fleet) hookNode(doc planner.LeaseDoc) *devfleet.Node {
	f.t.Helper()
	for _, l := range doc.Leases {
		if l.Hook != "" {
			n, err := f.Node(string(l.Node))
			f.must(err)
			return n
		}
	}
	f.t.Fatalf("no hook has a lease: %+v", doc.Leases)
	return nil
}
