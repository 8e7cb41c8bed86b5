package gitsync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// scripted is a remote whose answers a test sets.
type scripted struct {
	mu    sync.Mutex
	tip   string
	err   error
	takes time.Duration
	looks []time.Time
}

func (s *scripted) Fetch(ctx context.Context) (planner.Commit, error) {
	s.mu.Lock()
	s.looks = append(s.looks, time.Now())
	takes := s.takes
	s.mu.Unlock()
	if !sleep(ctx, takes) {
		return planner.Commit{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return planner.Commit{Hash: s.tip}, s.err
}

func (s *scripted) set(tip string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tip, s.err = tip, err
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.looks)
}

// inBubble runs f with a follower that has taken its first look.
func inBubble(t *testing.T, s *scripted, f func(t *testing.T, updates <-chan Update, hints chan<- struct{})) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hints := make(chan struct{})
		updates := Follow(ctx, s, FollowOptions{Interval: func() time.Duration { return 10 * time.Second }, Hints: hints})
		synctest.Wait()
		f(t, updates, hints)
		cancel()
		for range updates { // closed once the goroutines are gone
		}
	})
}

func nothing(t *testing.T, updates <-chan Update) {
	t.Helper()
	select {
	case u := <-updates:
		t.Fatalf("unexpected update %+v", u)
	default:
	}
}

func TestFollowPolls(t *testing.T) {
	s := &scripted{tip: "a"}
	inBubble(t, s, func(t *testing.T, updates <-chan Update, _ chan<- struct{}) {
		if u := <-updates; u.Commit.Hash != "a" || u.Err != nil {
			t.Fatalf("first update %+v", u)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		nothing(t, updates) // no news, no update
		for i := 1; i < len(s.looks); i++ {
			if d := s.looks[i].Sub(s.looks[i-1]); d < 9*time.Second || d > 11*time.Second {
				t.Fatalf("waited %s, want 10s ± 10%%", d)
			}
		}
		if n := s.count(); n < 54 || n > 67 {
			t.Fatalf("%d looks in 10 minutes", n)
		}
		s.set("b", nil)
		if u := <-updates; u.Commit.Hash != "b" {
			t.Fatalf("update %+v", u)
		}
	})
}

func TestFollowReportsFailureAndRecoveryOnce(t *testing.T) {
	s := &scripted{tip: "a"}
	inBubble(t, s, func(t *testing.T, updates <-chan Update, hints chan<- struct{}) {
		<-updates
		away := &remoteError{kind: ErrUnreachable, text: "no"}
		s.set("", away)
		u := <-updates
		since := u.Since
		if !errors.Is(u.Err, ErrUnreachable) || u.Commit.Hash != "a" || since.IsZero() {
			t.Fatalf("failure: %+v", u)
		}
		before := s.count()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		nothing(t, updates)
		// Full jitter up to 5 minutes: 48 looks on average in two hours.
		if n := s.count() - before; n < 20 || n > 110 {
			t.Fatalf("%d looks in 2 hours of failure", n)
		}
		s.set("", &remoteError{kind: ErrUnreachable, text: "port 1"})
		hints <- struct{}{}
		if u = <-updates; u.Err.Error() != "remote cannot be reached: port 1" || !u.Since.Equal(since) {
			t.Fatalf("a failure of the same kind with other words: %+v", u)
		}
		s.set("", &remoteError{kind: ErrUnreachable, text: "port 23"})
		hints <- struct{}{}
		synctest.Wait()
		nothing(t, updates)
		s.set("", fmt.Errorf("other: %w", ErrUnauthorized))
		hints <- struct{}{}
		if u = <-updates; !errors.Is(u.Err, ErrUnauthorized) || !u.Since.Equal(since) {
			t.Fatalf("another failure: %+v", u)
		}
		s.set("a", nil)
		hints <- struct{}{}
		if u = <-updates; u.Err != nil || !u.Since.IsZero() || u.Commit.Hash != "a" {
			t.Fatalf("recovery: %+v", u)
		}
	})
}

func TestFollowHints(t *testing.T) {
	s := &scripted{tip: "a"}
	inBubble(t, s, func(t *testing.T, updates <-chan Update, hints chan<- struct{}) {
		<-updates
		s.set("b", nil)
		start := time.Now()
		hints <- struct{}{}
		if u := <-updates; u.Commit.Hash != "b" || !u.At.Equal(start) {
			t.Fatalf("a hint is acted on at once: %+v after %s", u, u.At.Sub(start))
		}
		// Hints during a look make one more look, not many.
		s.takes = 3 * time.Second
		before := s.count()
		hints <- struct{}{}
		time.Sleep(time.Second)
		for range 100 {
			hints <- struct{}{}
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n := s.count() - before; n != 2 {
			t.Fatalf("%d looks, want 2", n)
		}
	})
}

// TestAttack40HintFlood: a flood of hints is thinned out to one look a second.
func TestAttack40HintFlood(t *testing.T) {
	s := &scripted{tip: "a"}
	inBubble(t, s, func(t *testing.T, updates <-chan Update, hints chan<- struct{}) {
		before := s.count()
		for range 6000 {
			hints <- struct{}{}
			time.Sleep(10 * time.Millisecond)
		}
		if n := s.count() - before; n < 50 || n > 60+hintBurst+2 {
			t.Fatalf("%d looks in a minute", n)
		}
	})
}

func TestFollowHonoursRetryAfter(t *testing.T) {
	s := &scripted{err: &remoteError{kind: ErrUnreachable, text: "busy", retryAfter: 2 * time.Minute}}
	inBubble(t, s, func(t *testing.T, updates <-chan Update, hints chan<- struct{}) {
		<-updates
		hints <- struct{}{}
		time.Sleep(119 * time.Second)
		synctest.Wait()
		if s.count() != 1 {
			t.Fatalf("%d looks before the time asked for", s.count())
		}
	})
}

// TestFollowSlowReader: the latest value wins and nobody waits.
func TestFollowSlowReader(t *testing.T) {
	s := &scripted{tip: "0"}
	inBubble(t, s, func(t *testing.T, updates <-chan Update, hints chan<- struct{}) {
		for i := range 20 {
			s.set(fmt.Sprint(i), nil)
			hints <- struct{}{}
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		if u := <-updates; u.Commit.Hash != "19" {
			t.Fatalf("update %+v", u)
		}
	})
}
