package agent

import (
	"context"
	"errors"
)

// Health reports whether the loop turns and the state can be written; safe
// from any goroutine. Services that fare badly are no reason: they are what
// the agent is for.
func (a *Agent) Health(ctx context.Context) error {
	return a.onLoop(ctx, func() error {
		if text, broken := a.problems["state"]; broken {
			return errors.New("state: " + text)
		}
		return nil
	})
}

// Alive reports whether the loop turns; safe from any goroutine. Unlike Health
// it finds nothing else wrong: what it says is cured by a restart.
func (a *Agent) Alive(ctx context.Context) error {
	return a.onLoop(ctx, func() error { return nil })
}

// onLoop has f run on the loop and returns its error, or why the loop did not
// run it. It may be called from any goroutine.
func (a *Agent) onLoop(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	select {
	case a.mailbox <- func() { answer <- f() }:
	case <-a.ended:
		return errors.New("the agent has ended")
	case <-ctx.Done():
		return errors.New("the agent's loop does not answer")
	}
	select {
	case err := <-answer:
		return err
	case <-a.ended:
		return errors.New("the agent has ended")
	case <-ctx.Done():
		return errors.New("the agent's loop does not answer")
	}
}
