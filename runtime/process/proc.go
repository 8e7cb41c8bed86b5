//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bootID names this run of the kernel.
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// procStat is what we use of /proc/PID/stat.
type procStat struct {
	state   byte
	parent  int
	ticks   int64 // user and system time
	threads int64
	start   uint64
	pages   int64 // resident
}

// dead: it has ended, its parent just did not collect it yet.
func (s procStat) dead() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(data)
}

// parseStat begins after the last parenthesis: the name before it may hold
// anything.
func parseStat(data []byte) (procStat, error) {
	end := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[end+1:]))
	if end < 0 || len(fields) < 22 {
		return procStat{}, errors.New("/proc/PID/stat has too few fields")
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(fields[i-3], 10, 64); return n }
	start, err := strconv.ParseUint(fields[22-3], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("/proc/PID/stat has no start time: %w", err)
	}
	return procStat{
		state: fields[0][0], parent: int(number(4)), ticks: number(14) + number(15),
		threads: number(20), start: start, pages: number(24),
	}, nil
}

// identify reads the identity of a living process.
func identify(pid int) (process, error) {
	s, err := readStat(pid)
	if err != nil {
		return process{}, err
	}
	return process{PID: pid, Start: s.start}, nil
}

// alive reports whether the process runs. A zombie does not.
func (p process) alive() bool {
	if p.PID <= 0 {
		return false
	}
	s, err := readStat(p.PID)
	return err == nil && s.start == p.Start && !s.dead()
}

// open returns a pidfd of the process; nil = it does not run any more.
func (p process) open() (*os.File, error) {
	if !p.alive() {
		return nil, nil
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	// The id may have gone to another process before it was opened.
	if !p.alive() {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// signal sends a signal; a process that does not run is success.
func (p process) signal(sig unix.Signal) error {
	f, err := p.open()
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	if err := unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), p.PID, err)
	}
	return nil
}

// await blocks until the process has ended, without a thread of its own.
func (p process) await(ctx context.Context) error {
	f, err := p.open()
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

// processes lists the ids of all processes.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// finder calls visit with each process it finds, as soon as it finds it.
type finder func(visit func(pid int)) error

// descendants finds the living descendants of a process. Parents mostly have
// lower ids than their children, so most are visited in the first pass.
func descendants(root int, visit func(pid int)) error {
	all, err := processes()
	if err != nil {
		return err
	}
	slices.Sort(all)
	family := map[int]bool{root: true}
	others := map[int]int{} // to their parents
	join := func(pid, parent int) bool {
		if family[parent] && !family[pid] {
			family[pid] = true
			visit(pid)
			return true
		}
		return false
	}
	for _, pid := range all {
		// The children of a dead process have another parent already.
		if s, err := readStat(pid); err == nil && !s.dead() && !join(pid, s.parent) {
			others[pid] = s.parent
		}
	}
	for grown := true; grown; {
		grown = false
		for pid, parent := range others {
			grown = join(pid, parent) || grown
		}
	}
	return nil
}

// marked finds the living processes whose environment has the variable with a
// value that match accepts.
func marked(match func(value string) bool, visit func(pid int)) error {
	all, err := processes()
	if err != nil {
		return err
	}
	for _, pid := range all {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		if err != nil {
			continue // gone, or of another user
		}
		for variable := range bytes.SplitSeq(env, []byte{0}) {
			if value, ok := bytes.CutPrefix(variable, []byte(markerVariable+"=")); ok && match(string(value)) {
				visit(pid)
				break
			}
		}
	}
	return nil
}

// markerVariable is in the environment of every workload, with a value that
// no other instance on this machine has.
const markerVariable = "ORPHEUS_PROCESS"
