//go:build unix

package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

// A process that an agent was starting when it was killed has the lock until
// it becomes its own program: the next agent waits that long, and not longer.
func TestLockWaitsForDyingAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		unlock, err := Lock(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Lock(dir); err == nil {
			t.Fatal("two agents have the folder")
		}
		time.AfterFunc(lockPatience/2, unlock)
		unlock, err = Lock(dir)
		if err != nil {
			t.Fatalf("the folder is free after %s: %v", lockPatience/2, err)
		}
		unlock()
	})
}
