//go:build linux

package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime/oom"
)

// shimVerb is the first argument of the agent's binary when it is a shim.
const shimVerb = "process-shim"

// maxJobSize bounds what the shim reads; the kernel takes less as arguments
// and environment.
const maxJobSize = 16 << 20

// The files a shim inherits.
const (
	readyFD = 3
	lockFD  = 4
)

// MaybeShim turns this process into a shim, and does not return, if it was
// started as one. It must be the first call of main.
func MaybeShim() {
	if len(os.Args) == 3 && os.Args[1] == shimVerb {
		ShimMain(os.Args[2])
	}
}

// ShimMain runs the shim of an instance in the working directory, which is
// the instance's folder. It ends the process.
func ShimMain(id string) {
	ready := os.NewFile(readyFD, "ready")
	lock := os.NewFile(lockFD, "lock") // held until the process ends
	s := shim{}
	err := s.start(id)
	a := answer{}
	if err == nil {
		s.keep(lock)
	} else {
		a = answer{Error: err.Error(), Invalid: errors.Is(err, errHopeless), Executed: errors.Is(err, errExecuted)}
	}
	json.NewEncoder(ready).Encode(a) // an agent that died reads the folder instead
	ready.Close()
	if err != nil {
		syscall.Exit(1)
	}
	debug.FreeOSMemory()
	s.serve()
	goruntime.KeepAlive(lock)
	syscall.Exit(0) // nothing is left to flush
}

// errHopeless marks errors that trying again does not cure.
var errHopeless = errors.New("cannot be executed")

// errExecuted marks errors that came after the program was executed.
var errExecuted = errors.New("it was executed and is killed")

// shim is the parent of one workload.
type shim struct {
	state  state
	folder string
}

// start does everything up to the execution of the program.
func (s *shim) start(id string) error {
	// Whatever the agent inherited and passed on stays out of the workload.
	unix.CloseRange(readyFD, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	// Signals to a shim end nothing; handlers, unlike ignored signals, are
	// not inherited by the program.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	oom.Expose(os.Getpid()) // before the fork: the program inherits it
	var err error
	if s.folder, err = os.Getwd(); err != nil {
		return fmt.Errorf("find own folder: %w", err)
	}
	j, err := readJob(os.Stdin)
	if err != nil {
		return err
	}
	if s.state = j.State; s.state.ID != id {
		return errors.New("the job is that of another instance")
	}
	if s.state.Shim, err = identify(os.Getpid()); err != nil {
		return fmt.Errorf("identify own process: %w", err)
	}
	if err := s.save(); err != nil {
		return err
	}
	pid, err := j.execute(s.folder)
	if err != nil {
		return err
	}
	if s.state.Workload, err = identify(pid); err == nil {
		s.state.StartedAt = time.Now()
		err = s.save()
	}
	if err != nil {
		s.killTree()
		return fmt.Errorf("record the process: %w: %w", err, errExecuted)
	}
	return nil
}

func readJob(r io.Reader) (job, error) {
	var j job
	text, err := io.ReadAll(io.LimitReader(r, maxJobSize))
	if err == nil {
		err = json.Unmarshal(text, &j)
	}
	if err != nil {
		return job{}, fmt.Errorf("read job: %w", err) // the agent died on the way
	}
	return j, nil
}

func (s *shim) save() error {
	return writeAtomic(filepath.Join(s.folder, stateFile), s.state, false)
}

// execute starts the program and returns its process id.
func (j *job) execute(folder string) (int, error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer stdin.Close()
	log, err := openLog(j.Log)
	if err != nil {
		return 0, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	if err := j.enterWork(filepath.Join(folder, workDir)); err != nil {
		return 0, err
	}
	path, err := lookPath(j.Argv[0], j.Env)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", err, errHopeless)
	}
	attr := &syscall.ProcAttr{
		Dir: j.Dir, Env: j.Env,
		Files: []uintptr{stdin.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: j.credential()},
	}
	if g := j.State.Group; g.Unified != "" {
		folder, err := os.Open(g.Unified)
		if err != nil {
			return 0, fmt.Errorf("open cgroup: %w", err)
		}
		defer folder.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(folder.Fd())
	}
	var pid int
	onOwnThread(func() { pid, err = j.fork(path, attr) })
	return pid, err
}

// fork prepares the thread that the program is forked from, which hands down
// its no_new_privs and its version 1 cgroups: a thread can be in other ones
// than its process, so the shim's own memory is not counted.
func (j *job) fork(path string, attr *syscall.ProcAttr) (int, error) {
	if !j.NewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return 0, fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	thread := strconv.Itoa(unix.Gettid())
	for _, folder := range j.State.Group.V1 {
		if err := write(folder, "tasks", thread); err != nil {
			return 0, fmt.Errorf("enter cgroup: %w", err)
		}
	}
	pid, err := forkLimited(path, j.Argv, attr, j.State.Ulimits)
	if err == nil {
		return pid, nil
	}
	err = j.explain(path, err)
	for _, hopeless := range []error{fs.ErrNotExist, fs.ErrPermission, unix.ENOEXEC, unix.ENOTDIR, unix.E2BIG, unix.ELOOP, unix.EISDIR} {
		if errors.Is(err, hopeless) {
			return 0, fmt.Errorf("%w: %w", err, errHopeless)
		}
	}
	return 0, err
}

// explain adds what a person can do about it.
func (j *job) explain(path string, err error) error {
	if j.Dir != "" {
		if info, statErr := os.Stat(j.Dir); statErr != nil || !info.IsDir() {
			return fmt.Errorf("execute %s: working directory %s is not there (%w): make it on the node or change workingDir", path, j.Dir, err)
		}
	}
	remedy := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy = ": install the program, or the interpreter it names, on the node"
	case errors.Is(err, fs.ErrPermission):
		remedy = ": make program and working directory accessible to the user it runs as (chmod +x)"
	case errors.Is(err, unix.ENOEXEC):
		remedy = ": it is neither a program for this machine nor a script with a #! line"
	case errors.Is(err, unix.E2BIG):
		remedy = ": arguments and environment together are too long"
	}
	return fmt.Errorf("execute %s: %w%s", path, err, remedy)
}

// enterWork makes the work folder and goes there. The program inherits the
// directory: its user may not be allowed to walk the path.
func (j *job) enterWork(work string) error {
	if err := os.Mkdir(work, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make work folder: %w", err)
	}
	if c := j.credential(); c != nil {
		if err := os.Lchown(work, int(c.Uid), int(c.Gid)); err != nil {
			return fmt.Errorf("give work folder to its user: %w", err)
		}
	}
	if err := os.Chdir(work); err != nil {
		return fmt.Errorf("enter work folder: %w", err)
	}
	return nil
}

// credential is nil when the program runs as the agent does. Otherwise it has
// no supplementary groups but those of the job.
func (j *job) credential() *syscall.Credential {
	if j.UID == nil && j.GID == nil && len(j.Groups) == 0 {
		return nil
	}
	c := &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), Groups: j.Groups}
	if j.UID != nil {
		c.Uid = *j.UID
	}
	if j.GID != nil {
		c.Gid = *j.GID
	}
	return c
}

// openLog opens a log to append to: a regular file that no link leads to.
func openLog(path string) (*os.File, error) {
	if path == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return f, nil
}

// onOwnThread runs f on a thread that ends with it, and so takes along what f
// did to it. The process's first thread would not end.
func onOwnThread(f func()) {
	done := make(chan struct{})
	var run func()
	run = func() {
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			go run()
			<-done // keeps the first thread away from the next goroutine
			goruntime.UnlockOSThread()
			return
		}
		defer close(done)
		f()
	}
	go run()
	<-done
}
