//go:build linux

package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// keep writes what the instance is into the lock file, which the shim holds
// open as long as it lives: there it can be read when the folder was deleted.
func (s *shim) keep(lock *os.File) {
	data, err := json.Marshal(s.state)
	if err == nil {
		_, err = lock.WriteAt(data, 0)
	}
	if err != nil {
		_ = lock.Truncate(0) // half a state is none
	}
}

// recoverLost makes the folders of instances anew that run without one, since
// somebody deleted the state folder: their shims know whose they are. Without
// it they would be taken for strays and killed. What was in their work folders
// is lost, and so is what they log until they start again.
func (d *Driver) recoverLost() error {
	lost := map[string]int{} // a process of each
	id := ""
	err := marked(func(value string) (ours bool) {
		id, ours = strings.CutPrefix(value, d.space+"/")
		return ours && validID(id)
	}, func(pid int) { lost[id] = pid })
	if err != nil {
		return fmt.Errorf("look for processes without a folder: %w", err)
	}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(lost)) {
		if _, err := os.Lstat(d.folder(id)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		s, found := d.heldState(lost[id], id)
		if !found {
			continue // a stray: Sweep ends it
		}
		err := os.Mkdir(d.folder(id), 0o700)
		if err == nil {
			err = writeAtomic(filepath.Join(d.folder(id), stateFile), s, true)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("make the deleted folder of %s anew: %w", id, err))
			continue
		}
		d.log.Warn("the folder of a running process was deleted: made anew", "instance", id, "pid", s.Workload.PID)
	}
	return errors.Join(errs...)
}

// heldState is the state that the shim above a process holds.
func (d *Driver) heldState(pid int, id string) (state, bool) {
	for range maxAncestors {
		stat, err := readStat(pid)
		if err != nil || stat.parent <= 1 {
			return state{}, false
		}
		pid = stat.parent
		if !isShim(pid, id) {
			continue
		}
		data, err := readSmallAs("/proc/"+strconv.Itoa(pid)+"/fd/"+strconv.Itoa(lockFD), 0)
		if err != nil {
			return state{}, false
		}
		s, err := decodeState(data, id)
		return s, err == nil && s.Boot == d.boot && s.Shim.PID == pid && s.Shim.alive() && s.Workload.alive()
	}
	return state{}, false
}

// maxAncestors bounds the way from a process up to its shim, which adopts what
// loses its parent.
const maxAncestors = 64

// isShim reports whether a process is the shim of an instance, and one of the
// agent's own user: nobody else is believed.
func isShim(pid int, id string) bool {
	path := "/proc/" + strconv.Itoa(pid)
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) != os.Geteuid() {
		return false
	}
	line, err := os.ReadFile(path + "/cmdline")
	return err == nil && bytes.Equal(line, []byte("orpheus\x00"+shimVerb+"\x00"+id+"\x00"))
}
