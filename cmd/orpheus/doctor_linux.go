package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	platformChecks = append(platformChecks, func(e *env) []check {
		n := examinedNode(e.configFile)
		n.agents = []*env{e, {socket: n.config.socket()}}
		n.running = func(ctx context.Context) bool {
			return slices.ContainsFunc(n.agents, func(e *env) bool { return e.answers(ctx, n.config.Node.Name) })
		}
		return append([]check{
			{"privileges", checkPrivileges},
			{"kernel", checkKernel},
			{"overlay", checkOverlay},
			{"cgroups", checkCgroups},
			{"state folder", func(context.Context) (level, string, string) { return checkDisk(n.config.StateDir) }},
			{"run folder", func(context.Context) (level, string, string) { return checkDisk(n.config.RunDir) }},
		}, n.checks()...)
	})
}

func checkPrivileges(context.Context) (level, string, string) {
	if os.Geteuid() == 0 {
		return levelOK, "runs as root", ""
	}
	return levelWarn, fmt.Sprintf("runs as user %d: only the process driver can be used", os.Geteuid()),
		"run the agent as root to run containers"
}

// checkKernel asks for what no part can do without.
func checkKernel(context.Context) (level, string, string) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return levelFail, "the kernel does not say its version: " + err.Error(), ""
	}
	release := unix.ByteSliceToString(name.Release[:])
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return levelFail, fmt.Sprintf("Linux %s has no pidfd: %v", release, err), "use Linux 5.10 or newer, and allow pidfd_open where system calls are filtered"
	}
	unix.Close(fd)
	return levelOK, "Linux " + release, ""
}

func checkOverlay(context.Context) (level, string, string) {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return levelWarn, err.Error(), "mount /proc"
	}
	if slices.Contains(strings.Fields(string(data)), "overlay") {
		return levelOK, "the kernel has the overlay file system", ""
	}
	return levelWarn, "the overlay file system is not loaded", "modprobe overlay, or choose another snapshotter of containerd"
}

// limitControllers are the controllers that limits of manifests need.
var limitControllers = []string{"cpu", "memory", "pids"}

// checkCgroups says whether limits can be enforced and trees be killed.
func checkCgroups(context.Context) (level, string, string) {
	const root = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return levelWarn, root + ": " + err.Error(), "mount cgroup2 there: limits need it"
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		data, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
		if err != nil {
			return levelWarn, err.Error(), "mount cgroup2 anew: limits need it"
		}
		return judgeCgroups("version 2", root, strings.Fields(string(data)))
	}
	var have []string
	for _, c := range limitControllers {
		if info, err := os.Stat(filepath.Join(root, c)); err == nil && info.IsDir() {
			have = append(have, c)
		}
	}
	return judgeCgroups("version 1", filepath.Join(root, "memory"), have)
}

func judgeCgroups(version, dir string, have []string) (level, string, string) {
	var missing []string
	for _, c := range limitControllers {
		if !slices.Contains(have, c) {
			missing = append(missing, c)
		}
	}
	if len(missing) > 0 {
		return levelWarn, fmt.Sprintf("%s, without %s: these limits are not enforced", version, strings.Join(missing, ", ")),
			"enable the controllers in the kernel's command line or in cgroup.subtree_control"
	}
	if unix.Access(dir, unix.W_OK) != nil {
		return levelWarn, version + ", not writable for this user: limits are not enforced", "run the agent as root, or in a delegated cgroup"
	}
	return levelOK, version + " with " + strings.Join(limitControllers, ", "), ""
}

const (
	scarceBytes = 2 << 30   // below it images may not fit
	fullBytes   = 100 << 20 // below it the agent itself is in danger
)

// checkDisk looks at the file system that dir is, or will be, on.
func checkDisk(dir string) (level, string, string) {
	at := dir
	for {
		if _, err := os.Stat(at); err == nil || filepath.Dir(at) == at {
			break
		}
		at = filepath.Dir(at)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return levelFail, fmt.Sprintf("%s: %v", at, err), "make the folder readable for the agent's user"
	}
	free := st.Bavail * uint64(st.Bsize)
	text := fmt.Sprintf("%s: %.1f GiB free", dir, float64(free)/(1<<30))
	memory := st.Type == unix.TMPFS_MAGIC
	switch {
	case free < fullBytes || st.Files > 0 && st.Ffree < 1000:
		return levelFail, fmt.Sprintf("%s, %d inodes", text, st.Ffree), "make room: the agent must be able to write there"
	case st.Flags&unix.ST_RDONLY != 0:
		return levelFail, text + ", but it is mounted read-only", "mount it writable"
	case unix.Access(at, unix.W_OK|unix.X_OK) != nil:
		return levelFail, fmt.Sprintf("%s, but user %d may not write in %s", text, os.Geteuid(), at), "run this as the agent's user, or give it the folder"
	case free < scarceBytes && !memory:
		return levelWarn, text, "make room: images may not fit"
	}
	return levelOK, text, ""
}

// checkClockSync asks the kernel whether something keeps its clock right.
func checkClockSync(now time.Time) (level, string, string) {
	text := now.UTC().Format(time.RFC3339)
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil && state == unix.TIME_ERROR {
		return levelWarn, text + ", not synchronised", "run chrony or systemd-timesyncd, unless the machine's host keeps the clock"
	}
	return levelOK, text, ""
}
