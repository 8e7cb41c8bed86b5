package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestEndsOutliveTheAgent: what crashes is started as seldom as its back-off
// says, however often the agent is started, and no restart is forgotten.
func TestEndsOutliveTheAgent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("db", "a"))
		w.settle(5 * time.Second)
		crash := func() bool {
			for _, id := range w.ids() {
				if strings.HasPrefix(id, "web-0-") {
					w.driver.Exit(id, planner.Exit{Code: 7})
					return true
				}
			}
			return false
		}
		// At once, then after 1, 2, 4 and 8 s.
		for range 5 {
			if !crash() {
				t.Fatal("there is no web-0")
			}
			w.settle(10 * time.Second)
		}
		w.wantRunning("db-0 a", "web-0 a")
		crash() // the next is 16 s away
		for range 6 {
			w.settle(2 * time.Second)
			w.killHard()
			w.start()
			w.settle(100 * time.Millisecond)
			w.wantRunning("db-0 a")
			i := w.service("web").Instances[0]
			if i.Restarts != 5 || i.Phase != planner.PhaseFailed || !strings.Contains(i.Reason, "exited with code 7") {
				t.Fatalf("after the agent was killed: %d restarts, %s %q", i.Restarts, i.Phase, i.Reason)
			}
		}
		w.settle(5 * time.Second)
		w.wantRunning("db-0 a", "web-0 a")
		if got := w.service("web").Instances[0].Restarts; got != 6 {
			t.Errorf("%d restarts, want 6", got)
		}
	})
}

// TestEndsUnreadable: without the file restarts are counted anew, and it is
// told.
func TestEndsUnreadable(t *testing.T) {
	for _, content := range []string{"{", `{"format":9}`, strings.Repeat("x", maxEndsFile+1)} {
		inWorld(t, func(w *world) {
			w.commit(service("web", "a"))
			w.settle(5 * time.Second)
			w.crash()
			if err := os.WriteFile(filepath.Join(w.state, endsPath), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			w.start()
			w.settle(5 * time.Second)
			w.wantRunning("web-0 a")
			if p := w.agent.Status().Problems; len(p) != 1 || !strings.Contains(p[0], "restarts are counted anew") {
				t.Errorf("problems: %q", p)
			}
		})
	}
}
