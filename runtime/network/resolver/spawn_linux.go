package resolver

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readyFD is where the helper tells whether it serves.
const readyFD = 3

// versionVariable tells the helper what version it is: hashing itself would only
// make the time longer in which nobody answers.
const versionVariable = "ORPHEUS_RESOLVER_VERSION"

// started is what it tells, once.
type started struct {
	Error string `json:"error,omitempty"`
}

// versionOf is a hash of a program.
func versionOf(exe string) (string, error) {
	f, err := os.Open(exe)
	if err != nil {
		return "", fmt.Errorf("read the name server's program: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read the name server's program: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)[:12]), nil
}

// start starts a helper and waits until it serves. That another one does so
// already, of the same version, is success.
func (h *Helper) start(ctx context.Context) error {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd, err := h.spawn(theirs)
	theirs.Close()
	if err != nil {
		return err
	}
	h.log().Info("name server started", "pid", cmd.Process.Pid)
	go cmd.Wait() // collects it, whenever it ends; its own log says why
	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	ready.SetReadDeadline(time.Now().Add(2 * startTimeout))
	text, err := io.ReadAll(io.LimitReader(ready, maxControl))
	var s started
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // it may be about to serve: it goes on
	case err != nil:
		_ = cmd.Process.Kill() // or it has ended
		return err
	case json.Unmarshal(text, &s) != nil:
		return fmt.Errorf("it ended at once; see %s", filepath.Join(h.Dir, LogFile))
	case s.Error != "":
		return errors.New(s.Error)
	}
	return nil
}

// spawn starts the process: in a session and, where that can be, a cgroup of its
// own, with nothing of the agent's but the pipe.
func (h *Helper) spawn(ready *os.File) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(h.Dir, LogFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := &exec.Cmd{
		Path: h.exe(), Args: slices.Concat([]string{"orpheus"}, h.Args, []string{"--dir", h.Dir}), Dir: h.Dir, // tells whose it is
		Env:    []string{"GOMAXPROCS=2", "GOTRACEBACK=single", versionVariable + "=" + h.version},
		Stdout: log, Stderr: log, ExtraFiles: []*os.File{ready},
	}
	unified, v1 := h.groups()
	if unified != "" {
		if folder, err := os.Open(unified); err == nil {
			defer folder.Close()
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(folder.Fd())}
			if err := cmd.Start(); err == nil {
				enter(v1, cmd.Process.Pid)
				return cmd, nil
			}
			// The hierarchy is not ours to start in: without, then.
			cmd = &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Dir: cmd.Dir, Env: cmd.Env, Stdout: log, Stderr: log, ExtraFiles: cmd.ExtraFiles}
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	enter(v1, cmd.Process.Pid)
	return cmd, nil
}

// groups makes the helper's cgroups and returns their folders: that of version
// 2, "" = none, and those of version 1.
func (h *Helper) groups() (unified string, v1 []string) {
	if h.Cgroup == "" || !filepath.IsLocal(h.Cgroup) {
		return "", nil
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", nil
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(kind) < 3 || kind[0] != "cgroup" && kind[0] != "cgroup2" {
			continue
		}
		// A cpuset takes nobody before it is set up; systemd's own hierarchy is
		// systemd's.
		options := strings.Split(kind[2], ",")
		if slices.Contains(options, "cpuset") || slices.Contains(options, "name=systemd") {
			continue
		}
		folder := filepath.Join(place[4], h.Cgroup)
		if os.MkdirAll(folder, 0o755) != nil || unix.Access(filepath.Join(folder, "cgroup.procs"), unix.W_OK) != nil {
			continue
		}
		if kind[0] == "cgroup2" {
			unified = folder
		} else {
			v1 = append(v1, folder)
		}
	}
	return unified, v1
}

// enter moves a process into cgroups of version 1, as far as they take it.
func enter(folders []string, pid int) {
	for _, folder := range folders {
		_ = os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	}
}
