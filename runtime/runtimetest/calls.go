package runtimetest

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Call is one call that a fake got.
type Call struct {
	Verb  string // "Start", "Attach", …: the method's name
	ID    string // of the instance; "" where the call concerns none
	Image string // reference, in the "Pull" calls that a Prepare makes
	Begin time.Time
	End   time.Time // zero while it is under way
	Err   error     // what it returned
}

// Calls is the log of a fake's calls, in the order they began, and the place
// where faults are put in. It is safe for concurrent use.
type Calls struct {
	mu     sync.Mutex
	calls  []*Call
	before func(context.Context, Call) error
}

// Before sets the hook that every call passes through before it has any
// effect; nil removes it. The hook may sleep (a slow call) or block; it is
// given the context of the call and should return when that ends. An error it
// returns is what the call returns. No lock is held while it runs.
func (l *Calls) Before(hook func(context.Context, Call) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = hook
}

// Called returns the calls so far; with verbs, only those.
func (l *Calls) Called(verbs ...string) []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Call
	for _, c := range l.calls {
		if len(verbs) == 0 || slices.Contains(verbs, c.Verb) {
			found = append(found, *c)
		}
	}
	return found
}

// ForgetCalls empties the log.
func (l *Calls) ForgetCalls() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = nil
}

// begin logs the call and runs the hook. end must be given the result.
func (l *Calls) begin(ctx context.Context, c Call) (end func(error) error, err error) {
	c.Begin = time.Now()
	l.mu.Lock()
	asked, entry, hook := c, &c, l.before
	l.calls = append(l.calls, entry)
	l.mu.Unlock()
	end = func(err error) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		entry.End, entry.Err = time.Now(), err
		return err
	}
	if err := ctx.Err(); err != nil {
		return end, err
	}
	if hook != nil {
		return end, hook(ctx, asked)
	}
	return end, nil
}
