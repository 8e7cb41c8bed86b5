//go:build linux

package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// identity is a process of one boot, beyond doubt: its id alone goes to
// another one day.
type identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since boot, from /proc/PID/stat
	Boot  string `json:"boot"`
}

// identify reads the identity of a living process.
func identify(pid int) (identity, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, fmt.Errorf("read boot id: %w", err)
	}
	start, err := startTime(pid)
	if err != nil {
		return identity{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return identity{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// startTime is that of a process that runs: a zombie does not.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything; the state follows it.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 {
		return 0, errors.New("/proc/PID/stat has too few fields")
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// alive reports whether exactly this process runs.
func (i identity) alive() bool {
	if i.PID <= 1 {
		return false
	}
	now, err := identify(i.PID)
	return err == nil && now == i
}

// open returns a pidfd; nil = it does not run any more.
func (i identity) open() (*os.File, error) {
	if !i.alive() {
		return nil, nil
	}
	fd, err := unix.PidfdOpen(i.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", i.PID, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if !i.alive() { // the id may have gone to another just before
		f.Close()
		return nil, nil
	}
	return f, nil
}

// kill is kill -9; a process that does not run is success.
func (i identity) kill() error {
	f, err := i.open()
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	if err := unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", i.PID, err)
	}
	return nil
}

// await blocks until the process has ended, without a thread of its own; an
// error means that it may run.
func (i identity) await(ctx context.Context) error {
	f, err := i.open()
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = conn.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	if ended := ctx.Err(); ended != nil && err != nil {
		return ended
	}
	return err
}

// executes is the checksum of the file that the process executes, which the
// kernel keeps from being changed, though its name may be gone.
func (i identity) executes() (string, error) {
	return checksum("/proc/" + strconv.Itoa(i.PID) + "/exe")
}
