package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// dialIn connects to a numeric address inside a network namespace: a socket
// belongs to the namespace of the thread that makes it.
func dialIn(ctx context.Context, netns, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// /proc/self shows the namespace of the process's first thread. While
			// we hold it, another is sure to be taken.
			conn, err := dialIn(ctx, netns, address)
			goruntime.UnlockOSThread()
			done <- result{conn, err}
			return
		}
		conn, err := visit(netns, func() (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		})
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// visit calls f with the calling thread, which is locked, in a network
// namespace. It unlocks the thread once it is back home; one that cannot go
// back stays locked, and ends with its goroutine.
func visit(netns string, f func() (net.Conn, error)) (net.Conn, error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPlace, err)
	}
	defer home.Close()
	away, err := os.Open(netns)
	if err != nil {
		goruntime.UnlockOSThread()
		return nil, fmt.Errorf("%w: %w", errNoPlace, err)
	}
	defer away.Close()
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		goruntime.UnlockOSThread()
		return nil, fmt.Errorf("%w: enter network namespace: %w", errNoPlace, err)
	}
	defer func() {
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			goruntime.UnlockOSThread()
		}
	}()
	return f()
}

// errNoPlace: the check could not even be tried.
var errNoPlace = errors.New("the network of the instance cannot be entered")
