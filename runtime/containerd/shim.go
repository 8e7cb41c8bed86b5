//go:build linux

package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shimTimeout is how long a shim without a process may take to get one or end.
const shimTimeout = 5 * time.Second

// shims lists the shims of our namespace by container id. containerd does not
// tell of one whose creation was cut off: it may still be about to run the
// container, or be forgotten.
func (d *Driver) shims() map[string][]int {
	out := map[string][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") ||
			flagOf(args, "-address") != d.cfg.Address || flagOf(args, "-namespace") != d.cfg.Namespace {
			continue
		}
		if id := flagOf(args, "-id"); id != "" {
			out[id] = append(out[id], pid)
		}
	}
	return out
}

// flagOf is the argument after a flag.
func flagOf(args []string, flag string) string {
	if at := slices.Index(args, flag); at >= 0 && at+1 < len(args) {
		return args[at+1]
	}
	return ""
}

// settle waits until the creation of a process that a killed agent asked for
// is over, one way or the other. To take its record away meanwhile makes
// containerd 1.6 forget the shim.
func (d *Driver) settle(ctx context.Context, id string) error {
	for began := time.Now(); ; {
		pids := d.shims()[id]
		if len(pids) == 0 {
			return nil
		}
		if p, err := d.process(ctx, id); err != nil || p != nil {
			return err
		}
		if time.Since(began) > shimTimeout {
			return killAll(pids)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func killAll(pids []int) error {
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sweepShims kills the shims of dead instances that containerd knows nothing
// of; what they ran is killed with its cgroup.
func (d *Driver) sweepShims(ctx context.Context, prefixes map[string]bool) error {
	shims := d.shims()
	known, err := d.processes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for id, pids := range shims {
		if prefix, ours := prefixOf(id); ours && !prefixes[prefix] && known[id] == nil {
			d.cfg.Log.Warn("killing a shim that containerd has forgotten", "container", id)
			errs = append(errs, killAll(pids))
		}
	}
	return errors.Join(errs...)
}
