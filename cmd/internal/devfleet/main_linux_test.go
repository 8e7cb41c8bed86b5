package devfleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// The programs under test, made once.
var orpheus, payload string

// These tests compare full lists of what is on the machine, so as root they
// have a machine of their own: processes, network, mounts and temporary files
// that nobody else changes. The first process in it collects orphans, as every
// machine's does.
const (
	asFirst = "ORPHEUS_DEVFLEET_TEST_FIRST"
	asTests = "ORPHEUS_DEVFLEET_TEST_INSIDE"
)

func TestMain(m *testing.M) {
	code, err := 0, error(nil)
	switch {
	case os.Geteuid() != 0 || os.Getenv(asTests) != "":
		code, err = build(m)
	case os.Getenv(asFirst) != "":
		code, err = first()
	default:
		code, err = again(asFirst, unix.CLONE_NEWNET|unix.CLONE_NEWNS|unix.CLONE_NEWPID)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "devfleet:", err)
		code = 1
	}
	os.Exit(code)
}

// again runs this program once more, in new namespaces.
func again(mark string, flags uintptr) (code int, err error) {
	signal.Ignore(os.Interrupt) // it reaches the inner program, too
	cmd := self(mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

func self(mark string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), mark+"=1")
	return cmd
}

// first is the first process of the machine.
func first() (code int, err error) {
	if err := SettleIn(); err != nil {
		return 1, err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return 1, fmt.Errorf("mount /proc: %w", err)
	}
	tests := self(asTests)
	if err := tests.Start(); err != nil {
		return 1, err
	}
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, 0, nil); {
		case err != nil && !errors.Is(err, unix.EINTR):
			return 1, err
		case pid == tests.Process.Pid:
			return status.ExitStatus(), nil
		}
	}
}

func build(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "orpheus-devfleet-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	orpheus = filepath.Join(dir, "orpheus")
	build := exec.Command("go", "build", "-o", orpheus, "github.com/orpheus-cd/orpheus/cmd/orpheus")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build orpheus: %w\n%s", err, out)
	}
	if payload, err = imagetest.BuildPayload(context.Background(), dir); err != nil {
		return 1, err
	}
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
