package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// mendStateFolder has all of the state written anew after somebody deleted the
// state folder under a running agent: the process still knows everything, the
// next one would not.
func (a *Agent) mendStateFolder() {
	if !a.statefile {
		return // nothing was written yet
	}
	if _, err := os.Lstat(filepath.Join(a.cfg.StateDir, statePath)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	a.log.Error("the state folder was deleted while the agent runs: what the agent knows is written anew, nothing stops; "+
		"secrets of this node that were in it are lost with the next restart", "folder", a.cfg.StateDir)
	a.statefile, a.unsaved = false, true
	if a.fleet != nil {
		a.fleet.unsaved = true
	} else if a.floor.commit != "" {
		a.floor.written = floorFile{}
		a.problem(problemFloorFile, a.floor.set(a.floor.commit))
	}
	if len(a.orders) > 0 {
		a.problem("holds", a.saveHolds(a.orders))
	}
	if len(a.restarts) > 0 {
		a.problem("restarts", a.saveRestarts(a.restarts))
	}
	a.problem("hooks", a.once.saveAnew())
	a.pressure.ran.unsaved = true
	a.ends.saved = nil
	a.progress.news = true
}
