//go:build linux

package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestAttack44FoldersDeleted: with the state folder deleted, under the agent or
// without one, what runs is known again and goes on, once; it can be stopped, and
// how it ended is told. A stray without a shim is not adopted.
func TestAttack44FoldersDeleted(t *testing.T) {
	eachWay(t, func(t *testing.T, c Config) {
		// A folder of its own below the temporary one: it is deleted.
		c.StateDir = filepath.Join(c.StateDir, "state", "processes")
		d := open(t, c)
		was := started(t, d, workload(t, "web-0-1", "sleep"))
		lose := func() {
			t.Helper()
			check(t, os.RemoveAll(filepath.Dir(c.StateDir)))
		}
		same := func(when string, d *Driver) {
			t.Helper()
			i := only(t, d)
			if i.ID != "web-0-1" || i.State != planner.StateRunning || i.Containers[0].PID != was.state.Workload.PID || i.Revision != was.state.Revision || !i.StartedAt.Equal(was.state.StartedAt) {
				t.Errorf("%s: listed %+v, want what ran: %+v", when, i, was.state)
			}
		}
		lose()
		same("deleted under the agent", d)
		// It is deleted piece by piece: a listing, a start and a stop come in between.
		for _, piece := range []string{stateFile, "."} {
			part := filepath.Join(c.StateDir, "web-0-1", piece)
			check(t, os.RemoveAll(part))
			same(piece+" deleted under the agent", d)
			check(t, os.RemoveAll(part))
			check(t, d.Start(t.Context(), workload(t, "web-0-1", "sleep")))
			same(piece+" deleted before a start", d)
		}
		lose()
		d = open(t, c)
		check(t, d.Sweep(t.Context(), map[string]bool{"web-0-1": true}))
		same("deleted without an agent", d)
		check(t, os.RemoveAll(d.folder("web-0-1")))
		check(t, d.Stop(t.Context(), "web-0-1", 10*time.Second))
		e, err := d.Wait(t.Context(), "web-0-1")
		if err != nil || e.Unknown {
			t.Errorf("exit %+v, error %v; want how it ended", e, err)
		}
		check(t, d.Remove(t.Context(), "web-0-1"))
	})
}
