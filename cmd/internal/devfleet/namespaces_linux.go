package devfleet

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespaces are a node's own network and mounts. They live while this holds
// them or a process is inside; with the last of these the kernel takes away
// what is in them.
type namespaces struct {
	net, mnt *os.File
}

// newNamespaces makes them and calls settle inside, for mounts.
func newNamespaces(settle func() error) (*namespaces, error) {
	n := &namespaces{}
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		if n.net, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		if n.mnt, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
			return fmt.Errorf("make namespaces: %w", err)
		}
		if err := SettleIn(); err != nil {
			return err
		}
		return settle()
	})
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// do calls f on a thread inside. Processes that f starts are inside, too.
func (n *namespaces) do(f func() error) error {
	return onThread(func() error {
		// A thread that shares its root and working folder with others may not
		// enter a mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("enter namespaces: %w", err)
		}
		if err := unix.Setns(int(n.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		if err := unix.Setns(int(n.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter mount namespace: %w", err)
		}
		return f()
	})
}

func (n *namespaces) close() error {
	var errs []error
	for _, f := range []*os.File{n.net, n.mnt} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// inNetwork calls f on a thread in another network namespace.
func inNetwork(ns *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that ends with the call: f may change what is
// the thread's own.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end, and /proc/self would show its
			// namespaces. While we hold it, another one is sure to be taken.
			result <- onThread(f)
			goruntime.UnlockOSThread()
			return
		}
		result <- f()
	}()
	return <-result
}

// SettleIn makes fresh network and mount namespaces usable, of which this
// program is the first.
func SettleIn() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bring up loopback: %w", err)
	}
	return nil
}

// mountTmpfs puts an empty file system in memory over a folder, which is made.
func mountTmpfs(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0711"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}
