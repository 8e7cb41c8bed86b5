package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockCache takes the file for this process if no other has it. The lock ends
// with the process.
func lockCache(f *os.File) bool {
	return windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{}) == nil
}
