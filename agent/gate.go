package agent

import (
	"context"
	"sync"
	"time"
)

// gate lets a number of workers pass at once. One that stays for longer than
// the patience is not counted any more: a start that waits for an init
// container, a stop with a long grace or a pull from a silent registry costs
// the node nothing, and must not keep other slots from theirs.
type gate struct {
	tokens   chan struct{}
	patience time.Duration
}

func newGate(n int, patience time.Duration) gate {
	return gate{tokens: make(chan struct{}, n), patience: patience}
}

// enter waits for a place. leave must be called once.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g.tokens <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	free := sync.OnceFunc(func() { <-g.tokens })
	timer := time.AfterFunc(g.patience, free)
	return func() { timer.Stop(); free() }, nil
}
