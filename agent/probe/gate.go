package probe

import (
	"context"
	"sync"
	"time"
)

// gate lets a number of checks run at once. One that takes long is not counted
// any more: it waits for an answer, and must not keep other services from
// theirs.
type gate struct{ tokens chan struct{} }

const patience = time.Second

func newGate(n int) gate { return gate{tokens: make(chan struct{}, n)} }

// enter waits for a place. leave must be called once.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g.tokens <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	free := sync.OnceFunc(func() { <-g.tokens })
	timer := time.AfterFunc(patience, free)
	return func() { timer.Stop(); free() }, nil
}
