//go:build linux

package containerdtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"
)

// Close ends everything the server started and removes its folder. It may be
// called when the daemon is dead.
func (s *Server) Close() error {
	var errs []error
	if s.cmd != nil {
		errs = append(errs, s.deleteAll(), s.Kill())
	}
	errs = append(errs, s.killShims(), s.unmount())
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// deleteAll kills and deletes the processes of all namespaces, so that the
// runtime removes their cgroups.
func (s *Server) deleteAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.New(s.Address, client.WithTimeout(time.Second))
	if err != nil {
		return fmt.Errorf("empty containerd: %w", err)
	}
	defer c.Close()
	spaces, err := c.NamespaceService().List(ctx)
	if err != nil {
		return fmt.Errorf("empty containerd: %w", err)
	}
	for _, space := range spaces {
		ctx := namespaces.WithNamespace(ctx, space)
		answer, err := c.TaskService().List(ctx, &tasks.ListTasksRequest{})
		if err != nil {
			return fmt.Errorf("empty containerd: %w", err)
		}
		for _, t := range answer.Tasks {
			// What fails here is killed with its shim.
			_, _ = c.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: t.ID, Signal: uint32(syscall.SIGKILL), All: true})
			_, _ = c.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: t.ID})
			_, _ = c.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: t.ID})
		}
	}
	return nil
}

// Shims lists the process ids of the server's shims, sorted.
func (s *Server) Shims() []int {
	var pids []int
	for pid, args := range commandLines() {
		at := slices.Index(args, "-address")
		if at >= 0 && at+1 < len(args) && args[at+1] == s.Address && strings.Contains(filepath.Base(args[0]), "shim") {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// killShims kills what is left of shims and of the processes below them.
func (s *Server) killShims() error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		shims := s.Shims()
		if len(shims) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("shims %v do not die", shims)
		}
		for _, pid := range append(descendants(shims), shims...) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Mounts lists what is mounted below the server's folder, innermost last.
func (s *Server) Mounts() []string {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	var mounts []string
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], s.dir+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	slices.Sort(mounts)
	return mounts
}

func (s *Server) unmount() error {
	var errs []error
	for _, m := range slices.Backward(s.Mounts()) {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

// commandLines reads the arguments of all processes.
func commandLines() map[int][]string {
	out := map[int][]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil && len(data) > 0 {
			out[pid] = strings.Split(string(bytes.TrimRight(data, "\x00")), "\x00")
		}
	}
	return out
}

// descendants lists the processes below some others, deepest last.
func descendants(roots []int) []int {
	below := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// pid (name, which may hold anything) state ppid …
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 {
			if parent, err := strconv.Atoi(fields[1]); err == nil {
				below[parent] = append(below[parent], pid)
			}
		}
	}
	var out []int
	for queue := slices.Clone(roots); len(queue) > 0; queue = queue[1:] {
		out = append(out, below[queue[0]]...)
		queue = append(queue, below[queue[0]]...)
	}
	return out
}
