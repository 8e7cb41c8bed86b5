//go:build linux

package process

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/rlimit"
)

func checkUlimits(ulimits []planner.Ulimit) error {
	var errs []error
	for _, u := range ulimits {
		_, _, err := rlimit.Of(u)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forkLimited is syscall.ForkExec with limits. They are those of a process, not
// of a thread: given to us before the fork, they would be the shim's, too, and
// some of them are its end. So the program is stopped, as for a debugger, when
// it was executed and has not run yet. It must be called on a thread that stays
// the same.
func forkLimited(path string, argv []string, attr *syscall.ProcAttr, ulimits []planner.Ulimit) (int, error) {
	if len(ulimits) == 0 {
		return syscall.ForkExec(path, argv, attr)
	}
	attr.Sys.Ptrace = true
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, err
	}
	if err := awaitStop(pid); err != nil {
		return 0, fmt.Errorf("set ulimits: %w", err)
	}
	if err = limit(pid, ulimits); err == nil {
		err = syscall.PtraceDetach(pid)
	}
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		return 0, fmt.Errorf("set ulimits: %w", err)
	}
	return pid, nil
}

// awaitStop waits until the program stops at its first instruction. If we die
// from now on, it dies.
func awaitStop(pid int) error {
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(pid, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait for the program: %w", err)
		case !status.Stopped():
			return errors.New("the program was killed before it ran")
		}
		return syscall.PtraceSetOptions(pid, unix.PTRACE_O_EXITKILL)
	}
}

func limit(pid int, ulimits []planner.Ulimit) error {
	for _, u := range ulimits {
		resource, values, err := rlimit.Of(u)
		if err == nil {
			err = unix.Prlimit(pid, resource, &values, nil)
		}
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("%s of %d, at most %d: %w: it is more than the agent has, and it may not raise limits: %w", u.Name, u.Soft, u.Hard, errHopeless, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", u.Name, err)
		}
	}
	return nil
}
