package peer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestHearsay(t *testing.T) {
	said := func(incarnation string, n uint64) planner.Announcement {
		return planner.Announcement{Incarnation: incarnation, Serving: n}
	}
	h := newHearsay()
	steps := []struct {
		name string
		line uint64
		a    planner.Announcement
		want position // that is held then
		ok   bool
	}{
		{"the first", 3, said("x", 5), position{"x", 5}, true},
		{"again", 3, said("x", 5), position{"x", 5}, true},
		// Two lines of one process: what is older comes late.
		{"an older one", 4, said("x", 4), position{"x", 5}, true},
		{"a newer one", 4, said("x", 9), position{"x", 9}, true},
		// The node's agent was started again: it begins anew.
		{"another process", 7, said("y", 1), position{"y", 1}, true},
		{"the old process, late", 4, said("x", 10), position{"y", 1}, false},
		{"the other process goes on", 8, said("y", 2), position{"y", 2}, true},
	}
	for _, s := range steps {
		err := h.take("a", s.line, s.a)
		if got := h.holds("a"); got != s.want || (err == nil) != s.ok {
			t.Errorf("%s: holds %v, %v", s.name, got, err)
		}
	}
	// However many came, the owner gets the newest, once.
	if got, ok := h.next(); !ok || got.Node != "a" || got.Incarnation != "y" || got.Serving != 2 {
		t.Errorf("told %v %v", got, ok)
	}
	if got, ok := h.next(); ok {
		t.Errorf("told %v twice", got)
	}
	h.forget("a")
	if got := h.holds("a"); got != (position{}) {
		t.Errorf("holds %v of a node that is listened to no more", got)
	}
}

// TestReceiptWaits: a receipt waits until the owner goes by what was announced,
// but not for ever.
func TestReceiptWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHearsay()
		at := position{"x", 2}
		h.take("a", 1, planner.Announcement{Incarnation: "x", Serving: 2})
		waits := func(at position) (receipt, time.Duration) {
			begin := time.Now()
			r := h.await(context.Background(), "a", at, applyPatience)
			return r, time.Since(begin)
		}
		if r, took := waits(at); r.Applied != 0 || took != applyPatience {
			t.Errorf("not applied: %v after %v", r, took)
		}
		go func() {
			time.Sleep(300 * time.Millisecond)
			h.applied("a", position{"w", 2}) // of another process
			h.applied("a", position{"x", 1})
			h.applied("a", position{"x", 3}) // which nobody has announced
			time.Sleep(100 * time.Millisecond)
			h.applied("a", at)
		}()
		if r, took := waits(at); r != (receipt{at, 2}) || took != 400*time.Millisecond {
			t.Errorf("applied: %v after %v", r, took)
		}
		h.applied("a", position{"x", 1}) // late
		if r, took := waits(at); r != (receipt{at, 2}) || took != 0 {
			t.Errorf("again: %v after %v", r, took)
		}
		// What is not known, or superseded, is not waited for.
		if r, took := waits(position{"x", 1}); r.Heard != at || took != 0 {
			t.Errorf("superseded: %v after %v", r, took)
		}
		go func() {
			time.Sleep(200 * time.Millisecond)
			h.take("a", 2, planner.Announcement{Incarnation: "y", Serving: 1})
		}()
		h.take("a", 1, planner.Announcement{Incarnation: "x", Serving: 4})
		if r, took := waits(position{"x", 4}); r != (receipt{Heard: position{"y", 1}}) || took != 200*time.Millisecond {
			t.Errorf("another process meanwhile: %v after %v", r, took)
		}
	})
}
