package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// TestHookKeepsItsTimeout: a hook has the time that it was given to its end, also
// when the commit that has it is reverted, and the agent started again.
func TestHookKeepsItsTimeout(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"ends": time.Hour, "is over": 20 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.driver.Behave(func(_ runtime.Workload, c runtime.Container) runtimetest.Behaviour {
					if strings.HasSuffix(c.Image, "/c") {
						return endsAfter(30*time.Minute, 0)
					}
					return runtimetest.Behaviour{}
				})
				w.commit(service("web", "a"))
				w.settle(time.Minute)
				w.commit(service("web", "b", withHook("c"), func(s *planner.Service) {
					s.Suspend = nil
					h := s.Hooks[planner.HookPreRollout]
					h.Timeout = timeout
					s.Hooks[planner.HookPreRollout] = h
				}))
				w.settle(15 * time.Minute)
				w.commit(service("web", "a"))
				w.settle(time.Minute)
				w.crash()
				w.start()
				w.settle(2 * time.Minute)
				w.wantRunning("web-0 a", "web-prerollout c")
				w.settle(5 * time.Minute)
				if timeout < 30*time.Minute {
					w.wantRunning("web-0 a")
					return
				}
				w.wantRunning("web-0 a", "web-prerollout c")
				w.settle(10 * time.Minute)
				w.wantRunning("web-0 a")
			})
		})
	}
}
