package agent

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// ear takes down the lines of logs that hold some text, of one node or several.
type ear struct {
	mu    sync.Mutex
	lines []string
}

func (e *ear) of(text string) slog.Handler {
	return slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
		if bytes.Contains(line, []byte(text)) {
			e.mu.Lock()
			e.lines = append(e.lines, string(line[bytes.Index(line, []byte("service=")):]))
			e.mu.Unlock()
		}
		return len(line), nil
	}), nil)
}

// want checks what was heard since the last time: one line for each of want,
// with all its words.
func (e *ear) want(t *testing.T, when string, want ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.Sort(e.lines)
	fits := len(e.lines) == len(want)
	for k := 0; fits && k < len(want); k++ {
		for word := range strings.FieldsSeq(want[k]) {
			fits = fits && strings.Contains(e.lines[k], word)
		}
	}
	if !fits {
		t.Errorf("%s: heard %q, want %q", when, e.lines, want)
	}
	e.lines = nil
}

// TestFirstRelease: people are told that a first release is rolled out when it is,
// once, whatever becomes of its instances, and of the next one when that is.
func TestFirstRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		var e ear
		w.log = e.of("rollout completed")
		w.start()
		a := w.answers()
		a.set("readiness", 1)
		probed := with(planner.ProbeReadiness, every(1))
		first := w.commit(service("web", "a", replicas(2), probed), service("db", "a"))
		w.settle(time.Minute)
		e.want(t, "one is not ready", "service=db "+first.Short())
		a.set("readiness", 0)
		w.settle(10 * time.Second)
		e.want(t, "it is", "service=web "+first.Short())
		a.set("readiness", 1)
		w.settle(10 * time.Second)
		a.set("readiness", 0)
		w.settle(10 * time.Second)
		w.killHard()
		w.start()
		w.commit(service("web", "a", replicas(3), probed), service("db", "a"))
		w.settle(time.Minute)
		e.want(t, "another agent, and one more")
		second := w.commit(service("web", "b", replicas(3), probed), service("db", "a"))
		w.settle(3 * time.Minute)
		e.want(t, "the next release", "service=web "+second.Short())
	})
}

// TestFirstReleaseFleet: one node tells it.
func TestFirstReleaseFleet(t *testing.T) {
	play(t, 3, func(b *band) {
		var e ear
		for _, p := range b.nodes {
			log := slog.New(e.of("rollout completed"))
			p.agent.post(func() { p.agent.log = log })
		}
		b.settle(time.Minute)
		b.commit(service("web", "a", replicas(3)), service("db", "a"))
		b.settle(2 * time.Minute)
		e.want(t, "all are there", "service=db", "service=web")
		for _, p := range b.nodes {
			p.crash()
			p.start()
			log := slog.New(e.of("rollout completed"))
			p.agent.post(func() { p.agent.log = log })
		}
		b.settle(2 * time.Minute)
		e.want(t, "other agents")
	})
}
