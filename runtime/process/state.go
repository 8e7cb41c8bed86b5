//go:build linux

package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	stateFile = "state.json"
	exitFile  = "exit.json"
	lockFile  = "lock"
	workDir   = "work"
	hintFile  = ".hint"

	// maxStateSize bounds what is read of a state file.
	maxStateSize = 64 << 10
	stateVersion = 1
)

// state is the content of state.json. The agent writes it without processes
// before it starts the shim; the shim adds itself, then the workload.
type state struct {
	Version    int              `json:"version"`
	ID         string           `json:"id"`
	Slot       planner.SlotID   `json:"slot"`
	Node       planner.NodeName `json:"node"`
	Epoch      uint64           `json:"epoch"`
	Token      uint64           `json:"token"`
	Revision   planner.Revision `json:"revision"`
	Grace      time.Duration    `json:"grace"`
	Container  string           `json:"container"`
	StopSignal int              `json:"stopSignal"`
	Boot       string           `json:"boot"`
	Group      group            `json:"group,omitzero"`
	Ulimits    []planner.Ulimit `json:"ulimits,omitempty"` // of the program, and of commands beside it
	Shim       process          `json:"shim,omitzero"`
	// Workload is set once the program was executed: the start is complete.
	Workload  process   `json:"workload,omitzero"`
	StartedAt time.Time `json:"startedAt,omitzero"`
}

// process identifies a process of one boot beyond doubt.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since boot, from /proc/PID/stat
}

// exit is the content of exit.json.
type exit struct {
	Code   int       `json:"code"`
	Signal int       `json:"signal,omitempty"`
	OOM    bool      `json:"oom,omitempty"`
	At     time.Time `json:"at"`
}

// errLater: an agent of a later version has started the instance. What it does
// not know it leaves alone: to list without it would have it started twice.
var errLater = errors.New("it was started by a later version of the agent; run that one again, or stop its processes first")

// decodeState reads a state file, which must be that of the instance.
func decodeState(data []byte, id string) (state, error) {
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return state{}, err
	}
	switch {
	case s.Version > stateVersion:
		return state{}, fmt.Errorf("%w: version %d, this one knows %d", errLater, s.Version, stateVersion)
	case s.Version != stateVersion:
		return state{}, fmt.Errorf("version %d is not known to this agent", s.Version)
	case s.ID != id:
		return state{}, fmt.Errorf("it describes instance %q", s.ID)
	case s.Shim.PID < 0, s.Workload.PID < 0, s.Shim.PID == 1, s.Workload.PID == 1:
		return state{}, errors.New("it has an impossible process id")
	case s.StopSignal < 0 || s.StopSignal > 64 || s.Grace < 0:
		return state{}, errors.New("stop signal or grace are out of range")
	}
	for _, folder := range s.Group.folders() {
		if !filepath.IsAbs(folder) || filepath.Base(folder) != id {
			return state{}, fmt.Errorf("%q is not a cgroup of this instance", folder)
		}
	}
	return s, nil
}

func decodeExit(data []byte) (exit, error) {
	var e exit
	if err := json.Unmarshal(data, &e); err != nil {
		return exit{}, err
	}
	if e.Code < 0 || e.Code > 255 || e.Signal < 0 || e.Signal > 64 || e.At.IsZero() {
		return exit{}, errors.New("code, signal or time are out of range")
	}
	return e, nil
}

// readSmall reads a regular file of at most maxStateSize, and no other.
func readSmall(path string) ([]byte, error) { return readSmallAs(path, unix.O_NOFOLLOW) }

// readSmallAs is readSmall with more flags.
func readSmallAs(path string, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxStateSize {
		return nil, fmt.Errorf("read %s: not a regular file of at most %d bytes", path, maxStateSize)
	}
	return io.ReadAll(io.LimitReader(f, maxStateSize))
}

// writeAtomic replaces a file in one step. With sync it is on the disk when
// the function returns; without, a power failure may lose it, which ends what
// it describes as well.
func writeAtomic(path string, content any, sync bool) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil && sync {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
