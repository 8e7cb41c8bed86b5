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
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread cannot end, and /proc/self would show
			// the other namespace. While we hold it, another thread is sure to
			// be taken.
			conn, err := dialIn(ctx, netns, address)
			done <- result{conn, err}
			goruntime.UnlockOSThread()
			return
		}
		if err := enter(netns); err != nil {
			done <- result{nil, err}
			return
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// enter moves the calling thread into a network namespace.
func enter(netns string) error {
	f, err := os.Open(netns)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoPlace, err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%w: enter network namespace: %w", errNoPlace, err)
	}
	return nil
}

// errNoPlace: the check could not even be tried.
var errNoPlace = errors.New("the network of the instance cannot be entered")
