//go:build linux

package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// serve waits for the program, writes down how it ended, and kills what it
// left. It reaps every descendant that lost its parent.
func (s *shim) serve() {
	s.takePrecedence()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // it has no children: the program's exit was missed
			return
		}
		if pid == s.state.Workload.PID {
			if !s.state.Group.kill() {
				freeze(orphans)
			}
			s.saveExit(status)
			break
		}
	}
	s.killTree()
}

// takePrecedence lets the shim get its turn among the many processes of a tree
// that forks all the time, without pauses to collect garbage. It sleeps but
// for the moments when that counts. Only root may do the first.
func (s *shim) takePrecedence() {
	goruntime.LockOSThread()
	unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(64 << 20)
}

// saveExit writes exit.json. A disk that is full is waited for: the exit
// would be unknown otherwise.
func (s *shim) saveExit(status unix.WaitStatus) {
	e := exit{Code: status.ExitStatus(), At: time.Now()}
	if status.Signaled() {
		e.Signal = int(status.Signal())
		e.Code = 128 + e.Signal
		e.OOM = status.Signal() == unix.SIGKILL && s.state.Group.oomKills() > 0
	}
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := writeAtomic(filepath.Join(s.folder, exitFile), e, true)
		if err == nil || errors.Is(err, os.ErrNotExist) { // the folder is gone: nobody asks
			break
		}
		time.Sleep(pause)
	}
	touch(filepath.Join(filepath.Dir(s.folder), hintFile))
}

// killTree kills all descendants and reaps them. It goes on for as long as it
// takes: giving up would leave strays. The search for descendants also finds
// those that left the cgroup.
func (s *shim) killTree() {
	s.state.Group.kill()
	killAll(context.Background(), orphans)
	reap()
}

// orphans finds the descendants of this process, after it has collected its
// dead children.
func orphans(visit func(pid int)) error {
	reap()
	return descendants(os.Getpid(), visit)
}

// reap collects the children that are dead.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
