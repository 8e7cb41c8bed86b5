package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// TestHookKilledInTheMiddleOfItsStart kills the agent at many instants of the
// start of a hook. It never runs twice, one that is said to have succeeded has
// run, and one that is not has failed for not being known.
func TestHookKilledInTheMiddleOfItsStart(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		program, step := imagetest.Program, 60*time.Millisecond // ten of them are about a start
		if n.driver == planner.DriverProcess {
			program, step = n.Payload, 5*time.Millisecond
		}
		version := func(k int) map[string]string {
			hook := fmt.Sprintf("  hooks: {preRollout: {command: [%s, say, \"begun %d.\", \"0\"]}}\n", program, k)
			return map[string]string{
				"fleet.yaml": fleetYAML,
				"web.yaml":   n.manifest(spec{name: "web", env: map[string]string{"GENERATION": fmt.Sprint(k)}, more: hook}),
			}
		}
		n.apply("first version", version(0))
		seen := map[planner.Revision]bool{}
		n.hookOutcome(seen)
		begin := n.lives()
		found := map[string]int{}
		for k := 1; k <= 10; k++ {
			n.commit(fmt.Sprint("version ", k), version(k))
			n.eventually("the hook is about to start", func() string {
				if starts := strings.Count(n.agentLog(), "action=start slot=web-prerollout "); starts <= k {
					return fmt.Sprintf("%d starts", starts)
				}
				return ""
			})
			after := time.Duration(k-1) * step
			time.Sleep(after) // the point where it is cut off
			n.kill()
			n.agent()
			run := n.hookOutcome(seen)
			runs := strings.Count(n.containerLog("web", "prerollout"), fmt.Sprintf("begun %d.", k))
			switch {
			case run.Failed == "" && runs == 1:
				found["succeeded"]++
			case run.Failed != "" && strings.HasPrefix(run.Failed, "its outcome is not known") && runs <= 1:
				found[fmt.Sprintf("failed, ran %d times", runs)]++
			default:
				t.Errorf("killed %s after it was to start, the hook ran %d times: %+v", after, runs, run)
			}
		}
		t.Logf("outcomes: %v", found)

		// The last word is a hook that is left alone, whatever came before.
		n.apply("last version", version(11))
		if run := n.hookOutcome(seen); run.Failed != "" {
			t.Errorf("a hook that was left alone failed: %s", run.Failed)
		}
		out, code := n.orpheus("logs", "web-prerollout", "--socket", n.Socket())
		if code != 0 || !strings.Contains(out, "begun 0.") || !strings.Contains(out, "begun 11.") {
			t.Errorf("orpheus logs web-prerollout: %d: %s", code, out)
		}
		n.untouched("hooks ran", begin, "web")
	})
}

// hookOutcome waits for the outcome of a hook of web for a revision that is not
// among those seen, to which it adds it.
func (n *node) hookOutcome(seen map[planner.Revision]bool) (run planner.HookRun) {
	n.t.Helper()
	n.eventually("the hook has an outcome", func() string {
		data, err := os.ReadFile(filepath.Join(n.StateDir(), "state.json"))
		var state struct {
			Leases []planner.LeaseDoc `json:"leases"`
		}
		if err == nil {
			err = json.Unmarshal(data, &state)
		}
		if err != nil {
			return err.Error()
		}
		for _, doc := range state.Leases {
			for _, h := range doc.Hooks {
				if doc.Service.Name == "web" && !seen[h.Revision] {
					run, seen[h.Revision] = h, true
					return ""
				}
			}
		}
		return "there is none"
	})
	return run
}
