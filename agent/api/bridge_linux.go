package api

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// onlyFrom has a socket take only what comes in by a link, and what programs of
// the machine send to the link's address: Linux would give it also what another
// link brings for that.
func onlyFrom(link string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), link) }); e != nil {
			return e
		}
		return err
	}
}
