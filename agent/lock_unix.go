//go:build unix

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience is how long Lock waits for a folder in use. A process that an
// agent was about to start when it was killed holds its lock for an instant
// more.
const (
	lockPatience = 2 * time.Second
	lockPoll     = 10 * time.Millisecond
)

// Lock makes this process the only agent on a state folder until unlock is
// called or it ends, however it ends.
func Lock(stateDir string) (unlock func(), err error) {
	if err := os.MkdirAll(stateDir, stateMode); err != nil {
		return nil, fmt.Errorf("make the agent's folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(stateDir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the agent's folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for begin := time.Now(); err != nil && time.Since(begin) < lockPatience; time.Sleep(lockPoll) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("folder %s is in use by another agent (%w): stop that one first, a node has one agent", stateDir, err)
	}
	return func() { f.Close() }, nil
}
