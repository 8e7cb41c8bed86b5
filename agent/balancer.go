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

// stood reports whether what was asked of a Balancer stands. A port that
// another program has is left out, all else stands.
func stood(err error) bool { return err == nil || errors.Is(err, runtime.ErrInvalid) }

// balance makes this stand, less what is ejected.
func (b *balancer) balance(ctx context.Context, wanted runtime.Balancing) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.to.Balance(ctx, without(wanted, b.ejected))
	if stood(err) {
		b.wanted, b.begun = wanted, true
	}
	return err
}

// eject leaves these places out from now on, and no others.
func (b *balancer) eject(ctx context.Context, ejected map[reached]bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ejected = ejected
	if !b.begun {
		return nil
	}
	if err := b.to.Balance(ctx, without(b.wanted, ejected)); !stood(err) {
		return err
	}
	return nil
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
