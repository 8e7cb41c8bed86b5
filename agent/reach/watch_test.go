package reach

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

var (
	hangs   = place{delay: never}
	refuses = place{refuses: true}
	well    = place{delay: time.Millisecond}
)

func TestWhatIsEjected(t *testing.T) {
	web := func(n int, node planner.NodeName) Endpoint { return remote("web", n, node, "tcp") }
	three := []Endpoint{web(0, "n1"), web(1, "n2"), web(2, "n3")}
	at := func(e Endpoint) string { return e.flow().address() }
	for _, tc := range []struct {
		name  string
		fleet Fleet
		fault func(*world)
		want  []string // ejected within 800 ms of the first unanswered try
	}{
		// Nothing is wrong.
		{"healthy", fleetOf(0, three...), func(*world) {}, nil},
		// 200 ms away is a place on another continent, not a fault.
		{"slow", fleetOf(0, three...), func(w *world) { w.does(place{delay: 200 * time.Millisecond}, at(three[0])) }, nil},
		// The instance hangs, its machine answers.
		{"silent instance", fleetOf(0, three...), func(w *world) { w.does(hangs, at(three[0])) }, []string{"web-0"}},
		// The instance is gone.
		{"refusing instance", fleetOf(0, three...), func(w *world) { w.does(refuses, at(three[1])) }, []string{"web-1"}},
		// Two of three: one more than half.
		{"half at most", fleetOf(0, three...), func(w *world) {
			w.does(refuses, at(three[0]))
			time.AfterFunc(600*time.Millisecond, func() { w.does(refuses, at(three[1])) })
		}, []string{"web-0"}},
		// There is nothing else to lead connections to.
		{"the only one", fleetOf(0, three[0]), func(w *world) { w.does(hangs, at(three[0])) }, nil},
		// An instance here counts.
		{"beside one here", fleetOf(1, three[0]), func(w *world) { w.does(hangs, at(three[0])) }, []string{"web-0"}},
		// More than half, but their node is silent itself.
		{"dead node", fleetOf(0, web(0, "n1"), web(1, "n1"), web(2, "n2")), func(w *world) { w.does(hangs, w.node("n1")...) }, []string{"web-0", "web-1"}},
		// A refused connection rather than one that waits in vain.
		{"dead node with the only one", fleetOf(0, three[0]), func(w *world) { w.does(hangs, w.node("n1")...) }, []string{"web-0"}},
		// The machine refuses: its agent is being upgraded, and what it runs, runs.
		{"agent down", fleetOf(0, web(0, "n1"), web(1, "n1"), web(2, "n1")), func(w *world) {
			w.does(hangs, at(web(0, "n1")))
			w.does(refuses, "192.0.2.1:7946")
		}, []string{"web-0"}},
		// The peer port is closed to this node, others of its endpoints answer.
		{"closed peer port", fleetOf(0, web(0, "n1"), web(1, "n1"), web(2, "n1")), func(w *world) {
			w.does(hangs, at(web(0, "n1")), "192.0.2.1:7946")
		}, []string{"web-0"}},
		// This node reaches nobody: the fault is its own.
		{"own network away", fleetOf(0, three...), func(w *world) { w.cutOff(true) }, nil},
		// It reaches nobody, and does best with what it runs itself.
		{"own network away beside one here", fleetOf(1, three...), func(w *world) { w.cutOff(true) }, []string{"web-0", "web-1", "web-2"}},
		// It cannot check anything, for a fault of its own: nothing is known of others.
		{"too many open files", fleetOf(1, three...), func(w *world) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.full = true
			*w.places[at(three[0])] = hangs
		}, nil},
		// Two nodes at once: the third is witness.
		{"two dead nodes", fleetOf(0, three...), func(w *world) { w.does(hangs, slices.Concat(w.node("n1"), w.node("n2"))...) }, []string{"web-0", "web-1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, every := range []time.Duration{3 * time.Millisecond, 70 * time.Millisecond, 450 * time.Millisecond} {
				w := newWorld(t, tc.fleet)
				w.run(every, func() {
					time.Sleep(2*time.Second + every/3)
					faulty := time.Now()
					tc.fault(w)
					time.Sleep(every + 801*time.Millisecond)
					if got := w.out(); !slices.Equal(got, tc.want) {
						t.Errorf("a try every %s: %v ejected %s after the fault, want %v", every, got, time.Since(faulty), tc.want)
					}
					for k, took := range w.delays() {
						if took > 800*time.Millisecond {
							t.Errorf("a try every %s: %s ejected after %s", every, k.Slot, took)
						}
					}
					// It stays so, and every check in its turn.
					time.Sleep(2 * time.Second)
					if got := w.out(); !slices.Equal(got, tc.want) {
						t.Errorf("a try every %s: later %v are ejected, want %v", every, got, tc.want)
					}
					for _, e := range tc.fleet.Services[three[0].Slot.Service].Remote {
						if n := w.checksOf(at(e)); n > 5 {
							t.Errorf("%d checks of %s in 3 s", n, e.Slot)
						}
					}
					if n := len(w.applied()); len(tc.want) == 0 && n > 0 {
						t.Errorf("a try every %s: balancing changed %d times", every, n)
					}
					w.cutOff(false)
					w.mu.Lock()
					w.full = false
					w.mu.Unlock()
					for _, e := range tc.fleet.Services[three[0].Slot.Service].Remote {
						w.does(well, w.node(e.Node)...)
					}
					time.Sleep(1500 * time.Millisecond)
					if got := w.out(); len(got) > 0 {
						t.Errorf("a try every %s: %v stay ejected although all is well", every, got)
					}
				})
			}
		})
	}
}

// Endpoints of a dead node go together, also those that nobody connects to.
func TestDeadNodeTakesItsIdleEndpointsAlong(t *testing.T) {
	f := fleetOf(0, remote("web", 0, "n1", "tcp"), remote("web", 1, "n2", "tcp"), remote("dbs", 0, "n1", "tcp"), remote("dns", 0, "n1", "udp"))
	w := newWorld(t, f)
	w.run(0, func() {
		time.Sleep(time.Second)
		w.does(hangs, w.node("n1")...)
		w.mu.Lock()
		w.connectTo(remote("web", 0, "n1", "tcp").Key)
		w.mu.Unlock()
		time.Sleep(801 * time.Millisecond)
		got := w.out()
		slices.Sort(got)
		if want := []string{"dbs-0", "dns-0", "web-0"}; !slices.Equal(got, want) {
			t.Errorf("%v are ejected, want %v", got, want)
		}
		for _, e := range w.watch.Ejected() {
			if e.Reason != "node n1 does not answer" {
				t.Errorf("reason %q", e.Reason)
			}
		}
	})
}

func TestUDPFollowsItsNode(t *testing.T) {
	syslog, dns := remote("syslog", 0, "n1", "udp"), remote("dns", 0, "n2", "udp")
	w := newWorld(t, fleetOf(0, syslog, dns))
	w.run(50*time.Millisecond, func() {
		// It never says a word, and need not.
		w.does(hangs, syslog.flow().address())
		time.Sleep(time.Minute)
		if got := w.out(); len(got) > 0 {
			t.Fatalf("%v ejected while their nodes answer", got)
		}
		w.does(hangs, w.node("n2")...)
		time.Sleep(851 * time.Millisecond)
		if got := w.out(); !slices.Equal(got, []string{"dns-0"}) {
			t.Fatalf("%v ejected, want dns-0", got)
		}
		w.does(well, w.node("n2")...)
		time.Sleep(1500 * time.Millisecond)
		if got := w.out(); len(got) > 0 {
			t.Fatalf("%v stay ejected although their nodes answer", got)
		}
	})
}

func TestNothingIsDoneWithoutNeed(t *testing.T) {
	f := fleetOf(0, remote("web", 0, "n1", "tcp"))
	// Nobody connects: no checks, whatever the state of the other end.
	w := newWorld(t, f)
	w.run(0, func() {
		w.does(hangs, w.node("n1")...)
		time.Sleep(10 * time.Minute)
		if n := w.checksOf("192.0.2.1:7946") + w.checksOf("192.0.2.1:20300"); n > 0 {
			t.Errorf("%d checks without traffic", n)
		}
		// No endpoint elsewhere: no readings either.
		w.watch.Set(Fleet{Peers: f.Peers})
		time.Sleep(time.Second)
		before := w.readingsMade()
		time.Sleep(time.Hour)
		if after := w.readingsMade(); after > before {
			t.Errorf("%d readings without an endpoint", after-before)
		}
	})
}

// What is ejected is checked once a second while its service is in use.
func TestQuietServiceIsTakenBack(t *testing.T) {
	one := remote("web", 0, "n1", "tcp")
	w := newWorld(t, fleetOf(1, one))
	w.run(0, func() {
		time.Sleep(time.Second)
		w.does(hangs, w.node("n1")...)
		w.mu.Lock()
		w.connectTo(one.Key)
		w.mu.Unlock()
		time.Sleep(50 * time.Second)
		if n := w.checksOf(one.flow().address()); len(w.out()) != 1 || n < 40 || n > 51 {
			t.Errorf("after 50 s %v are ejected and %d checks made, want one and 50", w.out(), n)
		}
		time.Sleep(11 * time.Second)
		before := w.checksOf(one.flow().address())
		if got := w.out(); len(got) > 0 {
			t.Errorf("%v not taken back a minute after the last connection", got)
		}
		time.Sleep(time.Hour)
		if after := w.checksOf(one.flow().address()); after != before {
			t.Errorf("%d checks of a service that nobody connects to", after-before)
		}
	})
}

// Who comes and goes stays out longer each time, and who behaves for a minute
// begins anew.
func TestFlappingEndpointStaysOutLonger(t *testing.T) {
	one := remote("web", 0, "n1", "tcp")
	w := newWorld(t, fleetOf(1, one))
	w.run(10*time.Millisecond, func() {
		flap := func() time.Duration {
			w.does(refuses, one.flow().address())
			for len(w.out()) == 0 {
				time.Sleep(time.Millisecond)
			}
			since := time.Now()
			w.does(well, one.flow().address())
			for len(w.out()) > 0 {
				time.Sleep(time.Millisecond)
			}
			return time.Since(since)
		}
		for n, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			want *= time.Second
			if got := flap(); got < want-time.Millisecond || got > want+300*time.Millisecond {
				t.Errorf("flap %d: out for %s, want %s", n, got, want)
			}
		}
		time.Sleep(settledAfter + time.Second)
		if got := flap(); got > 1300*time.Millisecond {
			t.Errorf("out for %s after a minute without fault", got)
		}
	})
}

func TestWaitingConnectionsAreLetGoAfterBalancing(t *testing.T) {
	one := remote("web", 0, "n1", "tcp")
	w := newWorld(t, fleetOf(1, one))
	w.stubborn = errors.New("busy")
	w.run(10*time.Millisecond, func() {
		w.does(hangs, one.flow().address())
		time.Sleep(3 * time.Second)
		w.mu.Lock()
		if slices.Contains(w.events, "forget") || len(w.events) < 2 {
			t.Errorf("before balancing succeeds: %v", w.events)
		}
		w.stubborn, w.events = nil, nil
		w.mu.Unlock()
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		// More than once: some were on their way when balancing changed.
		if !slices.Equal(w.events, []string{"apply", "forget", "forget", "forget"}) || w.forgot[0] != one.Target {
			t.Errorf("%v, forgot %v", w.events, w.forgot)
		}
	})
}

// A connection waits for an endpoint that the records took away before it was
// found to be silent.
func TestConnectionsToWhatIsGoneAreLetGo(t *testing.T) {
	one, other := remote("web", 0, "n1", "tcp"), remote("web", 1, "n2", "tcp")
	w := newWorld(t, fleetOf(0, one, other))
	w.run(0, func() {
		time.Sleep(time.Second)
		w.watch.Set(fleetOf(0, other))
		time.Sleep(patience - time.Millisecond)
		if got := w.applied(); len(got) > 0 {
			t.Errorf("%v while answers may be on their way", got)
		}
		time.Sleep(10 * time.Second)
		if got := w.applied(); !slices.Equal(got, []string{"forget", "forget", "forget"}) || w.forgot[0] != one.Target {
			t.Errorf("%v, forgot %v", got, w.forgot)
		}
		// It is back before anybody has waited for long.
		w.watch.Set(fleetOf(0, one, other))
		w.watch.Set(fleetOf(0, other))
		w.watch.Set(fleetOf(0, one, other))
		time.Sleep(10 * time.Second)
		if got := w.applied(); len(got) > 3 {
			t.Errorf("%v, the last ones from what connections are led to", got)
		}
	})
}

// What is ejected and goes may come back: the balancer has to know that nothing
// is held against it; but not before it is told that the endpoint has gone, or
// it would lead connections there again.
func TestEjectedEndpointGoesAndComesBack(t *testing.T) {
	one, other := remote("web", 0, "n1", "tcp"), remote("web", 1, "n2", "tcp")
	inPlace := one
	inPlace.Slot.Name = "7"
	for _, tc := range []struct {
		name  string
		then  []Fleet
		early bool // at once
	}{
		{"gone", []Fleet{fleetOf(0, other)}, false},
		{"another instance in its place", []Fleet{fleetOf(0, other, inPlace)}, true},
		{"gone and back", []Fleet{fleetOf(0, other), fleetOf(0, one, other)}, true},
	} {
		w := newWorld(t, fleetOf(0, one, other))
		w.run(10*time.Millisecond, func() {
			held := func() int {
				w.mu.Lock()
				defer w.mu.Unlock()
				return len(w.without)
			}
			w.does(refuses, one.flow().address())
			time.Sleep(time.Second)
			if held() != 1 {
				t.Fatal("nothing is ejected")
			}
			w.does(well, one.flow().address())
			for _, f := range tc.then {
				w.watch.Set(f)
			}
			time.Sleep(100 * time.Millisecond)
			if early := held() == 0; early != tc.early {
				t.Errorf("%s: connections are led there again: %v", tc.name, early)
			}
			time.Sleep(2 * time.Second)
			if held() > 0 {
				t.Errorf("%s: connections are still led away from it", tc.name)
			}
		})
	}
}

// Readings that fail change nothing; what was ejected is still checked.
func TestUnreadableTraffic(t *testing.T) {
	one := remote("web", 0, "n1", "tcp")
	w := newWorld(t, fleetOf(1, one))
	w.run(10*time.Millisecond, func() {
		w.does(refuses, one.flow().address())
		time.Sleep(time.Second)
		w.mu.Lock()
		w.deaf = errors.New("no such table")
		w.mu.Unlock()
		time.Sleep(5 * time.Second)
		if got := w.out(); len(got) != 1 {
			t.Errorf("%v are ejected, want web-0", got)
		}
		w.does(well, one.flow().address())
		time.Sleep(1300 * time.Millisecond)
		if got := w.out(); len(got) > 0 {
			t.Errorf("%v stay ejected", got)
		}
	})
}

// One that may not be ejected is checked for as long as clients try it.
func TestChecksEndWithTraffic(t *testing.T) {
	one := remote("web", 0, "n1", "tcp")
	w := newWorld(t, fleetOf(0, one))
	w.run(0, func() {
		w.does(hangs, one.flow().address())
		for range 10 {
			w.mu.Lock()
			w.connectTo(one.Key)
			w.mu.Unlock()
			time.Sleep(time.Second)
		}
		if n := w.checksOf(one.flow().address()); n < 8 || n > 11 {
			t.Errorf("%d checks in 10 s", n)
		}
		time.Sleep(6 * time.Second)
		before := w.checksOf(one.flow().address())
		time.Sleep(time.Hour)
		if after := w.checksOf(one.flow().address()); after != before {
			t.Errorf("%d checks after the last client had gone", after-before)
		}
	})
}
