//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockCache takes the file for this process if no other has it. The lock ends
// with the process.
func lockCache(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }
