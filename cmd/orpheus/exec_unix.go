//go:build unix

package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/orpheus-cd/orpheus/runtime"
)

// followWindow tells the size of a terminal whenever it changes, until stop is
// called. Only the newest counts.
func followWindow(f *os.File, sizes chan runtime.WindowSize) (stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	end := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-changed:
				select {
				case <-sizes:
				default:
				}
				sizes <- windowSize(f) // nobody else sends
			case <-end:
				return
			}
		}
	})
	return func() {
		signal.Stop(changed)
		close(end)
		done.Wait()
	}
}
