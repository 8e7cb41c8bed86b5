//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// shim is the first process of a sandbox, and the parent of its program.
type shim struct {
	job
	dir     *os.Root // of all instances, on the host
	proc    *os.Root // /proc of the host
	program int      // its process id in the sandbox
}

// errHopeless marks errors that trying again does not cure.
var errHopeless = errors.New("cannot be run")

// shimMain runs the shim of an instance; it ends the process.
func shimMain() {
	goruntime.LockOSThread() // what it does to its thread, the program inherits
	unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	// Nobody ends a shim by a signal. Handlers, unlike ignored signals, are not
	// inherited by the program.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	control, err := net.FileListener(os.NewFile(3, controlSocket))
	s := &shim{}
	if err == nil {
		err = s.start()
	}
	a := answer{}
	if err != nil {
		a = answer{Error: err.Error(), Invalid: errors.Is(err, errHopeless), Begun: s.program != 0}
	}
	json.NewEncoder(os.Stdout).Encode(a) // where nobody listens any more, the files tell
	os.Stdout.Close()
	if err != nil {
		os.Exit(1)
	}
	go s.obey(control)
	s.serve()
	os.Exit(0)
}

// start does everything up to the execution of the program.
func (s *shim) start() error {
	err := json.NewDecoder(os.Stdin).Decode(&s.job)
	if err != nil {
		return fmt.Errorf("read job: %w", err) // the plugin died on the way
	}
	w, c := s.Workload, s.Workload.Containers[0]
	if s.dir, err = os.OpenRoot(s.Dir); err != nil {
		return err
	}
	if s.proc, err = os.OpenRoot("/proc"); err != nil {
		return err
	}
	log, err := openLog(c.LogPath)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	if w.NetNS != "" {
		if err := enterNetwork(w.NetNS); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", w.NetNS, err)
		}
	}
	if w.Hostname != "" {
		if err := unix.Sethostname([]byte(w.Hostname)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
	}
	who := credential(c.Security)
	if err := enterRoot(filepath.Join(s.Dir, w.ID, rootFolder), s.Show, c.Mounts, who); err != nil {
		return err
	}
	if err := renounce(c.Security); err != nil {
		return err
	}
	return s.execute(c, log, who)
}

// execute starts the program and writes down that it runs.
func (s *shim) execute(c runtime.Container, log *os.File, who *syscall.Credential) error {
	argv := append(append([]string{}, c.Command...), c.Args...)
	env := environment(c.Env)
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			os.Setenv("PATH", value)
		}
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("%w: not among what the sandbox sees of the host: %w", err, errHopeless)
	}
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer stdin.Close()
	work := c.WorkingDir
	if work == "" {
		work = workDir
	}
	handle := -1
	s.program, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir: work, Env: env, Files: []uintptr{stdin.Fd(), log.Fd(), log.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: who, PidFD: &handle},
	})
	if err != nil {
		return fmt.Errorf("execute %s in %s: %w: %w", path, work, err, errHopeless)
	}
	return writeJSON(s.dir, filepath.Join(s.Workload.ID, runningFile), running{PID: s.hostPID(handle), StartedAt: time.Now()})
}

// hostPID is the program's process id on the host, which the host's /proc
// tells of a handle; 0 = unknown.
func (s *shim) hostPID(handle int) int {
	info, err := s.proc.ReadFile("self/fdinfo/" + strconv.Itoa(handle))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(info)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(value))
			return pid
		}
	}
	return 0
}

// obey takes orders: each byte is the number of a signal. SIGKILL goes to
// every process of the sandbox.
func (s *shim) obey(control net.Listener) {
	for {
		conn, err := control.Accept()
		if err != nil {
			return
		}
		go func() {
			order := make([]byte, 1)
			for {
				if _, err := conn.Read(order); err != nil {
					conn.Close()
					return
				}
				target := s.program
				if order[0] == byte(unix.SIGKILL) {
					target = -1
				}
				unix.Kill(target, unix.Signal(order[0]))
			}
		}()
	}
}

// serve waits for the program, collects every process that lost its parent,
// and writes down how it ended once nothing runs any more.
func (s *shim) serve() {
	var status unix.WaitStatus
	for pid := 0; pid != s.program; {
		var err error
		if pid, err = unix.Wait4(-1, &status, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
	e := planner.Exit{Container: s.Workload.Containers[0].Name, Code: status.ExitStatus(), At: time.Now()}
	if status.Signaled() {
		e.Signal = int(status.Signal())
		e.Code = 128 + e.Signal
	}
	for {
		unix.Kill(-1, unix.SIGKILL)
		if _, err := unix.Wait4(-1, nil, 0, nil); errors.Is(err, unix.ECHILD) {
			break
		}
	}
	// A disk that is full is waited for: the exit would be unknown otherwise.
	for {
		err := writeJSON(s.dir, filepath.Join(s.Workload.ID, exitFile), e)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			break
		}
		time.Sleep(time.Second)
	}
	s.dir.WriteFile(hintFile, nil, 0o600)
}

// enterNetwork moves this thread, and so the program, into a namespace.
func enterNetwork(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, unix.CLONE_NEWNET)
}

// capabilities are those that Docker leaves to a container.
const capabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID |
	1<<unix.CAP_KILL | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE |
	1<<unix.CAP_NET_RAW | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_MKNOD | 1<<unix.CAP_AUDIT_WRITE | 1<<unix.CAP_SETFCAP

// renounce gives up what the program may never have.
func renounce(security planner.Security) error {
	for c := range uintptr(64) {
		if capabilities&(1<<c) != 0 {
			continue
		}
		// EINVAL: the kernel knows no more of them.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if allow := security.AllowPrivilegeEscalation; allow != nil && *allow {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

// openLog opens a log to append to: a regular file that no link leads to.
func openLog(path string) (*os.File, error) {
	if path == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return f, nil
}
