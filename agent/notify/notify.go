package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says who is told.
type Config struct {
	Status *StatusConfig // nil = no status of commits
	Hooks  []HookConfig
	// File keeps what was told through restarts; "" = nothing does.
	File string
	Log  *slog.Logger // nil = silent
}

// Notifier tells others. Make it with New, run it once, hand it Facts at any
// time.
type Notifier struct {
	cfg    Config
	log    *slog.Logger
	told   func(what string, err error) // of Run
	poster *poster                      // nil = none
	hooks  []*hook
	sent   *prometheus.CounterVec

	mu    sync.Mutex
	facts *Facts // the newest that were not looked at; nil = none
	news  chan struct{}
	saves chan struct{}
}

// New makes a notifier; its error lists every fault of c. It reads no file and
// touches no network.
func New(c Config) (*Notifier, error) {
	n := &Notifier{cfg: c, log: c.Log, news: make(chan struct{}, 1), saves: make(chan struct{}, 1)}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.sent = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orpheus_notifications_total",
		Help: "Commit statuses and events for webhooks, by kind (status, webhook) and result (sent, failed, dropped)."}, []string{"kind", "result"})
	var faults []error
	if c.Status != nil {
		p, err := newPoster(*c.Status, func(result string) { n.sent.WithLabelValues("status", result).Inc() }, n.fares("commit status"))
		if err != nil {
			faults = append(faults, prefixed("commitStatus", err)...)
		}
		n.poster = p
	}
	for _, hc := range c.Hooks {
		h, err := newHook(hc, func(result string, k int) { n.sent.WithLabelValues("webhook", result).Add(float64(k)) }, n.fares("notify: "+hc.Name))
		if err != nil {
			faults = append(faults, prefixed(hc.Name, err)...)
		}
		n.hooks = append(n.hooks, h)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return n, nil
}

// prefixed names where each of joined errors is.
func prefixed(field string, err error) []error {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for k, one := range all {
		all[k] = fmt.Errorf("%s.%w", field, one)
	}
	return all
}

// fares passes on how one of those that are told fares, each change once.
func (n *Notifier) fares(what string) func(error) {
	var mu sync.Mutex
	before := ""
	return func(err error) {
		text := ""
		if err != nil {
			text = err.Error()
		}
		mu.Lock()
		same := text == before
		before = text
		mu.Unlock()
		if !same {
			n.told(what, err)
		}
	}
}

// Collector counts what was sent, for /metrics.
func (n *Notifier) Collector() prometheus.Collector { return n.sent }

// Tell hands over what the node knows now. It returns at once: facts that were
// not looked at yet are replaced.
func (n *Notifier) Tell(f Facts) {
	n.mu.Lock()
	n.facts = &f
	n.mu.Unlock()
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// Run tells others until ctx ends, and has ended every request when it returns.
// told is called when something of it does not work, and with nil when it does
// again; it may wait.
func (n *Notifier) Run(ctx context.Context, told func(what string, err error)) {
	n.told = told
	memory, err := loadMemory(n.cfg.File)
	if err != nil {
		n.log.Warn("what was told before is not known: nothing is told of it", "err", err)
	}
	var senders sync.WaitGroup
	defer senders.Wait()
	if n.poster != nil {
		n.poster.entries = memory.Statuses
		senders.Go(func() { n.poster.run(ctx, n.keep) })
	}
	for _, h := range n.hooks {
		senders.Go(func() { h.run(ctx) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.news:
			n.look(&memory)
		case <-n.saves:
		}
		n.save(&memory)
	}
}

// keep asks for what was told to be kept.
func (n *Notifier) keep() {
	select {
	case n.saves <- struct{}{}:
	default:
	}
}

// look finds what is new in the newest facts.
func (n *Notifier) look(memory *memory) {
	n.mu.Lock()
	f := n.facts
	n.facts = nil
	n.mu.Unlock()
	if f == nil {
		return
	}
	told, events := Tell(memory.Told, *f)
	memory.changed = memory.changed || !told.equal(memory.Told)
	memory.Told = told
	now := time.Now()
	for _, h := range n.hooks {
		h.add(*f, events, now)
	}
	if n.poster != nil {
		n.poster.follow(*f)
	}
}

// save writes down what was told, if it has changed.
func (n *Notifier) save(memory *memory) {
	if n.poster != nil {
		entries, changed := n.poster.ledger()
		memory.Statuses, memory.changed = slices.Clone(entries), memory.changed || changed
	}
	if !memory.changed || n.cfg.File == "" {
		return
	}
	err := memory.save(n.cfg.File)
	memory.changed = err != nil
	if (err != nil) != memory.unsaved {
		n.told("notify", err)
	}
	memory.unsaved = err != nil
}
