package agent

import (
	"context"
	"errors"
)

// Health reports whether the loop turns and the state can be written; safe
// from any goroutine. Services that fare badly are no reason: they are what
// the agent is for.
func (a *Agent) Health(ctx context.Context) error {
	answer := make(chan error, 1)
	ask := func() {
		if text, broken := a.problems["state"]; broken {
			answer <- errors.New("state: " + text)
			return
		}
		answer <- nil
	}
	select {
	case a.mailbox <- ask:
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
