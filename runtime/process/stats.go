//go:build linux

package process

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// userHz is the unit of times in /proc: it is 100 on every architecture Go
// runs on.
const userHz = 100

// Stats implements runtime.Stats: from the cgroups where they count, else by
// adding up the processes.
func (d *Driver) Stats(ctx context.Context, id string) (runtime.Usage, error) {
	i, err := d.load(id)
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("stats of %s: %w", id, err)
	}
	u := runtime.Usage{}
	seen := map[int]bool{}
	err = d.remains(i.state, func(pid int) {
		s, err := readStat(pid)
		if err != nil || seen[pid] {
			return
		}
		seen[pid] = true
		u.CPU += time.Duration(s.ticks) * time.Second / userHz
		u.MemoryBytes += s.pages * int64(os.Getpagesize())
		u.PIDs += s.threads
	})
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("stats of %s: %w", id, err)
	}
	g := i.state.Group
	if usec := field(g.Unified, "cpu.stat", "usage_usec"); usec > 0 {
		u.CPU = time.Duration(usec) * time.Microsecond
	}
	for _, n := range []int64{number(g.Unified, "memory.current"), number(g.V1[memory], "memory.usage_in_bytes")} {
		if n >= 0 {
			u.MemoryBytes = n
		}
	}
	for _, n := range []int64{number(g.Unified, "pids.current"), number(g.V1[pids], "pids.current")} {
		if n >= 0 {
			u.PIDs = n
		}
	}
	return u, ctx.Err()
}
