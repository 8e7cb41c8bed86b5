//go:build !linux

package api

import (
	"errors"
	"syscall"
)

// onlyFrom refuses: bridges for instances are Linux'.
func onlyFrom(string) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return errors.ErrUnsupported }
}
