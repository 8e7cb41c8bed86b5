package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpu is the processor time a process has used so far, all its threads
// together, those that have ended included; its children are not in it. The
// kernel's clock of the process has nanoseconds, /proc only ticks.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	const schedClock = 2 // CPUCLOCK_SCHED of include/linux/posix-timers.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		b.Fatalf("read the CPU clock of process %d: %v", pid, err)
	}
	return time.Duration(t.Nano())
}

// childrenCPU is the processor time of the children a process has waited for,
// in ticks of 10 ms.
func childrenCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int64
	for _, f := range fields[13:15] { // cutime, cstime: fields 16 and 17 of proc(5)
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is what a process has in RAM, in bytes, by the names of smaps_rollup.
func memory(b *testing.B, pid int) map[string]int64 {
	b.Helper()
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	out := map[string]int64{}
	for line := range strings.Lines(string(rollup)) {
		name, rest, _ := strings.Cut(line, ":")
		if kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
			out[name] = kb << 10
		}
	}
	return out
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
