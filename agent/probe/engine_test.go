package probe

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// bench is an engine in a bubble of fake time whose checks answer as told.
type bench struct {
	t       *testing.T
	engine  *Engine
	dir     string
	begin   time.Time
	stop    context.CancelFunc
	ended   chan struct{}
	changes atomic.Int64

	mu      sync.Mutex
	answers map[planner.ProbeKind]outcome // success if not given
	takes   time.Duration
	log     []string // "12.0 web/main readiness"
	now     int      // checks under way
	most    int      // and how many there were at most at once
}

const booted = time.Hour // boot time at which a bubble begins

func inBubble(t *testing.T, f func(b *bench)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, dir: dir, begin: time.Now(), answers: map[planner.ProbeKind]outcome{}}
		b.start()
		f(b)
		b.kill()
	})
}

func (b *bench) clock() time.Duration { return booted + time.Since(b.begin) }

func (b *bench) start() {
	b.t.Helper()
	e, err := New(Config{
		Dir: b.dir, Clock: b.clock, Log: slog.New(slog.DiscardHandler),
		Changed: func() { b.changes.Add(1) }, Trouble: func(err error) {
			if err != nil {
				b.t.Error(err)
			}
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	e.check, e.random = b.answer, func() float64 { return 0 }
	b.engine, b.ended = e, make(chan struct{})
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	go func() { defer close(b.ended); _ = e.Run(ctx) }()
}

func (b *bench) kill() { b.stop(); <-b.ended }

func (b *bench) answer(ctx context.Context, t Target, p *planner.Probe) outcome {
	kind := planner.ProbeReadiness
	switch p {
	case t.Container.StartupProbe:
		kind = planner.ProbeStartup
	case t.Container.LivenessProbe:
		kind = planner.ProbeLiveness
	}
	b.mu.Lock()
	b.log = append(b.log, fmt.Sprintf("%.1f %s %s", (b.clock()-booted).Seconds(), t.Instance, kind))
	b.now++
	b.most = max(b.most, b.now)
	out, given := b.answers[kind]
	takes := b.takes
	b.mu.Unlock()
	if !given {
		out = succeeded
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
	}
	b.mu.Lock()
	b.now--
	b.mu.Unlock()
	return out
}

func (b *bench) say(kind planner.ProbeKind, out outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[kind] = out
}

// slow makes checks take time from now on.
func (b *bench) slow(takes time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takes = takes
}

// took returns what was checked since the last call.
func (b *bench) took() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.log
	b.log = nil
	return log
}

func (b *bench) want(what string, want ...string) {
	b.t.Helper()
	if got := b.took(); !slices.Equal(got, want) {
		b.t.Errorf("%s: checks\n got %q\nwant %q", what, got, want)
	}
}

func (b *bench) settle(d time.Duration) { time.Sleep(d); synctest.Wait() }

func (b *bench) found(t Target) Found {
	return b.engine.Found(t.Instance, t.Container.Name, t.Run)
}

// target is a container that started now.
func (b *bench) target(id string, edit func(*planner.Container)) Target {
	c := planner.Container{Name: "main"}
	edit(&c)
	return Target{Instance: id, Container: c, Run: "1", Started: b.clock()}
}

func probeOf(edit ...func(*planner.Probe)) *planner.Probe {
	p := &planner.Probe{TCPSocket: &planner.ProbePort{Port: "80"}}
	for _, e := range edit {
		e(p)
	}
	return p
}

func every(n int) func(*planner.Probe) { return func(p *planner.Probe) { p.PeriodSeconds = n } }

func TestReadinessInTime(t *testing.T) {
	inBubble(t, func(b *bench) {
		web := b.target("web", func(c *planner.Container) {
			c.ReadinessProbe = probeOf(func(p *planner.Probe) { p.InitialDelaySeconds = 3 })
		})
		b.engine.Follow([]Target{web})
		b.settle(25 * time.Second)
		b.want("after the delay, then every period", "3.0 web readiness", "13.0 web readiness", "23.0 web readiness")
		if f := b.found(web); !f.Ready(web.Container) || b.changes.Load() != 1 {
			t.Errorf("%+v after %d changes: one success is news, the others are not", f, b.changes.Load())
		}
		b.say(planner.ProbeReadiness, failed("503"))
		b.settle(27 * time.Second) // checks at 33, 43
		if f := b.found(web); !f.Ready(web.Container) || f.Said[planner.ProbeReadiness] != "503" || f.Readiness.InARow != 2 {
			t.Errorf("two failures: %+v", f)
		}
		b.settle(2 * time.Second) // 53
		if f := b.found(web); f.Ready(web.Container) || f.Doomed(web.Container) != "" {
			t.Errorf("three failures: %+v", f)
		}
		b.say(planner.ProbeReadiness, succeeded)
		b.settle(10 * time.Second)
		if f := b.found(web); !f.Ready(web.Container) || len(f.Said) != 0 {
			t.Errorf("one success: %+v", f)
		}
	})
}

// What the startup probe holds back is checked as soon as it succeeds; it
// itself never again.
func TestStartupHoldsTheOthers(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.say(planner.ProbeStartup, failed("connection refused"))
		web := b.target("web", func(c *planner.Container) {
			c.StartupProbe = probeOf(every(2), func(p *planner.Probe) { p.FailureThreshold = 30 })
			c.LivenessProbe, c.ReadinessProbe = probeOf(), probeOf(every(5))
		})
		b.engine.Follow([]Target{web})
		b.settle(5 * time.Second)
		b.want("while it starts", "0.0 web startup", "0.2 web startup", "0.5 web startup", "1.0 web startup", "2.0 web startup", "3.0 web startup", "4.0 web startup", "5.0 web startup")
		b.say(planner.ProbeStartup, succeeded)
		b.settle(2 * time.Second)
		got := b.took()
		slices.Sort(got)
		if want := []string{"6.0 web liveness", "6.0 web readiness", "6.0 web startup"}; !slices.Equal(got, want) {
			t.Errorf("as it has started: %q", got)
		}
		b.settle(9500 * time.Millisecond)
		got = b.took()
		slices.Sort(got)
		if want := []string{"11.0 web readiness", "16.0 web liveness", "16.0 web readiness"}; !slices.Equal(got, want) {
			t.Errorf("later: %q", got)
		}
	})
}

// What becomes ready is found so soon, whatever the period; what does not has as
// long as the period and the threshold say, and nobody hears of each check.
func TestHasty(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.say(planner.ProbeReadiness, failed("refused"))
		web := b.target("web", func(c *planner.Container) { c.ReadinessProbe = probeOf() })
		b.engine.Follow([]Target{web})
		b.settle(400 * time.Millisecond)
		b.say(planner.ProbeReadiness, succeeded)
		b.settle(100 * time.Millisecond)
		if f := b.found(web); !f.Ready(web.Container) {
			t.Errorf("ready since 0.4 s: %+v", f)
		}
		b.settle(10 * time.Second)
		b.want("then every period", "0.0 web readiness", "0.2 web readiness", "0.5 web readiness", "10.5 web readiness")
		if b.changes.Load() != 2 {
			t.Errorf("%d changes", b.changes.Load())
		}
	})
	inBubble(t, func(b *bench) {
		b.say(planner.ProbeStartup, failed("refused"))
		web := b.target("web", func(c *planner.Container) { c.StartupProbe = probeOf(every(7)) })
		b.engine.Follow([]Target{web})
		b.settle(14*time.Second - time.Millisecond)
		if f := b.found(web); f.Doomed(web.Container) != "" || f.Startup.InARow != 2 || b.changes.Load() != 2 {
			t.Errorf("two of three failures, 7 s each: %+v after %d changes", f, b.changes.Load())
		}
		b.settle(time.Millisecond)
		if f := b.found(web); f.Doomed(web.Container) != planner.ProbeStartup {
			t.Errorf("three failures: %+v", f)
		}
	})
	// One that an earlier agent has asked already is not new.
	inBubble(t, func(b *bench) {
		b.say(planner.ProbeReadiness, failed("refused"))
		web := b.target("web", func(c *planner.Container) { c.ReadinessProbe = probeOf() })
		b.engine.Follow([]Target{web})
		b.settle(time.Second)
		b.kill()
		b.settle(time.Second)
		b.start()
		b.took()
		b.engine.Follow([]Target{web})
		b.settle(11 * time.Second)
		b.want("after a restart of the agent", "2.0 web readiness", "12.0 web readiness")
	})
}

// A container that is to be restarted is asked for its life no more; another
// run of it begins anew.
func TestLivenessFails(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.say(planner.ProbeLiveness, failed("wedged"))
		web := b.target("web", func(c *planner.Container) { c.LivenessProbe = probeOf(every(1)) })
		b.engine.Follow([]Target{web})
		b.settle(time.Minute)
		b.want("until it is doomed", "0.0 web liveness", "1.0 web liveness", "2.0 web liveness")
		if f := b.found(web); f.Doomed(web.Container) != planner.ProbeLiveness || f.Said[planner.ProbeLiveness] != "wedged" {
			t.Errorf("%+v", f)
		}
		b.say(planner.ProbeLiveness, succeeded)
		web.Run, web.Started = "2", b.clock()
		b.engine.Follow([]Target{web})
		b.settle(500 * time.Millisecond)
		b.want("the next run", "60.0 web liveness")
		if f := b.found(web); f.Doomed(web.Container) != "" {
			t.Errorf("the next run begins with %+v", f)
		}
	})
}

// Checks of one probe never overlap, and one that takes longer than its period
// is followed at once.
func TestSlowCheck(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.slow(2500 * time.Millisecond)
		b.engine.Follow([]Target{b.target("web", func(c *planner.Container) { c.ReadinessProbe = probeOf(every(1)) })})
		b.settle(6 * time.Second)
		b.want("one after the other", "0.0 web readiness", "2.5 web readiness", "5.0 web readiness")
		if b.most != 1 {
			t.Errorf("%d at once", b.most)
		}
	})
}

// While an instance is being stopped it is not checked; a check under way
// counts for nothing. If it stays, it goes on where it was.
func TestIdle(t *testing.T) {
	inBubble(t, func(b *bench) {
		web := b.target("web", func(c *planner.Container) { c.ReadinessProbe = probeOf() })
		b.engine.Follow([]Target{web})
		b.settle(time.Second)
		b.took()
		b.say(planner.ProbeReadiness, failed("stopping"))
		b.slow(5 * time.Second)
		b.settle(10 * time.Second) // a check has begun at 10
		web.Idle = true
		b.engine.Follow([]Target{web})
		b.settle(time.Minute)
		b.want("none while it is idle", "10.0 web readiness")
		if f := b.found(web); f.Readiness.Last != planner.CheckSuccess {
			t.Errorf("the check under way counted: %+v", f)
		}
		web.Idle = false
		b.slow(0)
		b.engine.Follow([]Target{web})
		b.settle(time.Second)
		if f := b.found(web); f.Readiness.InARow != 1 || !f.Ready(web.Container) {
			t.Errorf("it does not go on: %+v", f)
		}
	})
}

// A restart of the agent changes nothing that was found: counters go on, what
// was not known before does not become known or unknown.
func TestRestartForgetsNothing(t *testing.T) {
	inBubble(t, func(b *bench) {
		web := b.target("web", func(c *planner.Container) {
			c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = probeOf(), probeOf(), probeOf()
		})
		b.engine.Follow([]Target{web})
		b.settle(5 * time.Second)
		b.say(planner.ProbeLiveness, failed("wedged"))
		b.settle(10 * time.Second) // two failures of liveness: at 10
		before := b.found(web)
		b.kill()
		time.Sleep(time.Hour)
		b.start()
		if after := b.found(web); after.ContainerHealth != before.ContainerHealth || !after.Ready(web.Container) {
			t.Errorf("before the first listing %+v, was %+v", after, before)
		}
		b.changes.Store(0)
		b.engine.Follow([]Target{web})
		synctest.Wait()
		if after := b.found(web); after.Liveness.InARow != before.Liveness.InARow+1 {
			t.Errorf("after %+v it goes on with %+v", before, after)
		}
		for _, line := range b.took() {
			if strings.HasSuffix(line, "startup") && !strings.HasPrefix(line, "0.0") {
				t.Errorf("what has started was asked again: %s", line)
			}
		}
		// Another run of the container has nothing of it.
		if other := b.engine.Found("web", "main", "2"); other.ContainerHealth != (planner.ContainerHealth{}) {
			t.Errorf("another run: %+v", other)
		}
	})
}

// After a restart of the agent the checks of a hundred containers that are all
// due are spread over a period; and never are more made at once than the gate
// lets through.
func TestRestartSendsNoStorm(t *testing.T) {
	inBubble(t, func(b *bench) {
		var targets []Target
		for n := range 100 {
			targets = append(targets, b.target(fmt.Sprintf("web-%d", n), func(c *planner.Container) { c.ReadinessProbe = probeOf() }))
		}
		b.engine.Follow(targets)
		b.settle(15 * time.Second)
		b.kill()
		time.Sleep(time.Minute)
		b.took()
		b.start()
		n := 0
		b.engine.mu.Lock()
		b.engine.random = func() float64 { n++; return float64(n%100) / 100 }
		b.engine.mu.Unlock()
		b.most = 0
		b.slow(50 * time.Millisecond)
		b.engine.Follow(targets)
		b.settle(100 * time.Millisecond)
		if got := len(b.took()); got > 3 {
			t.Errorf("%d checks in the first tenth of a second", got)
		}
		b.settle(10 * time.Second)
		if got := len(b.took()); got < 95 || got > 105 {
			t.Errorf("%d checks in the first period", got)
		}
		if b.most > 3 {
			t.Errorf("%d checks at once", b.most)
		}
	})
}

func TestGate(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.slow(500 * time.Millisecond)
		var targets []Target
		for n := range 200 {
			targets = append(targets, b.target(fmt.Sprintf("web-%d", n), func(c *planner.Container) { c.ReadinessProbe = probeOf() }))
		}
		b.engine.Follow(targets)
		b.settle(5 * time.Second)
		if got := len(b.took()); got != 200 || b.most != 64 {
			t.Errorf("%d checks, %d at once", got, b.most)
		}
	})
}

// A file that is not whole costs its own instance what was found, no other.
func TestFiles(t *testing.T) {
	inBubble(t, func(b *bench) {
		a := b.target("a", func(c *planner.Container) { c.ReadinessProbe = probeOf() })
		z := b.target("z", func(c *planner.Container) { c.ReadinessProbe = probeOf() })
		b.engine.Follow([]Target{a, z})
		b.settle(time.Second)
		b.kill()
		if err := os.WriteFile(b.dir+"/a.json", []byte(`{"format":1,"contai`), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := New(Config{Dir: b.dir, Clock: b.clock, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "of a:") {
			t.Errorf("error %v", err)
		}
		if e.Found("a", "main", "1").Ready(a.Container) || !e.Found("z", "main", "1").Ready(z.Container) {
			t.Error("the other lost what was found, or a torn file was believed")
		}
		if err := e.Forget(map[string]bool{"z": true}); err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(b.dir); len(left) != 1 || left[0].Name() != "z.json" {
			t.Errorf("left: %v", left)
		}
		b.start()
	})
}
