//go:build linux

package process

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// freezeRounds bounds how often freeze looks for processes it has not seen. A
// stopped process cannot fork, so each round leaves fewer that can.
const freezeRounds = 64

// killAll kills what find finds, until it finds nothing or the context ends.
// Everything is stopped first, each process as soon as it is seen, so that a
// tree that forks all the time cannot outrun the kill. What was born behind
// the back of one pass is caught by the next.
func killAll(ctx context.Context, find finder) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		victims, err := freeze(find)
		if err != nil {
			return fmt.Errorf("look for processes: %w", err)
		}
		if len(victims) == 0 {
			return nil
		}
		for _, pid := range victims {
			unix.Kill(pid, unix.SIGKILL) // it may be gone: the next pass tells
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("kill %d processes: %w", len(victims), err)
		}
	}
}

// freeze stops everything that find finds until that is nothing new, and
// returns the last finding.
func freeze(find finder) ([]int, error) {
	var found []int
	stopped := map[int]bool{}
	for range freezeRounds {
		fresh := false
		found = found[:0]
		err := find(func(pid int) {
			found = append(found, pid)
			if !stopped[pid] {
				stopped[pid], fresh = true, true
				unix.Kill(pid, unix.SIGSTOP)
			}
		})
		if err != nil {
			return nil, err
		}
		if !fresh {
			break
		}
	}
	return found, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll waits until the condition holds or the context ends.
func poll(ctx context.Context, condition func() bool) error {
	for pause := time.Millisecond; !condition(); pause = min(2*pause, 50*time.Millisecond) {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}
