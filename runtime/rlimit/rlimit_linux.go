package rlimit

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// resources are the kernel's numbers of planner.UlimitNames.
var resources = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// Of is the kernel's number of a limit and its values. No limit of open files
// is read as the most that the node allows: there is no process without one. A
// limit that cannot be is runtime.ErrInvalid.
func Of(u planner.Ulimit) (resource int, limit unix.Rlimit, err error) {
	resource, known := resources[u.Name]
	if !known || !u.Within() || min(u.Soft, u.Hard) < planner.Unlimited {
		return 0, limit, fmt.Errorf("ulimit %q of %d, at most %d: is none: %w", u.Name, u.Soft, u.Hard, runtime.ErrInvalid)
	}
	limit = unix.Rlimit{Cur: value(u.Soft), Max: value(u.Hard)}
	if resource == unix.RLIMIT_NOFILE {
		err = boundFiles(&limit)
	}
	return resource, limit, err
}

func value(n int64) uint64 {
	if n == planner.Unlimited {
		return math.MaxUint64
	}
	return uint64(n)
}

func boundFiles(limit *unix.Rlimit) error {
	text, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		return fmt.Errorf("ulimit nofile: find the most there can be: %w", err)
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return fmt.Errorf("ulimit nofile: find the most there can be: %w", err)
	}
	for _, n := range []*uint64{&limit.Cur, &limit.Max} {
		if *n == math.MaxUint64 {
			*n = most
		}
		if *n > most {
			return fmt.Errorf("ulimit nofile %d: this node allows %d at most; raise its kernel parameter fs.nr_open, or lower the limit: %w", *n, most, runtime.ErrInvalid)
		}
	}
	return nil
}
