//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// InitError is the cause when Start fails because an init container did.
type InitError struct {
	// Exit is how it ended; Exit.Container names it.
	Exit planner.Exit
}

// Error says which container ended how.
func (e *InitError) Error() string {
	switch {
	case e.Exit.OOM:
		return fmt.Sprintf("init container %s ran out of memory; raise its memory limit", e.Exit.Container)
	case e.Exit.Signal != 0:
		return fmt.Sprintf("init container %s was killed by signal %d", e.Exit.Container, e.Exit.Signal)
	default:
		return fmt.Sprintf("init container %s exited with code %d", e.Exit.Container, e.Exit.Code)
	}
}

// fail wraps an error of containerd's client into one of the classes of
// package runtime. A context that ended stays what it is.
func (d *Driver) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	err = native(err)
	switch {
	case classified(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	case strings.Contains(err.Error(), context.DeadlineExceeded.Error()):
		// The server is told our deadline, and may notice its end before we do.
		return fmt.Errorf("%s: %w", what, context.DeadlineExceeded)
	case strings.Contains(err.Error(), "connection error"), strings.Contains(err.Error(), "connection is closing"), strings.Contains(err.Error(), "error reading from server"):
		return fmt.Errorf("%s: containerd at %s does not answer: %w", what, d.cfg.Address, runtime.ErrUnavailable)
	case errdefs.IsUnavailable(err): // it answers, but a shim does not
		return fmt.Errorf("%s: %w: %w", what, runtime.ErrUnavailable, err)
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%s: %w: %w", what, runtime.ErrNotFound, err)
	case errdefs.IsInvalidArgument(err):
		return fmt.Errorf("%s: %w: %w", what, runtime.ErrInvalid, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// classified reports whether err is already one of the classes of runtime.
func classified(err error) bool {
	for _, class := range []error{runtime.ErrNotFound, runtime.ErrUnavailable, runtime.ErrInvalid, runtime.ErrUnauthorized} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// native turns an answer of the server into the client's error classes, and
// leaves every other error as it is.
func native(err error) error {
	if _, answer := status.FromError(err); answer {
		return errgrpc.ToNative(err)
	}
	return err
}

// isGone reports that the thing an error of the client speaks of is not there.
func isGone(err error) bool { return errdefs.IsNotFound(native(err)) }

// isThere reports that what was to be made exists already.
func isThere(err error) bool { return errdefs.IsAlreadyExists(native(err)) }

func readBootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// socketPath undoes what gRPC made of the path of the socket.
func socketPath(address string) string {
	return strings.TrimPrefix(strings.TrimPrefix(address, "unix://"), "passthrough:")
}

// isUnavailable reports an error of ours that says nothing about instances.
func isUnavailable(err error) bool {
	return errors.Is(err, runtime.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
