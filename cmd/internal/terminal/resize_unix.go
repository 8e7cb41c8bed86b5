//go:build unix

package terminal

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func notifyResize(c chan<- os.Signal) { signal.Notify(c, unix.SIGWINCH) }
