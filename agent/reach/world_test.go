package reach

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// A world in a bubble of time: addresses that answer, refuse or are silent, and
// clients that connect to them by a balancer that a Watch corrects.

const never = -1 // a delay: no answer at all

type place struct {
	delay   time.Duration
	refuses bool
}

type seen struct{ tried, answered, refused time.Time }

type world struct {
	t     *testing.T
	watch *Watch

	mu       sync.Mutex
	cut      bool // this node's own network is away
	full     bool // this process has too many files open to check anything
	deaf     error
	stubborn error                 // what Apply says
	places   map[string]*place     // by address
	flows    map[flow]*seen        // what the balancer saw
	without  map[Key]Ejection      // what the balancer leads nothing to
	first    map[Key]time.Time     // first try without an answer
	took     map[Key]time.Duration // from there to the ejection
	fleet    Fleet
	readings int
	checks   map[string]int
	forgot   []runtime.Target
	events   []string
}

func newWorld(t *testing.T, f Fleet) *world {
	w := &world{
		t: t, fleet: f, places: map[string]*place{}, flows: map[flow]*seen{}, first: map[Key]time.Time{},
		took: map[Key]time.Duration{}, checks: map[string]int{},
	}
	for _, address := range f.Peers {
		w.places[address] = &place{delay: time.Millisecond}
	}
	for _, s := range f.Services {
		for _, e := range s.Remote {
			w.places[e.flow().address()] = &place{delay: time.Millisecond}
		}
	}
	return w
}

// run has f act in a bubble in which the watch runs and clients connect to each
// target every interval.
func (w *world) run(every time.Duration, f func()) {
	synctest.Test(w.t, func(t *testing.T) {
		w.watch = New(Config{Balancer: w, Apply: w.apply, Dial: w.dial, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { w.watch.Run(ctx) })
		w.watch.Set(w.fleet)
		if every > 0 {
			all.Go(func() {
				for ctx.Err() == nil {
					w.connect()
					time.Sleep(every)
				}
			})
		}
		f()
		cancel()
		all.Wait()
	})
}

// connect makes one connection to each target that is not ejected.
func (w *world) connect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.fleet.Services {
		for _, e := range s.Remote {
			if _, out := w.without[e.Key]; !out {
				w.connectTo(e.Key)
			}
		}
	}
}

func (w *world) connectTo(k Key) {
	s := w.flows[k.flow()]
	if s == nil {
		s = &seen{}
		w.flows[k.flow()] = s
	}
	s.tried = time.Now()
	p := w.places[k.flow().address()]
	switch {
	case w.cut || p.delay == never:
		if w.first[k].IsZero() {
			w.first[k] = s.tried
		}
	case p.refuses:
		s.refused = s.tried
		if w.first[k].IsZero() {
			w.first[k] = s.tried
		}
	default:
		delete(w.first, k)
		time.AfterFunc(p.delay, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			s.answered = time.Now()
		})
	}
}

func (w *world) Traffic(context.Context) ([]runtime.Traffic, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readings++
	if w.deaf != nil {
		return nil, w.deaf
	}
	ago := func(at time.Time) time.Duration {
		if at.IsZero() || time.Since(at) > 5*time.Second {
			return -1
		}
		return time.Since(at)
	}
	var all []runtime.Traffic
	for f, s := range w.flows {
		if ago(s.tried) >= 0 {
			all = append(all, runtime.Traffic{
				Target: f.target, Protocol: f.protocol,
				Tried: ago(s.tried), Answered: ago(s.answered), Refused: ago(s.refused),
			})
		}
	}
	return all, nil
}

func (w *world) Forget(_ context.Context, targets []runtime.Target) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgot = append(w.forgot, targets...)
	w.events = append(w.events, "forget")
	return nil
}

func (w *world) apply(context.Context) error {
	ejected := w.watch.Ejected()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stubborn != nil {
		w.events = append(w.events, "refused")
		return w.stubborn
	}
	w.events = append(w.events, "apply")
	w.without = ejected
	for k := range ejected {
		if _, known := w.took[k]; !known && !w.first[k].IsZero() {
			w.took[k] = time.Since(w.first[k])
		}
	}
	return nil
}

func (w *world) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	w.checks[address]++
	p, cut, full := *w.places[address], w.cut, w.full
	w.mu.Unlock()
	switch {
	case full:
		return nil, fmt.Errorf("dial: %w", syscall.EMFILE)
	case cut || p.delay == never:
		<-ctx.Done()
		return nil, ctx.Err()
	case p.refuses:
		return nil, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(p.delay):
	}
	conn, other := net.Pipe()
	other.Close()
	return conn, nil
}

// does changes what stands at addresses.
func (w *world) does(p place, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range addresses {
		*w.places[a] = p
	}
}

// node are all addresses of a node.
func (w *world) node(name planner.NodeName) []string {
	all := []string{w.fleet.Peers[name]}
	for _, s := range w.fleet.Services {
		for _, e := range s.Remote {
			if e.Node == name {
				all = append(all, e.flow().address())
			}
		}
	}
	return all
}

// out names what is ejected now: "web-0", "web-1".
func (w *world) out() []string {
	var all []string
	for _, e := range w.fleet.Services {
		for _, r := range e.Remote {
			if _, is := w.watch.Ejected()[r.Key]; is {
				all = append(all, r.Slot.String())
			}
		}
	}
	return all
}

// remote is slot n of a service on a node, reached at the node's address.
func remote(service string, n int, node planner.NodeName, protocol string) Endpoint {
	id := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: service}
	return Endpoint{Node: node, Key: Key{
		Slot:      planner.SlotID{Service: id, Name: fmt.Sprint(n)},
		Container: 80, Protocol: protocol, Target: runtime.Target{Address: "192.0.2." + string(node[1:]), Port: 20000 + n + 100*len(service)},
	}}
}

// fleetOf is a fleet of nodes n1, n2 and n3, other than this one.
func fleetOf(local int, all ...Endpoint) Fleet {
	f := Fleet{Services: map[planner.ServiceID]Service{}, Peers: map[planner.NodeName]string{
		"n1": "192.0.2.1:7946", "n2": "192.0.2.2:7946", "n3": "192.0.2.3:7946",
	}}
	for _, e := range all {
		s := f.Services[e.Slot.Service]
		s.Local, s.Remote = local, append(s.Remote, e)
		f.Services[e.Slot.Service] = s
	}
	return f
}

func (w *world) checksOf(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.checks[address]
}

func (w *world) readingsMade() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.readings
}

// delays are the times from first unanswered tries to ejections.
func (w *world) delays() map[Key]time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.took)
}

func (w *world) cutOff(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

// applied is what was done, in order: "apply", "forget".
func (w *world) applied() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}
