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

	"github.com/orpheus-cd/orpheus/runtime"
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

// missing reports whether an instance was not found since its folder, or the
// file in it, is not there.
func missing(err error) bool {
	return errors.Is(err, runtime.ErrNotFound) || errors.Is(err, errGarbage) && errors.Is(err, fs.ErrNotExist)
}

// find is load for what is about to be started or stopped: where the folder is
// missing of an instance that nobody has removed, it is looked for.
func (d *Driver) find(id string) (instance, error) {
	i, err := d.load(id)
	if !missing(err) || !d.ours.has(id) {
		return i, err
	}
	if _, lost := d.recoverLost(id); lost != nil {
		return instance{}, fmt.Errorf("%w: %w", runtime.ErrUnavailable, lost)
	}
	return d.load(id)
}

// recoverLost makes the folders of instances anew that run without one, since
// somebody deleted the state folder, or is about to: their shims know whose they
// are. Without it they would be taken for strays and killed, or for missing and
// started a second time. What was in their work folders is lost, and so is what
// they log until they start again. It returns what it has found, those of ids
// also if their folders are there by now: they may be deleted once more.
func (d *Driver) recoverLost(ids ...string) (map[string]instance, error) {
	d.recovering.Lock()
	defer d.recovering.Unlock()
	lost := map[string]int{} // a process of each
	id := ""
	err := marked(func(value string) (ours bool) {
		id, ours = strings.CutPrefix(value, d.space+"/")
		return ours && validID(id)
	}, func(pid int) { lost[id] = pid })
	if err != nil {
		return nil, fmt.Errorf("look for processes without a folder: %w", err)
	}
	found := map[string]instance{}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(lost)) {
		_, err := d.load(id)
		if !missing(err) && !slices.Contains(ids, id) {
			continue
		}
		s, held := d.heldState(lost[id], id)
		if !held {
			continue // a stray: Sweep ends it
		}
		found[id] = instance{state: s, living: true, shim: true}
		if missing(err) {
			errs = append(errs, d.makeAnew(s))
		}
	}
	return found, errors.Join(errs...)
}

// makeAnew makes the folder of what runs without one.
func (d *Driver) makeAnew(s state) error {
	err := os.Mkdir(d.folder(s.ID), 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = writeAtomic(filepath.Join(d.folder(s.ID), stateFile), s, true)
	}
	if err != nil {
		return fmt.Errorf("make the deleted folder of %s anew: %w", s.ID, err)
	}
	d.ours.add(s.ID)
	d.log.Warn("the folder of a running process was deleted: made anew", "instance", s.ID, "pid", s.Workload.PID)
	return nil
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
