package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// heldDown is a person at three in the morning: Git is down, something runs
// away, it is held down for a while, the agent dies meanwhile. When the time is
// over it runs again by itself, Git or no Git.
func heldDown(t *testing.T) {
	n := newNodeNow(t, devfleet.Options{Driver: planner.DriverProcess})
	files := n.bystanders()
	files["runaway.yaml"] = n.manifest(spec{name: "runaway", replicas: 2})
	hash := n.commit("first version", files)
	n.agent()
	n.await("first version", devfleet.SettledAt(hash))
	before := n.lives()
	n.Git.SetFault(gitsynctest.Status(http.StatusServiceUnavailable, "", "gone"))
	n.await("Git is missed", gitMissed)

	contains(t, "orpheus hold", n.say("hold", "runaway", "--stop", "--for", "20s", "--reason", "fills the disk"),
		"runaway is held down by ", "fills the disk", "orpheus release runaway")
	until := n.status().Holds[0].Until
	n.await("it is down", func(st *api.Status) string {
		for slot, l := range n.lives() {
			if strings.HasPrefix(slot, "runaway/") {
				return fmt.Sprintf("%s runs: %+v", slot, l)
			}
		}
		return ""
	})
	n.kill()
	n.agent()
	n.await("a new agent misses Git, too", gitMissed)
	n.wantHeld(until)
	for time.Now().Before(until) {
		// A look that ends after the hold proves nothing.
		if now := n.lives(); time.Now().Before(until) && (now["runaway/0"].PID != 0 || now["runaway/1"].PID != 0) {
			t.Fatalf("it is held down until %s, and runs: %+v", until, now)
		}
		time.Sleep(50 * time.Millisecond) // a sample over the hold's time, waits for nothing
	}
	n.await("it runs again by itself, without Git", func(st *api.Status) string {
		if missing := gitMissed(st); missing != "" {
			return missing
		}
		if len(st.Holds) > 0 {
			return fmt.Sprintf("it is held still: %+v", st.Holds)
		}
		return devfleet.SettledAt(hash)(st)
	})
	n.untouched("something else was held down", before, "runaway")
	contains(t, "orpheus holds", n.say("holds"), "Nothing is held")
}

// wantHeld demands that the hold is told wherever one would look, if it is not
// over already.
func (n *node) wantHeld(until time.Time) {
	n.t.Helper()
	status, why, holds := n.say("status"), n.say("why", "runaway"), n.say("holds")
	if !time.Now().Before(until) {
		n.t.Log("the hold was over before its successor could be asked")
		return
	}
	first, _, _ := strings.Cut(status, "\n")
	contains(n.t, "the first line of status", first, "runaway", "held down by", "fills the disk")
	contains(n.t, "orpheus why", why, "held down by", "orpheus release runaway")
	contains(n.t, "orpheus holds", holds, "runaway", "fills the disk")
}
