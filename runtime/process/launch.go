//go:build linux

package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// rollBackTime is how long a failed start may take to clean up.
const rollBackTime = 20 * time.Second

// answer is what the shim writes to the ready pipe, once.
type answer struct {
	Error string `json:"error,omitempty"`
	// Invalid: trying again cannot help.
	Invalid bool `json:"invalid,omitempty"`
	// Executed: the program was, before it failed.
	Executed bool `json:"executed,omitempty"`
}

// launch makes folder and cgroups and starts the shim. It returns once the
// program was executed, or with the shim's reason why not.
func (d *Driver) launch(ctx context.Context, j job, w runtime.Workload) error {
	folder := d.folder(w.ID)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return runtime.NotBegun(err)
	}
	lock, err := lockFolder(folder)
	if err != nil {
		return runtime.NotBegun(err)
	}
	defer lock.Close()
	if err := writeAtomic(filepath.Join(folder, stateFile), j.State, false); err != nil {
		return runtime.NotBegun(err)
	}
	if err := j.State.Group.create(&d.cgroups, w.Containers[0].Resources); err != nil {
		return runtime.NotBegun(err)
	}
	ready, err := d.startShim(j, lock)
	if err != nil {
		return runtime.NotBegun(err)
	}
	defer ready.Close()
	return d.answered(ctx, ready)
}

// startShim hands the job over. The answer comes from what it returns.
func (d *Driver) startShim(j job, lock *os.File) (*os.File, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	shim := &exec.Cmd{
		Path:        d.executable,
		Args:        []string{"orpheus", shimVerb, j.State.ID},
		Dir:         d.folder(j.State.ID),
		Env:         []string{"GOMAXPROCS=1", "GOTRACEBACK=none"},
		Stdin:       bytes.NewReader(text),
		ExtraFiles:  []*os.File{theirs, lock},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if folder := d.cgroups.shims; folder != "" {
		group, err := os.Open(folder)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open cgroup of the shims: %w", err), ready.Close(), theirs.Close())
		}
		defer group.Close()
		shim.SysProcAttr.UseCgroupFD, shim.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	err = shim.Start()
	theirs.Close()
	if err != nil {
		ready.Close()
		return nil, fmt.Errorf("start shim: %w", err)
	}
	go reapShim(shim)
	return ready, nil
}

// answered waits for the shim's answer: nil once the program was executed. Where
// the shim itself says why it could not, it was not.
func (d *Driver) answered(ctx context.Context, ready *os.File) error {
	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	text, err := io.ReadAll(io.LimitReader(ready, maxStateSize))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var a answer
	switch {
	case err != nil:
		return fmt.Errorf("read the shim's answer: %w", err)
	case json.Unmarshal(text, &a) != nil:
		return fmt.Errorf("the shim ended without an answer: does main of %s call process.MaybeShim first?", d.executable)
	case a.Executed:
		return errors.New(a.Error)
	case a.Invalid:
		return runtime.NotBegun(fmt.Errorf("%s: %w", a.Error, runtime.ErrInvalid))
	case a.Error != "":
		return runtime.NotBegun(errors.New(a.Error))
	}
	return nil
}

// reapShim collects a shim whenever it ends; it tells everything by files. It
// waits without a thread of its own, for there may be hundreds.
func reapShim(shim *exec.Cmd) {
	if p, err := identify(shim.Process.Pid); err == nil {
		p.await(context.Background())
	}
	shim.Wait()
}

// lockFolder takes the folder's lock, which the shim inherits.
func lockFolder(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", folder, err)
	}
	return f, nil
}

// locked reports whether an agent or a shim works on the folder.
func locked(folder string) bool {
	f, err := os.OpenFile(filepath.Join(folder, lockFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}
