package main

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestElsewhere: a node on which nothing of a service runs tells how it stands, and
// where what it wrote is.
func TestElsewhere(t *testing.T) {
	first := testStatus(testService("db", "1", 1))
	first.Problems = nil
	first.Fleet = &api.Fleet{Registered: true}
	var st atomic.Pointer[api.Status]
	st.Store(first)
	done := &api.Rollout{
		Service: "web", State: planner.RolloutDone, Wanted: testRevision("9"), Target: testRevision("9"), Replicas: 2, Updated: 2, Available: 2, Done: 2,
		Slots: []api.RolloutSlot{
			{Slot: "0", Node: "node-2", Revision: testRevision("9"), Phase: planner.PhaseReady, Available: true},
			{Slot: "1", Node: "node-3", Revision: testRevision("9"), Phase: planner.PhaseReady, Available: true},
		},
		Hooks: []api.RolloutHook{{Hook: "preRollout", State: api.HookSucceeded, Node: "node-2"}, {Hook: "postRollout", State: api.HookSucceeded, Node: "node-1"}},
	}
	events, err := event.Open(filepath.Join(t.TempDir(), "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Close() })
	socket, root := serveStatus(t, st.Load, func(o *api.Options) {
		o.Events = events
		o.Rollout = func(_ context.Context, id planner.ServiceID) (*api.Rollout, error) {
			if id.String() == done.Service {
				return done, nil
			}
			return nil, nil
		}
	})
	writeFiles(t, root, map[string]string{
		"default/web/postrollout/main.log": "it is out\n", "default/gone/prerollout/main.log": "of a service that left\n",
	})
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"status web --exit-code", 0, "2 of 2, all on other nodes"},
		{"why web", 0, "- nothing: it is as its manifest asks"},
		{"why web-1", 0, "web-1  node-3  ready"},
		{"logs web", 1, "nothing of web runs on node node-1; what it writes is on node-2,node-3: run this there"},
		{"logs web-1", 1, "nothing of web-1 runs on node node-1; what it writes is on node-3: run this there"},
		{"logs web-prerollout", 1, "no preRollout hook of web has written anything on this node within the last day; it ran on node-2: run this there"},
		{"logs web-postrollout", 0, "it is out\n"},
		{"logs gone-prerollout", 0, "of a service that left\n"}, // nothing of it is here any more
		{"logs nothing", 1, `there is no service "nothing" on node node-1; it has db`},
		{"status nothing", 1, "with -C, --repository or --config shows the services of the whole fleet"},
	} {
		code, stdout, stderr := orpheus(t, ".", append(strings.Fields(c.args), "--socket", socket)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%s: %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
	}

	// What an earlier run wrote here is shown as such.
	writeFiles(t, root, map[string]string{"default/web/prerollout/main.log": "before\n"})
	if code, stdout, stderr := orpheus(t, ".", "logs", "web-prerollout", "--socket", socket); code != 0 || stdout != "before\n" || !strings.Contains(stderr, "of an earlier run: the last one was on node-2") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}

	// A node without any service does not say that the fleet has none.
	bare := testStatus()
	bare.Fleet = &api.Fleet{Registered: true}
	st.Store(bare)
	if _, _, stderr := orpheus(t, ".", "status", "nothing", "--socket", socket); !strings.Contains(stderr, "on which nothing runs now, nor among those of the fleet") {
		t.Error(stderr)
	}
}

// TestStatusOfCommit: what was pushed and is not followed yet is not there, however
// well all is that was there before.
func TestStatusOfCommit(t *testing.T) {
	_, dir := fleetRemote(t, map[string]string{"fleet.yaml": fleetYAML})
	pushed := gitAs(t, dir, "rev-parse", "HEAD")
	gitAs(t, dir, "commit", "-q", "--allow-empty", "-m", "next")
	next := gitAs(t, dir, "rev-parse", "HEAD")
	base := testStatus(testService("web", "1", 1))
	base.Problems = nil
	var st atomic.Pointer[api.Status]
	socket, _ := serveStatus(t, st.Load)
	for _, c := range []struct {
		name, followed, dir, commit string
		code                        int
	}{
		{"it is followed", pushed, ".", pushed, 0},
		{"by the beginning of its id", pushed, ".", pushed[:7], 0},
		{"a later one is", next, dir, pushed, 0},
		{"a later one is, which nobody can tell here", next, t.TempDir(), pushed, exitNotReady},
		{"an earlier one is", pushed, dir, next, exitNotReady},
		{"it is nowhere", pushed, dir, strings.Repeat("ab", 20), exitNotReady},
		{"too little of it", pushed, t.TempDir(), pushed[:6], 2},
		{"too little of it, but git knows here", pushed, dir, pushed[:6], 0},
		{"as git calls it here", pushed, dir, "HEAD~1", 0},
		{"as git calls a later one", pushed, dir, "HEAD", exitNotReady},
		{"no commit", pushed, dir, "--output=x", 2},
	} {
		now := *base
		now.Repository.Applied.Hash = c.followed
		st.Store(&now)
		if code, _, stderr := orpheus(t, c.dir, "status", "web", "--exit-code", "--commit="+c.commit, "--socket", socket); code != c.code {
			t.Errorf("%s: %d, want %d: %s", c.name, code, c.code, stderr)
		}
	}
	if code, _, _ := orpheus(t, ".", "status", "--commit", pushed, "--socket", socket); code != 2 {
		t.Errorf("without --exit-code: %d", code)
	}
}
