package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// logInterval is how often the sizes of log files are looked at.
const logInterval = 15 * time.Second

// LogRoot is the folder below a state folder that holds the logs of all
// containers: namespace/service/slot/container.log, with older parts beside
// it as container.log.1 and so on. The paths are stable: log shippers may
// rely on them.
func LogRoot(stateDir string) string { return filepath.Join(stateDir, "logs") }

// logDir is the folder of one slot's logs. All parts are DNS labels or node
// names, so none can lead out of it.
func logDir(stateDir string, slot planner.SlotID) string {
	return filepath.Join(LogRoot(stateDir), slot.Service.Namespace, slot.Service.Name, slot.Name)
}

// tendLogs keeps log files within their size.
func (a *Agent) tendLogs(ctx context.Context) {
	for pause(ctx, logInterval) {
		if err := rotateLogs(LogRoot(a.cfg.StateDir), a.cfg.LogMaxBytes, a.cfg.LogFiles); err != nil {
			a.post(func() { a.problem("log rotation", err) })
		} else {
			a.post(func() { a.problem("log rotation", nil) })
		}
	}
}

// rotateLogs copies each log file above max aside and truncates it: its writer
// holds it open for appending and never notices. Lines written between the two
// steps are lost; they are the price of no process between a container and its
// log.
func rotateLogs(root string, max int64, keep int) error {
	var errs []error
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			return nil
		}
		if !entry.Type().IsRegular() || filepath.Ext(path) != ".log" {
			return nil
		}
		info, err := entry.Info()
		if err == nil && info.Size() > max {
			err = rotateLog(path, max, keep)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

func rotateLog(path string, max int64, keep int) error {
	for n := keep; n > 1; n-- {
		if err := os.Rename(fmt.Sprintf("%s.%d", path, n-1), fmt.Sprintf("%s.%d", path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	defer in.Close()
	// A file that outgrew its bound between two looks is cut to its newest part.
	if info, err := in.Stat(); err == nil && info.Size() > 2*max {
		if _, err := in.Seek(-2*max, io.SeekEnd); err != nil {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	out, err := os.OpenFile(path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		// A full disk: a log twice its size is given up rather than the node.
		err = errors.Join(err, out.Truncate(0))
		if info, serr := in.Stat(); serr == nil && info.Size() > 2*max {
			err = errors.Join(err, os.Truncate(path, 0))
		}
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := os.Truncate(path, 0); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return nil
}

// hookLogs is how long what a hook has written stays after its end.
const hookLogs = 24 * time.Hour

// sweepLogs removes the logs of slots that have neither lease nor instance; those
// of hooks some time later: people read them when it is over.
func (a *Agent) sweepLogs() {
	keep := map[string]bool{}
	spare := func(slot planner.SlotID) {
		// With the folders above it: a start may be making the slot's now.
		dir := logDir(a.cfg.StateDir, slot)
		keep[dir], keep[filepath.Dir(dir)], keep[filepath.Dir(filepath.Dir(dir))] = true, true, true
	}
	all, _ := a.instances()
	for _, i := range all {
		spare(i.Slot)
	}
	for _, f := range a.flights {
		spare(f.action.Slot)
	}
	for id, doc := range a.state.docs {
		for _, l := range doc.Leases {
			spare(planner.SlotID{Service: id, Name: l.Slot})
		}
	}
	root := LogRoot(a.cfg.StateDir)
	slots, err := filepath.Glob(filepath.Join(root, "*", "*", "*"))
	for _, dir := range slots {
		if isHookSlot(filepath.Base(dir)) && a.cfg.Clock().Wall.Sub(lastWritten(dir)) < hookLogs {
			continue
		}
		if !keep[dir] {
			err = errors.Join(err, os.RemoveAll(dir))
			for _, above := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
				if !keep[above] {
					_ = os.Remove(above) // does nothing unless it is empty
				}
			}
		}
	}
	a.problem("sweep logs", err)
}

// lastWritten is when something was last written to a file of a folder; zero =
// there is none.
func lastWritten(dir string) (at time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return at
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}
