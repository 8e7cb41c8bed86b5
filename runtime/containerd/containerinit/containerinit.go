//go:build linux

// Package containerinit is the first process of containers that want one: it
// passes signals on to the program, and reaps what others leave behind.
//
// It is the agent's own binary. A program that imports this package and is
// executed under the name Path becomes that process before its main, and before
// most packages are initialised: what those allocate would count against the
// memory of each container. So this package imports as little as it can: what
// comes late in the order of initialisation, as fmt does, brings others along
// (GODEBUG=inittrace=1 shows which).
package containerinit

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
)

// Path is where the binary is in a container, and its name. Nothing can be
// mounted over the root of a container, so that no volume hides it or gets a
// file of ours.
const Path = "/.orpheus-init"

// Exit codes, as shells have them.
const (
	notExecutable = 126
	notFound      = 127
	killed        = 128 // plus the number of the signal
)

func init() {
	if len(os.Args) > 1 && os.Args[0] == Path {
		os.Exit(run(os.Args[1:]))
	}
}

// run runs a program to its end, and returns its exit code. All that is left
// then ends with the first process.
func run(argv []string) int {
	signals := make(chan os.Signal, 128)
	signal.Notify(signals) // before there is a child that may end
	program, err := start(argv)
	if err != nil {
		_, _ = os.Stderr.WriteString("orpheus init: " + err.Error() + "\n")
		if errors.Is(err, fs.ErrNotExist) {
			return notFound
		}
		return notExecutable
	}
	for {
		// A full channel may have cost a SIGCHLD, so any signal has ends looked for.
		s := (<-signals).(syscall.Signal)
		if s != syscall.SIGCHLD && s != syscall.SIGURG { // Go itself sends SIGURG
			_ = syscall.Kill(program, s)
		}
		if code, ended := reap(program); ended {
			return code
		}
	}
}

// start executes the program, in a process group of its own: what it sends to
// its group does not come back to it through us.
func start(argv []string) (pid int, err error) {
	path, err := find(argv[0])
	if err == nil {
		pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
			Env: syscall.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true},
		})
	}
	if err != nil {
		return 0, &fs.PathError{Op: "exec", Path: argv[0], Err: err}
	}
	return pid, nil
}

// find looks for a program as execvp does.
func find(name string) (path string, err error) {
	const mayRun = 1 // X_OK
	if contains(name, '/') {
		return name, nil
	}
	err = fs.ErrNotExist
	list := os.Getenv("PATH") + ":"
	for begin, end := 0, 0; end < len(list); end++ {
		if list[end] != ':' {
			continue
		}
		path, begin = list[begin:end]+"/"+name, end+1
		var info syscall.Stat_t
		if path[0] != '/' || syscall.Stat(path, &info) != nil || info.Mode&syscall.S_IFMT != syscall.S_IFREG {
			continue
		}
		if syscall.Access(path, mayRun) == nil {
			return path, nil
		}
		err = fs.ErrPermission
	}
	return "", err
}

func contains(s string, c byte) bool {
	for i := range len(s) {
		if s[i] == c {
			return true
		}
	}
	return false
}

// reap takes away children that have ended, and tells how the program did if it
// was among them.
func reap(program int) (code int, ended bool) {
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); {
		case err == syscall.EINTR:
		case err != nil || pid == 0:
			return code, ended
		case pid == program && status.Signaled():
			code, ended = killed+int(status.Signal()), true
		case pid == program:
			code, ended = status.ExitStatus(), true
		}
	}
}
