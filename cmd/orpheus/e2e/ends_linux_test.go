package e2e

import (
	"fmt"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// endsOutliveAgent: how services fare, and why, is known to a new agent from its
// first status on; it has not forgotten how often they were restarted, and does
// not begin their back-off anew. reasons are parts of why each is not ready;
// "" = it may be, between one restart and the next.
func (n *node) endsOutliveAgent(reasons map[string]string) {
	n.t.Helper()
	before := map[string]int{}
	fares := func(st *api.Status) (restarts map[string]int, missing string) {
		restarts = map[string]int{}
		for name, reason := range reasons {
			s := service(st, name)
			if len(s.Instances) != 1 {
				return nil, fmt.Sprintf("%s has %d instances: %s", name, len(s.Instances), s.Message)
			}
			i := s.Instances[0]
			restarts[name] = i.Restarts
			// What was being started when the agent died says so.
			told := i.Phase == planner.PhaseStarting || strings.Contains(i.Reason, reason)
			if s.Ready > 0 && reason != "" || !told || i.Restarts < before[name] {
				missing = fmt.Sprintf("%s is %s after %d restarts (%d before): %s", name, i.Phase, i.Restarts, before[name], i.Reason)
			}
		}
		return restarts, missing
	}
	n.await("all fare badly", func(st *api.Status) (missing string) {
		before, missing = fares(st)
		return missing
	})
	n.kill()
	n.agent()
	began, after := time.Now(), before
	for time.Since(began) < time.Second {
		now, missing := fares(n.status())
		if missing != "" {
			n.t.Errorf("after the agent was killed: %s", missing)
			return
		}
		after = now
		time.Sleep(50 * time.Millisecond) // a sample over a second, waits for nothing
	}
	for name, count := range after {
		if took := time.Since(began); count-before[name] > 2 && took < 3*time.Second {
			n.t.Errorf("%s was restarted %d times in %v after the agent was killed", name, count-before[name], took)
		}
	}
}

// killedAfterGrace deletes a service that ignores SIGTERM: it has its grace, which
// the status tells of, and is killed when that is over.
func (n *node) killedAfterGrace(name string, grace time.Duration) {
	n.t.Helper()
	var pid int
	n.await(name+" runs", func(st *api.Status) string {
		if pid = devfleet.PIDs(st, name)["0"]; pid == 0 {
			return "it does not run"
		}
		return ""
	})
	began, told := time.Now(), false
	n.commit(name+" goes", map[string]string{name + ".yaml": gitsynctest.Delete})
	n.eventually(name+" is killed", func() string {
		for _, i := range service(n.status(), name).Instances {
			told = told || i.Phase == planner.PhaseStopping && i.Reason != ""
		}
		if running(pid) {
			return fmt.Sprintf("process %d lives", pid)
		}
		return ""
	})
	if took := time.Since(began); took < grace || !told {
		n.t.Errorf("%s was killed after %v, with a grace of %v; that it was being stopped was told: %v", name, took, grace, told)
	}
}
