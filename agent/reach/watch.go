package reach

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Config is what a Watch is made of.
type Config struct {
	// Balancer tells what became of connections, and lets waiting ones go.
	Balancer Balancer
	// Apply makes the balancer lead nothing to what is Ejected, and is called
	// whenever that changed: never twice at once, again a second later if it
	// fails. Connections that wait for an ejected endpoint are let go
	// afterwards: before, they would only be led there again. So are those that
	// wait for an endpoint that is watched no more.
	Apply func(ctx context.Context) error
	// Dial connects to address (host:port); nil = over TCP, as the node does.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	Log  *slog.Logger
}

// Balancer is the part of runtime.Balancer that a Watch uses.
type Balancer interface {
	Traffic(ctx context.Context) ([]runtime.Traffic, error)
	Forget(ctx context.Context, targets []runtime.Target) error
}

// Watch keeps track of which endpoints on other nodes answer. Make it with New
// and run it once; its other methods may be called at any time.
type Watch struct {
	cfg    Config
	wake   chan struct{}
	change chan struct{} // of what is ejected
	gone   chan struct{} // departed has more

	mu       sync.Mutex
	judge    *judge
	departed map[flow]*departure

	deaf bool // the last reading failed; of look alone
	read time.Time
}

// New makes a Watch that knows of no endpoint.
func New(cfg Config) *Watch {
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	return &Watch{
		cfg: cfg, wake: make(chan struct{}, 1), change: make(chan struct{}, 1), gone: make(chan struct{}, 1),
		judge: newJudge(), departed: map[flow]*departure{},
	}
}

// Set makes these the endpoints that are watched. What is known of those that
// stay is kept.
func (w *Watch) Set(f Fleet) {
	now := time.Now()
	w.mu.Lock()
	gone := w.judge.set(f, now)
	w.publish()
	w.left(gone, now)
	w.mu.Unlock()
	nudge(w.wake)
}

// Ejected are the endpoints to which no connection is to be led.
func (w *Watch) Ejected() map[Key]Ejection {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[Key]Ejection{}
	for k, e := range w.judge.endpoints {
		if e.ejection != nil {
			all[k] = *e.ejection
		}
	}
	return all
}

// Run watches until ctx ends and all it began has ended.
func (w *Watch) Run(ctx context.Context) error {
	var begun sync.WaitGroup
	defer begun.Wait()
	begun.Go(func() { w.apply(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer.C:
		}
		checks, next := w.look(ctx)
		for _, c := range checks {
			begun.Go(func() { w.check(ctx, c) })
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// freshness is how old a reading may be to judge by.
const freshness = 20 * time.Millisecond

// look reads the traffic, unless that was done just now, and says which checks
// are to begin and when to look again; zero = when woken.
func (w *Watch) look(ctx context.Context) (begin []check, next time.Time) {
	if w.idle() {
		return nil, time.Time{}
	}
	if now := time.Now(); now.Sub(w.read) >= freshness {
		w.read = now
		seen, err := w.cfg.Balancer.Traffic(ctx)
		w.hear(ctx, err)
		if err == nil {
			w.mu.Lock()
			w.judge.read(seen, now)
			w.mu.Unlock()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	begin = w.judge.due(time.Now())
	w.publish()
	next = w.read.Add(readEvery)
	if at := w.judge.next(); !at.IsZero() && at.Before(next) {
		next = at
		if soonest := w.read.Add(freshness); next.Before(soonest) {
			next = soonest
		}
	}
	return begin, next
}

// idle reports whether there is nothing to watch.
func (w *Watch) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.judge.endpoints) == 0
}

// hear tells once that readings fail, and once that they succeed again.
func (w *Watch) hear(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !w.deaf:
		w.cfg.Log.Warn("what becomes of connections to other nodes cannot be read: instances there that do not answer are not noticed", "err", err)
		w.deaf = true
	case err == nil && w.deaf:
		w.cfg.Log.Info("what becomes of connections to other nodes can be read again")
		w.deaf = false
	}
}

// ownFaults are errors of a connection that say nothing of who was to answer:
// this process or machine has too much open, or no memory.
var ownFaults = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM}

// check makes one check.
func (w *Watch) check(ctx context.Context, c check) {
	limited, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	conn, err := w.cfg.Dial(limited, c.address)
	found := silent
	switch {
	case err == nil:
		conn.Close()
		found = answered
	case errors.Is(err, syscall.ECONNREFUSED):
		found = refused
	case slices.ContainsFunc(ownFaults, func(own syscall.Errno) bool { return errors.Is(err, own) }):
		found = untried
	}
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	w.judge.done(c, found, time.Now())
	w.publish()
	w.mu.Unlock()
	nudge(w.wake)
}

// publish tells people and apply what changed. The lock must be held.
func (w *Watch) publish() {
	if len(w.judge.news) == 0 {
		return
	}
	w.tell(w.judge.news)
	for _, n := range w.judge.news {
		if delete(w.departed, n.endpoint.flow()); n.ejection != nil {
			w.depart(n.endpoint.flow(), n.ejection.Since, false)
		}
	}
	w.judge.news = nil
	nudge(w.change)
}

// tell logs what changed, one line for all that goes or comes with a node.
func (w *Watch) tell(all []news) {
	type line struct {
		node   planner.NodeName
		reason string // "" = it is back
	}
	of := func(n news) line {
		if n.ejection == nil {
			return line{n.endpoint.Node, ""}
		}
		return line{n.endpoint.Node, n.ejection.Reason}
	}
	count := map[line]int{}
	for _, n := range all {
		count[of(n)]++
	}
	for _, n := range all {
		l := of(n)
		log := w.cfg.Log.With("peer", l.node)
		switch c := count[l]; {
		case c == 0: // told
			continue
		case c == 1:
			log = log.With("service", n.endpoint.Slot.Service, "slot", n.endpoint.Slot, "target", n.endpoint.flow().address())
		default:
			log = log.With("endpoints", c)
		}
		count[l] = 0
		if l.reason != "" {
			log.Warn("no connections are led to what does not answer this node", "reason", l.reason)
		} else {
			log.Info("connections are led to it again")
		}
	}
}

// apply has changes applied, and connections let go, until ctx ends.
func (w *Watch) apply(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	changed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.change:
			changed = true
		case <-w.gone:
		case <-timer.C:
		}
		timer.Stop()
		if changed {
			if err := w.cfg.Apply(ctx); err != nil {
				if ctx.Err() == nil {
					w.cfg.Log.Warn("connections are still led to what does not answer", "err", err)
				}
				timer.Reset(time.Second)
				continue
			}
			changed = false
		}
		if next := w.letGo(ctx); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
