package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// order gives an order that has to work.
func (w *world) order(req api.HoldRequest) api.Hold {
	w.t.Helper()
	if req.Reason == "" {
		req.Reason = "a test"
	}
	h, err := w.agent.Hold(context.Background(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// TestHoldStop: a runaway is kept down for its hour, across restarts of the
// agent and without Git; then it runs again by itself.
func TestHoldStop(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("db", "b"))
		w.settle(5 * time.Second)
		h := w.order(api.HoldRequest{Target: "web", Stop: true, For: time.Hour, By: "ann", Reason: "fills the disk"})
		if !strings.Contains(h.Text, "held down by ann until ") || !strings.HasSuffix(h.Text, "fills the disk") {
			t.Errorf("it says %q", h.Text)
		}
		w.settle(5 * time.Second)
		w.wantRunning("db-0 b")
		w.repo.fail(errors.New("connection refused"))
		for range 3 {
			w.settle(15 * time.Minute)
			w.killHard()
			w.start()
			w.settle(5 * time.Second)
			w.wantRunning("db-0 b")
			if holds := w.agent.Status().Holds; len(holds) != 1 || holds[0].Target != "web" {
				t.Fatalf("held: %+v", holds)
			}
			if i := w.service("web").Instances; len(i) != 1 || !strings.Contains(i[0].Reason, "held down by ann") {
				t.Errorf("web: %+v", i)
			}
		}
		w.settle(16 * time.Minute)
		w.wantRunning("db-0 b", "web-0 a")
		if holds := w.agent.Status().Holds; len(holds) > 0 {
			t.Errorf("still held: %+v", holds)
		}
	})
}

// TestHoldLeavesAlone: neither a crash nor a commit changes what is held; the
// rest follows.
func TestHoldLeavesAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2)), service("db", "a"))
		w.settle(5 * time.Second)
		w.order(api.HoldRequest{Target: "web-0", For: time.Hour})
		w.commit(service("web", "b", replicas(2)), service("db", "b"))
		w.settle(time.Minute)
		if got := w.running(); !slices.Contains(got, "web-0 a") || !slices.Contains(got, "db-0 b") {
			t.Errorf("running %q", got)
		}
		for _, id := range w.ids() {
			if strings.HasPrefix(id, "web-0-") {
				w.driver.Exit(id, planner.Exit{Code: 1})
			}
		}
		w.settle(10 * time.Minute)
		if got := w.running(); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "web-0") }) {
			t.Errorf("what is held was restarted: %q", got)
		}
		if _, err := w.agent.Release(context.Background(), "web-0"); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Minute)
		w.wantRunning("db-0 b", "web-0 b", "web-1 b")
	})
}

// TestHoldCancelsStart: what is held down while it starts is given up.
func TestHoldCancelsStart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(time.Millisecond)
		w.settle(5 * time.Second)
		w.order(api.HoldRequest{For: time.Hour, Stop: true}) // the whole node
		w.settle(5 * time.Second)
		w.wantRunning()
		w.commit(service("web", "a"), service("db", "b"))
		w.settle(time.Minute)
		w.wantRunning()
	})
}

// TestRunRevision: a slot goes back to an earlier revision by a person's word,
// also across a restart without Git, and returns when the time is over.
func TestRunRevision(t *testing.T) {
	inWorld(t, func(w *world) {
		old := service("web", "a", published(80))
		w.commit(old)
		w.settle(5 * time.Second)
		w.commit(service("web", "b", published(80)))
		w.settle(time.Minute)
		w.wantRunning("web-0 b")
		h := w.order(api.HoldRequest{Target: "web-0", Revision: string(old.Revision[3:11]), For: time.Hour})
		if h.Revision != old.Revision {
			t.Fatalf("it took %s, want %s", h.Revision, old.Revision)
		}
		w.settle(time.Minute)
		w.wantRunning("web-0 a")
		if i := w.service("web").Instances; len(i) != 1 || i[0].Phase != planner.PhaseReady || i[0].Revision != old.Revision {
			t.Errorf("status: %+v", i)
		}
		w.repo.fail(errors.New("connection refused"))
		before := w.ids()
		w.killHard()
		w.start()
		w.settle(time.Minute)
		if after := w.ids(); !slices.Equal(before, after) {
			t.Errorf("a restart of the agent changed %v to %v", before, after)
		}
		w.driver.Exit(before[0], planner.Exit{Code: 1})
		w.settle(time.Minute)
		w.wantRunning("web-0 a")
		w.settle(time.Hour)
		w.repo.fail(nil) // what is not ordered ends only once Git was read
		w.settle(time.Minute)
		w.wantRunning("web-0 b")
	})
}

// TestHoldWithoutGit: what people order counts at once, also of an agent that has
// read nothing since its start.
func TestHoldWithoutGit(t *testing.T) {
	inWorld(t, func(w *world) {
		old := service("web", "a")
		w.commit(old, service("db", "a"))
		w.settle(5 * time.Second)
		w.commit(service("web", "b"), service("db", "a"))
		w.settle(time.Minute)
		w.repo.fail(errors.New("connection refused"))
		w.killHard()
		w.start()
		w.settle(time.Minute)
		w.order(api.HoldRequest{Target: "db-0", Stop: true, For: time.Hour})
		w.order(api.HoldRequest{Target: "web-0", Revision: string(old.Revision), For: time.Hour})
		w.settle(time.Minute)
		w.wantRunning("web-0 a")
	})
}

// TestHoldRefused: what cannot be meant is refused with what could be.
func TestHoldRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(5 * time.Second)
		for _, tt := range []struct {
			req  api.HoldRequest
			want string
		}{
			{api.HoldRequest{Target: "wbe", For: time.Hour, Reason: "x"}, `nothing here is called "wbe"; this node runs web, whose slots are called web-0`},
			{api.HoldRequest{Target: "web", For: 0, Reason: "x"}, "from a second to 30 days"},
			{api.HoldRequest{Target: "web", For: time.Hour}, "needs a reason"},
			{api.HoldRequest{Target: "web", Revision: "r1-0", For: time.Hour, Reason: "x"}, "such as web-0"},
			{api.HoldRequest{Target: "web-0", Revision: "zz", For: time.Hour, Reason: "x"}, `no revision of web begins with "zz"; known here: r1-`},
			{api.HoldRequest{Target: "web-0", Revision: "r1-", Stop: true, For: time.Hour, Reason: "x"}, "what is stopped runs no revision"},
		} {
			if _, err := w.agent.Hold(context.Background(), tt.req); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: %v, want %q", tt.req, err, tt.want)
			}
		}
		if _, err := w.agent.Release(context.Background(), "web"); err == nil || !strings.Contains(err.Error(), "web is not held, and nothing else is") {
			t.Errorf("release: %v", err)
		}
	})
}

// TestHoldsUnreadable: a file that cannot be read is told, and holds nobody up.
func TestHoldsUnreadable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(5 * time.Second)
		w.crash()
		if err := os.WriteFile(filepath.Join(w.state, holdsPath), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.settle(5 * time.Second)
		w.wantRunning("web-0 a")
		if p := strings.Join(w.agent.Status().Problems, " "); !strings.Contains(p, "what was held is not held any more") {
			t.Errorf("problems: %q", p)
		}
	})
}

// TestSuspendAndObserve: a suspended service stays as it is, and is restarted;
// for an observed one nothing is done, and told.
func TestSuspendAndObserve(t *testing.T) {
	inWorld(t, func(w *world) {
		until := time.Now().Add(time.Hour)
		suspended := func(s *planner.Service) { s.Suspend = &planner.Suspension{Until: until, Reason: "freeze"} }
		observed := func(s *planner.Service) { s.Observe = true }
		w.commit(service("web", "a"), service("db", "a"))
		w.settle(5 * time.Second)
		w.commit(service("web", "b", suspended), service("db", "b", observed))
		w.settle(time.Minute)
		w.wantRunning("db-0 a", "web-0 a")
		if s := w.service("web"); !strings.Contains(s.Message, "suspended by its manifest until") || !strings.Contains(s.Message, "freeze") {
			t.Errorf("web: %q", s.Message)
		}
		if s := w.service("db"); !strings.Contains(s.Message, "would ") || !strings.Contains(s.Message, "start db-0") {
			t.Errorf("db: %q", s.Message)
		}
		for _, i := range w.driver.Listing() {
			w.driver.Exit(i.ID, planner.Exit{Code: 1})
		}
		w.settle(time.Minute)
		w.wantRunning("web-0 a")
		w.settle(time.Hour)
		w.wantRunning("web-0 b")
		w.commit(service("web", "b"), service("db", "b"))
		w.settle(time.Minute)
		w.wantRunning("db-0 b", "web-0 b")
	})
}
