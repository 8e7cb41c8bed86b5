package agent

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/orpheus-cd/orpheus/runtime"
)

// balancer tells the node's Balancer what the loop wants, less what does not
// answer. The loop and the watch over other nodes use it at once: a target that
// fell silent is taken out without waiting for a pass.
type balancer struct {
	to runtime.Balancer

	mu      sync.Mutex // held while the Balancer is told, so that the last word is the newest
	wanted  runtime.Balancing
	begun   bool // wanted was told in this process
	ejected map[reached]bool
}

// reached is a place on another node as connections are led to it.
type reached struct {
	runtime.Target
	protocol string
}

// stood parts what a Balancer answered: fronts that it left out, while all else
// stands, and what keeps the whole from standing.
func stood(err error) (left []runtime.LeftOut, failed error) {
	var out runtime.LeftOutError
	if !errors.As(err, &out) {
		return nil, err
	}
	return out, nil
}

// balance makes this stand, less what is ejected, and returns what is left out
// of it.
func (b *balancer) balance(ctx context.Context, wanted runtime.Balancing) ([]runtime.LeftOut, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	left, err := stood(b.to.Balance(ctx, without(wanted, b.ejected)))
	if err == nil {
		b.wanted, b.begun = wanted, true
	}
	return left, err
}

// eject leaves these places out from now on, and no others.
func (b *balancer) eject(ctx context.Context, ejected map[reached]bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ejected = ejected
	if !b.begun {
		return nil
	}
	_, err := stood(b.to.Balance(ctx, without(b.wanted, ejected)))
	return err
}

// stands is what was told last in this process, also what is ejected of it.
func (b *balancer) stands() runtime.Balancing {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wanted
}

// without is a balancing less some places. What was given is not changed.
func without(b runtime.Balancing, places map[reached]bool) runtime.Balancing {
	if len(places) == 0 {
		return b
	}
	b.Fronts = slices.Clone(b.Fronts)
	for k, f := range b.Fronts {
		out := func(t runtime.Target) bool { return places[reached{t, f.Protocol}] }
		if slices.ContainsFunc(f.Targets, out) {
			b.Fronts[k].Targets = slices.DeleteFunc(slices.Clone(f.Targets), out)
		}
	}
	return b
}
