//go:build linux

package containerd

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/orpheus-cd/orpheus/runtime"
)

// flights runs one pull per reference at a time. Ten pulls of one image at
// once take containerd more than ten times as long as one.
type flights struct {
	mu     sync.Mutex
	flying map[string]*flight
}

// flight is one pull and those who wait for it.
type flight struct {
	done   chan struct{}
	cancel context.CancelFunc
	digest digest.Digest // valid after done
	err    error

	mu      sync.Mutex
	waiting map[*waiter]bool
	left    bool // under flights.mu: nobody waited for it any more: it is ending, and is not joined
}

type waiter struct{ report func(runtime.Progress) }

// do runs pull, or joins the one that runs for key. The pull goes on while
// anybody waits for it, whoever's context began it, and ends when the last one
// has left. One that was left is waited for before the next of its key begins:
// it still has its lease to give back, which is that of the next one, too.
// report is not called after do has returned.
func (f *flights) do(ctx context.Context, key string, pull func(context.Context, func(runtime.Progress)) (digest.Digest, error), report func(runtime.Progress)) (digest.Digest, error) {
	me := &waiter{report: report}
	f.mu.Lock()
	fl := f.flying[key]
	if fl == nil || fl.left {
		before := fl
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel, waiting: map[*waiter]bool{}}
		if f.flying == nil {
			f.flying = map[string]*flight{}
		}
		f.flying[key] = fl
		go func() {
			if before != nil {
				<-before.done
			}
			f.run(shared, key, fl, pull)
		}()
	}
	fl.mu.Lock()
	fl.waiting[me] = true
	fl.mu.Unlock()
	f.mu.Unlock()

	select {
	case <-fl.done:
		f.leave(fl, me)
		return fl.digest, fl.err
	case <-ctx.Done():
		f.leave(fl, me)
		return "", ctx.Err()
	}
}

func (f *flights) run(ctx context.Context, key string, fl *flight, pull func(context.Context, func(runtime.Progress)) (digest.Digest, error)) {
	fl.digest, fl.err = pull(ctx, func(p runtime.Progress) {
		fl.mu.Lock()
		defer fl.mu.Unlock()
		for w := range fl.waiting {
			w.report(p)
		}
	})
	f.mu.Lock()
	if f.flying[key] == fl {
		delete(f.flying, key)
	}
	f.mu.Unlock()
	fl.cancel()
	close(fl.done)
}

// leave takes a waiter off; without any the pull is called off, and whoever
// comes next begins a new one.
func (f *flights) leave(fl *flight, me *waiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.mu.Lock()
	defer fl.mu.Unlock()
	delete(fl.waiting, me)
	if len(fl.waiting) == 0 {
		fl.left = true
		fl.cancel()
	}
}
