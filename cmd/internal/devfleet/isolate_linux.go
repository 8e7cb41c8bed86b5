package devfleet

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolated marks the process that already lives in namespaces of its own.
const isolated = "ORPHEUS_ISOLATED"

// Isolate gives this program network and mount namespaces of its own, so that
// the machine's interfaces, firewall and mounts are never touched. It runs the
// program again in them and returns with done set and its exit code; in the
// inner process, and without root, done is false and the program goes on.
func Isolate() (done bool, code int, err error) {
	if os.Geteuid() != 0 {
		return false, 0, nil
	}
	if os.Getenv(isolated) != "" {
		return false, 0, SettleIn()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	// An interrupt reaches the whole process group: the inner program ends in
	// its own time, and this waits for it.
	signal.Ignore(os.Interrupt)
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return true, max(exit.ExitCode(), 1), nil
	}
	return true, 0, err
}
