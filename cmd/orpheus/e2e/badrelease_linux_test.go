package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest/load"
)

// release is a service whose second version is bad in its own way.
type release struct {
	name string
	bad  string // further lines of spec in the bad version
	env  map[string]string
	args []string // of the bad version; nil = serve
	tag  string   // of the bad version's image; "" = app:1
	both string   // lines of spec in all versions

	budget  budget
	outcome outcome
	why     []string // what is said of it
	noticed int      // requests that may fail, of those to the bad instance itself
}

type outcome int

const (
	reverted outcome = iota // all slots have the last good revision, the bad one is blocked
	stands                  // blocked, and the slots stay as they are
	unbegun                 // blocked before any slot had it
	rolledOut
)

// badReleases are the ways in which releases are bad, and what becomes of them.
func badReleases() []release {
	usual, soon := budget{3, 1, 0}, "  progressDeadlineSeconds: 6\n"
	impatient, steady := "  reschedule: {failures: 2, withinSeconds: 120}\n", "  minReadySeconds: 3\n"
	return []release{
		// It lives and says that it is not ready, for ever.
		{name: "never", env: map[string]string{"PAGES": "ready=503"}, bad: soon, budget: usual, why: []string{"6s", "503"}},
		// It lives and does not answer the question whether it is ready.
		{name: "wedged", env: map[string]string{"PAGES": "ready=0"}, bad: soon, budget: usual, why: []string{"6s", "no answer"},
			both: "  livenessProbe: {tcpSocket: {port: http}, periodSeconds: 1}\n"},
		{name: "crashes", args: []string{"exit", `"3"`}, bad: impatient, budget: usual, why: []string{"2 times", "code 3"}},
		{name: "leaks", env: map[string]string{"FAULT": "leak"}, bad: impatient, both: steady + "  resources: {limits: {memory: 64Mi}}\n",
			budget: usual, why: []string{"2 times", "memory"}, noticed: 15},
		// It is ready for a second, less than it takes to be available.
		{name: "brief", env: map[string]string{"FAULT": "brief"}, bad: impatient, both: steady, budget: usual, why: []string{"2 times", "code 1"}, noticed: 15},
		{name: "imageless", tag: "app:none", bad: soon, budget: usual, why: []string{"app:none"}},
		// One may be missing, and one is until all is as it was.
		{name: "stopfirst", env: map[string]string{"PAGES": "ready=503"}, bad: soon, both: "  update: {order: stopFirst}\n", budget: budget{3, 0, 1}, why: []string{"6s"}},
		{name: "unreverted", env: map[string]string{"PAGES": "ready=503"}, bad: soon, both: "  update: {autoRevert: false}\n",
			budget: usual, outcome: stands, why: []string{"6s"}},
		{name: "hooked", bad: "  hooks: {preRollout: {command: [" + imagetest.Program + ", exit, \"4\"]}}\n", budget: usual, outcome: unbegun, why: []string{"preRollout", "code 4"}},
		// Nothing is wrong with these two: the first one's instances ignore SIGTERM,
		// in every version.
		{name: "deaf", env: map[string]string{"FAULT": "deaf"}, both: "  terminationGracePeriodSeconds: 1\n", budget: usual, outcome: rolledOut},
		{name: "good", budget: usual, outcome: rolledOut},
	}
}

// port is what the k-th release publishes.
func releasePort(k int) int { return 18100 + k }

// releases writes all services, at a version; bad = in the way of each.
func (f *fleet) releases(all []release, version string, bad bool) map[string]string {
	files := map[string]string{}
	for k, r := range all {
		s := spec{name: r.name, replicas: r.budget.slots, args: []string{"serve"}, env: map[string]string{"GENERATION": version}}
		s.more = fmt.Sprintf("  ports: [{name: http, containerPort: 8080, port: 80, publish: %d}]\n", releasePort(k)) + readyWhenAsked + r.both
		if r.name == "deaf" {
			s.env["FAULT"] = r.env["FAULT"]
		}
		if bad {
			s.more += r.bad
			s.image = r.tag
			for name, value := range r.env {
				s.env[name] = value
			}
			if r.args != nil {
				s.args = r.args
			}
		}
		files[r.name+".yaml"] = f.manifest(s)
	}
	return files
}

// TestBadReleases: releases that are bad in many ways, all in one commit with
// two that are good, on three nodes. Each has its outcome, capacity is never
// below the budget meanwhile, a revert of the commit restarts nothing, and a
// fixed one rolls out.
func TestBadReleases(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverContainerd, Nodes: 3})
	f.push("app:1", "1")
	all, slots, budgets := badReleases(), map[string]int{}, map[string]budget{}
	for _, r := range all {
		slots[r.name], budgets[r.name] = r.budget.slots, r.budget
	}
	files := f.releases(all, "1", false)
	files["fleet.yaml"] = threeQuick
	forge := f.forge()
	f.begin(files, slots)
	good := map[string]planner.Revision{}
	for _, r := range all {
		good[r.name] = f.revision(r.name)
	}
	before := f.places()

	watch := f.observe(budgets)
	var clients []*load.Run
	for k := range all {
		clients = append(clients, load.Start(load.Options{URL: "http://" + f.at(k%3, releasePort(k)) + "/", Rate: 10}))
	}
	began := time.Now()
	bad := f.commit("bad releases", f.releases(all, "2", true))
	wanted := map[string]planner.Revision{}
	for _, r := range all {
		f.await(r.name+" comes to its end", 2*patience, func(now []*api.Status) string {
			for _, st := range now {
				if st != nil && service(st, r.name).Revision != "" {
					wanted[r.name] = service(st, r.name).Revision
				}
			}
			return f.ended(r, wanted[r.name], good[r.name], now)
		})
		t.Logf("%s: after %s at most", r.name, time.Since(began).Round(100*time.Millisecond))
	}
	for k, r := range all {
		t.Run(r.name, func(t *testing.T) {
			if got := clients[k].Stop(); got.Failed > r.noticed || got.Asked < 20 {
				t.Errorf("clients: %s", got)
			}
			f.explained(t, r)
			if n := f.tried(r.name, wanted[r.name]); r.outcome != rolledOut && n > 1 || r.outcome == unbegun && n > 0 {
				t.Errorf("%d slots were given the bad revision", n)
			}
		})
	}
	forge.awaits(t, "the bad commit has failed", func() bool {
		return strings.HasPrefix(forge.statuses[bad], "failure: ") && strings.Contains(forge.statuses[bad], "blocked")
	})

	hash, err := f.Repo.Revert()
	f.must(err)
	f.settles("a revert", hash, slots)
	for _, r := range all {
		if doc := f.records(t.Context()).docs[r.name]; len(doc.Blocked) > 0 {
			t.Errorf("%s: after the revert %v is blocked", r.name, doc.Blocked)
		}
		if r.outcome == rolledOut || r.budget.unavailable > 0 {
			for slot := range before {
				if strings.HasPrefix(slot, r.name+"/") {
					delete(before, slot) // was replaced
				}
			}
		}
	}
	f.untouched("bad releases came and went", before)
	hash = f.commit("fixed", f.releases(all, "3", false))
	f.settles("a fixed commit", hash, slots)
	forge.awaits(t, "the fixed commit is rolled out", func() bool {
		return forge.statuses[hash] == fmt.Sprintf("success: %d services rolled out", len(all))
	})
	watch.stop()
}

// forge has all nodes tell a forge how commits fare. Each finds it on itself:
// tokens go over plain http to nobody else.
func (f *fleet) forge() *listener {
	l := &listener{statuses: map[string]string{}}
	for _, n := range f.Nodes {
		token := filepath.Join(n.Dir, "status-token")
		f.must(os.WriteFile(token, []byte("7cq0Zt-token\n"), 0o600))
		var own net.Listener
		f.must(n.Within(func() (err error) { own, err = net.Listen("tcp", "127.0.0.1:0"); return err }))
		s := &httptest.Server{Listener: own, Config: &http.Server{Handler: l}}
		s.Start()
		f.t.Cleanup(s.Close)
		n.Configure(fmt.Sprintf("notify: {commitStatus: {kind: gitea, api: %q, repository: team/fleet, tokenFile: %q}}\n", s.URL+"/api/v1", token))
	}
	return l
}

// ended says what keeps a bad release from having had its outcome.
func (f *fleet) ended(r release, wanted, good planner.Revision, now []*api.Status) string {
	doc := f.records(f.t.Context()).docs[r.name]
	if wanted == good || wanted == "" {
		return "the commit has not been seen"
	}
	if blocked := slices.Contains(doc.Blocked, wanted); blocked != (r.outcome != rolledOut) {
		return fmt.Sprintf("blocked: %v, last good %s", doc.Blocked, doc.LastGood)
	}
	at := good
	if r.outcome == rolledOut {
		at = wanted
	}
	for _, l := range doc.Leases {
		if l.Revision != at && r.outcome != stands {
			return fmt.Sprintf("slot %s has revision %s", l.Slot, l.Revision)
		}
	}
	places := placesOf(now)
	for n := range r.budget.slots {
		slot := fmt.Sprintf("%s/%d", r.name, n)
		if !places.ready(slot) {
			return slot + " is not ready"
		}
		if r.outcome != stands && len(places[slot]) != 1 {
			return fmt.Sprintf("%s runs %d times", slot, len(places[slot]))
		}
	}
	return ""
}

// tried is how many slots ever had a revision.
func (f *fleet) tried(service string, revision planner.Revision) int {
	had := map[string]bool{}
	for _, doc := range f.log(prefix + "leases/default/" + service) {
		for _, l := range doc.Leases {
			if l.Revision == revision && l.Hook == "" {
				had[l.Slot] = true
			}
		}
	}
	return len(had)
}

// explained demands that the outcome is told where people look.
func (f *fleet) explained(t *testing.T, r release) {
	doc := f.records(t.Context()).docs[r.name]
	for _, n := range f.Nodes {
		for _, command := range [][]string{{"status", r.name}, {"why", r.name}} {
			text, code := f.orpheus(append(command, "--socket", n.Socket())...)
			if code != 0 && command[0] == "why" {
				t.Errorf("orpheus %s on %s ends with %d:\n%s", command, n.Name, code, text)
			}
			if r.outcome != rolledOut {
				contains(t, fmt.Sprintf("orpheus %s on %s", command, n.Name), text, append([]string{"FAILED", "revert", r.name + ".yaml"}, r.why...)...)
			}
		}
	}
	if r.outcome == rolledOut {
		return
	}
	contains(t, "BlockedWhy", doc.BlockedWhy, r.why...)
	events := ""
	for _, n := range f.Nodes {
		text, _ := f.orpheus("events", r.name, "--socket", n.Socket())
		events += text
	}
	contains(t, "orpheus events on all nodes", events, append([]string{"rollout blocked"}, r.why...)...)
	if got := strings.Count(events, "rollout blocked"); got != 1 {
		t.Errorf("the block is told %d times:\n%s", got, events)
	}
}
