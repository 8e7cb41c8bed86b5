//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/oom"
)

var _ runtime.Execer = (*Driver)(nil)

// outputTime is how long the rest of a command's output is waited for once it
// has ended.
const outputTime = time.Second

// Exec runs a command beside an instance: as its user, with its environment,
// in its folder and its cgroup, and returns its exit code. When the context
// ends the command and its process group are killed.
func (d *Driver) Exec(ctx context.Context, id, name string, argv []string, streams runtime.Streams) (int, error) {
	code, err := d.exec(ctx, id, name, argv, streams)
	if err != nil {
		return 0, fmt.Errorf("run a command in %s: %w", id, err)
	}
	return code, nil
}

func (d *Driver) exec(ctx context.Context, id, name string, argv []string, streams runtime.Streams) (int, error) {
	if len(argv) == 0 {
		return 0, fmt.Errorf("no command: %w", runtime.ErrInvalid)
	}
	i, err := d.load(id)
	if err != nil {
		return 0, err
	}
	if name != "" && name != i.state.Container || !i.living || i.ended() {
		return 0, fmt.Errorf("container %q does not run: %w", name, runtime.ErrNotFound)
	}
	j, err := i.beside(argv)
	if err != nil {
		return 0, err
	}
	path, err := lookPath(argv[0], j.Env)
	if err != nil {
		return 0, &runtime.CommandError{Code: runtime.CodeNoProgram, Err: err}
	}
	plumbing, err := j.plumbing(streams)
	if err != nil {
		return 0, err
	}
	defer plumbing.close()
	pid, err := j.forkBeside(path, plumbing.theirs, streams.Terminal != nil)
	if err != nil {
		return 0, notRun(err)
	}
	plumbing.begin()
	exited := make(chan syscall.WaitStatus, 1)
	go func() {
		var status syscall.WaitStatus
		for errors.Is(wait4(pid, &status), syscall.EINTR) {
			continue
		}
		exited <- status
	}()
	select {
	case status := <-exited:
		plumbing.drain(ctx)
		if status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return status.ExitStatus(), nil
	case <-ctx.Done():
		_ = unix.Kill(-pid, unix.SIGKILL) // it is a session of its own
		<-exited
		return 0, ctx.Err()
	}
}

// notRun tells what lies with the command from what does not.
func notRun(err error) error {
	switch {
	case !errors.Is(err, errHopeless):
		return err
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		return &runtime.CommandError{Code: runtime.CodeNoProgram, Err: err}
	}
	return &runtime.CommandError{Code: runtime.CodeNotExecutable, Err: err}
}

func wait4(pid int, status *syscall.WaitStatus) error {
	_, err := syscall.Wait4(pid, status, 0, nil)
	return err
}

// beside is the job of a command that is to be like the instance's program:
// what that is, its process tells.
func (i instance) beside(argv []string) (job, error) {
	pid := i.state.Workload.PID
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	env, err := os.ReadFile(filepath.Join(proc, "environ"))
	if err != nil {
		return job{}, fmt.Errorf("read its environment: %w", err)
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return job{}, fmt.Errorf("read its user: %w", err)
	}
	if !i.state.Workload.alive() { // what was read may be another process's
		return job{}, fmt.Errorf("it has ended: %w", runtime.ErrNotFound)
	}
	j := job{State: i.state, Argv: argv, Dir: filepath.Join(proc, "cwd")}
	for variable := range bytes.SplitSeq(bytes.TrimRight(env, "\x00"), []byte{0}) {
		j.Env = append(j.Env, string(variable))
	}
	j.NewPrivs = statusField(status, "NoNewPrivs", 0) == 0
	if os.Geteuid() == 0 {
		uid, gid := uint32(statusField(status, "Uid", 0)), uint32(statusField(status, "Gid", 0))
		j.account = account{UID: &uid, GID: &gid, Groups: statusGroups(status)}
	}
	return j, nil
}

// statusGroups are the supplementary groups of /proc/PID/status.
func statusGroups(status []byte) []uint32 {
	var groups []uint32
	for line := range strings.Lines(string(status)) {
		if value, is := strings.CutPrefix(line, "Groups:"); is {
			for text := range strings.FieldsSeq(value) {
				if n, err := strconv.ParseUint(text, 10, 32); err == nil {
					groups = append(groups, uint32(n))
				}
			}
		}
	}
	return groups
}

// statusField is the first number of a line of /proc/PID/status.
func statusField(status []byte, name string, otherwise uint64) uint64 {
	for line := range strings.Lines(string(status)) {
		if value, is := strings.CutPrefix(line, name+":"); is {
			if fields := strings.Fields(value); len(fields) > 0 {
				if n, err := strconv.ParseUint(fields[0], 10, 32); err == nil {
					return n
				}
			}
		}
	}
	return otherwise
}

// plumbing connects the job to what its caller gives it, and is to be closed.
func (j *job) plumbing(s runtime.Streams) (*plumbing, error) {
	if s.Terminal == nil {
		return newPlumbing(s)
	}
	j.Env = withTerm(j.Env)
	return newTerminal(s, j.credential())
}

// forkBeside executes the job with these standard streams, which may be a
// terminal.
func (j *job) forkBeside(path string, files [3]*os.File, terminal bool) (pid int, err error) {
	attr := &syscall.ProcAttr{
		Dir: j.Dir, Env: j.Env,
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: terminal, Credential: j.credential()},
	}
	if g := j.State.Group; g.Unified != "" {
		folder, err := os.Open(g.Unified)
		if err != nil {
			return 0, fmt.Errorf("open cgroup: %w", err)
		}
		defer folder.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(folder.Fd())
	}
	onOwnThread(func() { pid, err = j.fork(path, attr) })
	if err == nil {
		oom.Expose(pid)
	}
	return pid, err
}

// plumbing connects a command's standard streams.
type plumbing struct {
	theirs [3]*os.File
	ours   [3]*os.File // nil = nobody is at this end
	copies []func()
	output sync.WaitGroup
	ended  func() // called by close; nil = nothing to do
}

func newPlumbing(s runtime.Streams) (*plumbing, error) {
	p := &plumbing{}
	for k, used := range []bool{s.In != nil, s.Out != nil, s.Err != nil} {
		var err error
		switch {
		case !used:
			p.theirs[k], err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
		case k == 0:
			p.theirs[0], p.ours[0], err = os.Pipe()
		default:
			p.ours[k], p.theirs[k], err = os.Pipe()
		}
		if err != nil {
			p.close()
			return nil, fmt.Errorf("make pipes: %w", err)
		}
	}
	if in := p.ours[0]; in != nil {
		p.copies = append(p.copies, func() { go func() { _, _ = io.Copy(in, s.In); in.Close() }() })
	}
	for k, to := range map[int]io.Writer{1: s.Out, 2: s.Err} {
		if from := p.ours[k]; from != nil {
			p.copies = append(p.copies, func() { p.output.Go(func() { _, _ = io.Copy(to, from) }) })
		}
	}
	return p, nil
}

// begin is called once the command has its ends.
func (p *plumbing) begin() {
	for _, f := range p.theirs {
		f.Close()
	}
	for _, copy := range p.copies {
		copy()
	}
}

// drain waits for the rest of the output. What the command left behind may
// hold its pipes open for ever: then they are given up.
func (p *plumbing) drain(ctx context.Context) {
	done := make(chan struct{})
	go func() { p.output.Wait(); close(done) }()
	timer := time.NewTimer(outputTime)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// close gives the pipes up; nothing is written to the streams after it.
func (p *plumbing) close() {
	if p.ended != nil {
		p.ended()
	}
	for k := range p.ours {
		for _, f := range []*os.File{p.ours[k], p.theirs[k]} {
			if f != nil {
				f.Close() // a second time does no harm
			}
		}
	}
	p.output.Wait()
}
